"""Redis with sentinels, and Redis as a cluster: the master dies or is changed, and no run is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis.crc import key_slot

from crewq import errors
from crewq.app import make_app
from crewq.producer import connect
from crewq.settings import Settings
from crewq.store import Store
from tests.integration.carried_over import HASTY, carried_over
from tests.integration.worker_process import WorkerProcess
from tests.model_server import ModelServer
from tests.redis_servers import PASSWORD, Cluster, Process, Watched, cluster, watched
from tests.tls import by_tls, certificate_in
from tests.waiting import until

SLOT = key_slot(b"crewq")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]  # servers start, and die, and others notice


# -- sentinels -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("sentinels")) as servers:
        yield servers


def test_sentinels_say_who_is_the_master_now(
    guarded: Watched, model_server: ModelServer, tmp_path: Path, producer_of: Callable[[str], None]
) -> None:
    producer_of(guarded.url)
    with WorkerProcess(tmp_path, guarded.url, app=HASTY) as worker:
        worker.ready()
        guarded.sentinels[0].kill()
        carried_over(model_server, guarded.master.kill, lambda: guarded.is_master(guarded.replica))

        # And back again, without anybody dying: what the old master had not handed on yet is done again too.
        guarded.master.start()
        until(lambda: not guarded.is_master(guarded.master), 20)
        with guarded.master.client() as client, guarded.sentinels[1].client() as sentinel:
            until(lambda: client.info("replication")["master_link_status"] == "up", 20)
            until(lambda: sentinel.sentinel_master("shop")["num-slaves"] == 1, 20)

            def failover() -> None:
                sentinel.execute_command("SENTINEL", "FAILOVER", "shop")
                until(lambda: guarded.is_master(guarded.master), 20)

            carried_over(model_server, failover, lambda: not guarded.is_master(guarded.replica))
        assert worker.process.poll() is None  # Celery writes tracebacks of its own over a broker that is gone


def test_a_name_that_the_sentinels_do_not_know(guarded: Watched) -> None:
    store = Store(Settings(redis_url=guarded.url.replace("/shop?", "/other?")), patience=0)
    with pytest.raises(errors.StoreUnreachable, match="there is no master called 'other'") as caught:
        store.check()
    assert "of-the-sentinels" not in str(caught.value)


def test_sentinels_and_their_master_by_tls(tmp_path: Path) -> None:
    certificate = certificate_in(tmp_path)
    with Process(tmp_path, password=PASSWORD) as master, by_tls(certificate, master.port) as port:
        lines = (
            "sentinel resolve-hostnames yes",
            "sentinel announce-hostnames yes",
            f"sentinel monitor shop localhost {port} 1",
            f"sentinel auth-pass shop {PASSWORD}",
        )
        with Process(tmp_path, *lines, options=("--sentinel",)) as sentinel, by_tls(certificate, sentinel.port) as ask:
            url = f"rediss+sentinel://:{PASSWORD}@localhost:{ask}/shop"
            settings = Settings(redis_url=f"{url}?ssl_ca_certs={certificate}")
            assert Store(settings).check()["role"] == "master"
            app = make_app(settings)
            with closing(app), app.connection_for_write() as connection:
                assert app.backend.client.ping()
                assert connection.default_channel.client.ping()
            with pytest.raises(errors.StoreUnreachable, match="self-signed certificate") as caught:
                Store(Settings(redis_url=url), patience=60).check()  # and at once: it gets no better by waiting
            assert "ssl_ca_certs" in str(caught.value)


# -- a cluster -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), SLOT) as servers:
        yield servers


def test_runs_are_kept_in_a_cluster(
    clustered: Cluster,
    model_server: ModelServer,
    tmp_path: Path,
    producer_of: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Process(tmp_path) as broker:
        monkeypatch.setenv("CREWQ_BROKER_URL", f"redis://127.0.0.1:{broker.port}/0")
        producer_of(clustered.url)
        with WorkerProcess(
            tmp_path, clustered.url, app=HASTY, CREWQ_BROKER_URL=f"redis://127.0.0.1:{broker.port}/0"
        ) as worker:
            worker.ready()
            carried_over(model_server, clustered.owner.kill, lambda: _serves(clustered.replica))
            clustered.owner = clustered.replica
            moved: list[str] = []

            def move() -> None:
                moved.extend(clustered.move(SLOT, clustered.others[0]))

            carried_over(model_server, move, lambda: _serves(clustered.others[0]))
            assert len(moved) > 10
            assert "Traceback" not in worker.log, worker.log


def test_nothing_is_read_or_written_by_halves_while_the_slot_is_on_its_way(clustered: Cluster) -> None:
    """What is asked for is half here and half there: it is waited for, and neither taken for gone nor made anew."""
    store = Store(Settings(redis_url=clustered.url, broker_url="amqp://x"), patience=0)
    store.runs.present("w", {"concurrency": 1, "weights": {}})
    before = store.runs.waiting()
    target = next(node for node in clustered.others if node is not clustered.owner)
    for _key in clustered.move(SLOT, target):
        for ask in (store.runs.waiting, lambda: store.runs.present("w", {"concurrency": 2, "weights": {}})):
            with pytest.raises(errors.StoreUnreachable, match="is not the master any more"):
                ask()
    assert store.runs.waiting() == before
    assert store.runs.workers()["w"]["concurrency"] == 1


def _serves(node: Process) -> bool:
    with node.client() as client:
        return bool(client.execute_command("CLUSTER", "COUNTKEYSINSLOT", SLOT)) and client.info()["role"] == "master"


def test_a_cluster_is_no_broker(clustered: Cluster, producer_of: Callable[[str], None]) -> None:
    producer_of(clustered.url)
    with pytest.raises(errors.SettingInvalid, match=r"CREWQ_BROKER_URL=''.* name a Redis that is none, or RabbitMQ"):
        connect()
    with pytest.raises(errors.SettingInvalid, match="Celery's messages cannot be in a Redis Cluster"):
        Settings.from_env({"CREWQ_REDIS_URL": "redis://h", "CREWQ_BROKER_URL": clustered.url})
    assert make_app(Settings(redis_url=clustered.url, broker_url="redis://h")).backend
