"""Addresses of Redis that are more than a host and a port: TLS, whose certificates are looked at, sentinels and clusters.

The embedded server speaks no TLS, so a proxy of this process does it before it. For crewq, redis-py and Celery, which are
what is tested here, that is the same.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from kombu.exceptions import OperationalError

from crewq import errors
from crewq.app import make_app
from crewq.server import Server
from crewq.settings import Settings
from crewq.store import Store
from tests.integration.conftest import StartWorker
from tests.integration.crews import crew
from tests.redis_servers import program
from tests.tls import by_tls, certificate_in
from tests.waiting import until

ProducerOf = Callable[[str], None]


# -- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(own_redis: Server, certificate: Path) -> Iterator[str]:
    """The address of `own_redis` by TLS."""
    parts = urlsplit(own_redis.url)
    with by_tls(certificate, int(parts.port or 0)) as port:
        yield f"rediss://:{parts.password}@localhost:{port}/0"


def test_runs_go_by_tls(tls: str, certificate: Path, start_worker: StartWorker, producer_of: ProducerOf) -> None:
    url = f"{tls}?ssl_ca_certs={certificate}"
    start_worker(url).ready()
    producer_of(url)
    run = crew("Say {x}").kickoff_async({"x": "a"})
    assert "Say a" in run.result(20).raw
    assert until(run.async_result.successful)  # Celery's own result, too


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda url: url, "self-signed certificate"),
        (lambda url: url.replace("localhost", "127.0.0.1") + "?ssl_ca_certs={certificate}", "mismatch"),
    ],
    ids=["unknown", "another's"],
)
def test_a_certificate_that_proves_nothing_is_refused(
    tls: str, certificate: Path, change: Callable[[str], str], told: str
) -> None:
    settings = Settings(redis_url=change(tls).format(certificate=certificate))
    with pytest.raises(errors.StoreUnreachable, match=told) as caught:
        Store(settings, patience=60).check()  # and at once: it gets no better by waiting
    assert "ssl_ca_certs" in str(caught.value)
    app = make_app(settings)
    with pytest.raises(redis.ConnectionError, match=told):
        app.backend.client.ping()
    with app.connection_for_write() as connection, pytest.raises(OperationalError, match=told):
        connection.default_channel.client.ping()


def test_a_certificate_need_not_be_looked_at_if_the_address_says_so(tls: str) -> None:
    settings = Settings(redis_url=f"{tls}?ssl_cert_reqs=none")
    assert Store(settings).check()
    assert make_app(settings).backend.client.ping()


# -- what cannot keep runs -------------------------------------------------------------------------------------------


@contextmanager
def _server(folder: Path, *options: str) -> Iterator[str]:
    """A server in another mode."""
    with socket.create_server(("127.0.0.1", 0)) as anywhere:
        port = anywhere.getsockname()[1]
    (folder / "mode.conf").write_text(f"port {port}\nbind 127.0.0.1\n")
    with subprocess.Popen([program(), "mode.conf", *options], cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: _is_up(port))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _is_up(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--sentinel",), r"it is a sentinel. Write redis\+sentinel://"),
        (("--cluster-enabled", "yes"), r"it is part of a cluster. Write redis\+cluster://"),
    ],
    ids=["sentinel", "cluster"],
)
def test_what_is_no_single_redis_is_refused(
    tmp_path: Path, producer_of: ProducerOf, options: tuple[str, ...], told: str
) -> None:
    with _server(tmp_path, *options) as url:
        producer_of(url)
        with pytest.raises(errors.StoreUnfit, match=told):
            crew("Say a").kickoff()


def test_one_server_is_no_cluster(own_redis: Server, producer_of: ProducerOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWQ_BROKER_URL", own_redis.url)
    producer_of(own_redis.url.replace("redis://", "redis+cluster://"))
    with pytest.raises(errors.StoreUnfit, match=r"it is no cluster\. Write redis://"):
        crew("Say a").kickoff()
