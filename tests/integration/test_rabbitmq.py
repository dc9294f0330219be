"""RabbitMQ as Celery's broker, with runs in Redis: quorum queues, nothing lost, and nothing waits behind a busy worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from amqp import Channel, Message
from amqp.exceptions import NotFound, PreconditionFailed
from kombu.exceptions import OperationalError

from crewq import LLM, Crew, Run, Task
from crewq.app import make_app
from crewq.keyring import new_key
from crewq.plan import chain_from
from crewq.server import Server
from crewq.settings import Settings
from crewq.store import Job
from tests.integration.carried_over import HASTY, carried_over
from tests.integration.conftest import StartWorker
from tests.integration.crews import agent, crew
from tests.integration.flower_process import FlowerProcess
from tests.integration.test_cli import Shell
from tests.integration.test_encryption import VARIABLE, only_who_has_a_key_is_heard
from tests.integration.test_messages import FORGED, NO_MESSAGES
from tests.integration.worker_process import WorkerProcess
from tests.model_server import ModelServer, hang
from tests.rabbitmq_server import WHY_NOT, RabbitMq
from tests.tls import by_tls, certificate_in
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),  # a RabbitMQ takes its time to start, on a machine that does other things too
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    with RabbitMq(tmp_path_factory.mktemp("rabbit") / "node") as server:
        settings = Settings(redis_url="redis://h", broker_url=server.url)
        with closing(make_app(settings)) as app, app.connection_for_write() as connection:
            app.amqp.queues["crewq"](connection.default_channel).declare()
        # A quorum queue that is some seconds old may have no leader any more when a node of 3.10 that is alone was killed.
        server.restart()
        yield server


@pytest.fixture
def channel(rabbit: RabbitMq) -> Iterator[Channel]:
    with suppress(OSError), rabbit.connection() as connection:  # the other end may have been killed
        yield connection.channel()


StartHere = Callable[..., WorkerProcess]


@pytest.fixture
def start_here(
    rabbit: RabbitMq,
    channel: Channel,
    own_redis: Server,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> StartHere:
    """Starts workers that take from RabbitMQ what this process sends there; no message is left from the test before."""
    monkeypatch.setenv("CREWQ_BROKER_URL", rabbit.url)
    channel.queue_purge("crewq")

    def start(*options: str, **env: str) -> WorkerProcess:
        return start_worker(own_redis.url, *options, app=HASTY, CREWQ_BROKER_URL=rabbit.url, **env)

    return start


def waiting_in(rabbit: RabbitMq, queue: str = "crewq") -> int:
    with rabbit.connection() as connection:
        found: int = connection.channel().queue_declare(queue, passive=True).message_count
        return found


def test_a_crew_is_carried_out(rabbit: RabbitMq, start_here: StartHere, own_redis: Server, tmp_path: Path) -> None:
    worker = start_here("-Q", "crewq,gpu", CREWQ_CONCURRENCY="4").ready()
    run = crew("Read {x}", "Think {x}", "Write {x}").kickoff_async({"x": "on"})
    assert "Write on" in run.result(20).raw
    assert run.async_result.get(timeout=10) == {"run": run.id, "state": "completed"}
    batch = crew("Read {x}", "Write {x}").kickoff_for_each_async([{"x": n} for n in range(40)])
    assert len(batch.results(60)) == 40
    elsewhere = Task(description="Compute", agent=agent(queue="gpu"), name="compute")
    assert Crew(tasks=[elsewhere, Task(description="Tell", agent=agent())]).kickoff(timeout=20).raw

    for queue in ("crewq", "gpu"):
        with (
            rabbit.connection() as connection,
            pytest.raises(PreconditionFailed, match="inequivalent arg 'x-queue-type'"),
        ):
            connection.channel().queue_declare(queue, durable=True, auto_delete=False)  # as it is no classic one
    with rabbit.connection() as connection, pytest.raises(NotFound):  # of the 28 that Celery would make
        connection.channel().queue_declare("celery_delayed_0", passive=True)
    assert "sending" not in worker.log, "each message has come through by itself"
    assert "Traceback" not in worker.log, worker.log

    shell = Shell(tmp_path, CREWQ_REDIS_URL=own_redis.url, CREWQ_BROKER_URL=rabbit.url, OPENAI_API_KEY="x")
    found = {one["about"]: one for one in shell.json("doctor")}
    assert found["broker"]["found"].startswith("RabbitMQ 3.")
    assert "guest:guest" not in found["broker"]["found"]
    assert found["workers"]["found"].startswith("1 answer")


def test_nothing_waits_behind_a_worker_that_is_busy(start_here: StartHere, model_server: ModelServer) -> None:
    model_server.enqueue(hang())
    one, other = (start_here("-c", "2").ready() for _ in range(2))
    llm = LLM(model="openai/any", base_url=model_server.url)
    long = [crew("Wait", llm=llm).kickoff_async()]
    model_server.ledger.wait_for(lambda made: len(made) == 1)
    for _ in range(2):  # three of four slots are taken, whoever has them
        model_server.enqueue(hang())
        long.append(crew("Wait", llm=llm).kickoff_async())
        model_server.ledger.wait_for(lambda made: len(made) == len(long))
    for _ in range(6):
        assert crew("Say {x}").kickoff({"x": "a"}, timeout=2).raw
    assert "sending" not in one.log + other.log, "no message had to be sent again"
    for run in long:
        run.cancel()


def test_a_full_worker_lets_the_next_in_as_soon_as_a_slot_is_free(start_here: StartHere) -> None:
    worker = start_here("-c", "1").ready()
    batch = crew("Read {x}", "Write {x}").kickoff_for_each_async([{"x": n} for n in range(20)])
    assert len(batch.results(30)) == 20
    assert "sending" not in worker.log


def test_messages_that_the_broker_lost_are_sent_again(
    rabbit: RabbitMq, channel: Channel, start_here: StartHere
) -> None:
    batch = crew("Read", "Write").kickoff_for_each_async([{"x": n} for n in range(5)])
    assert waiting_in(rabbit) == 5, "each was kept before the kickoff went on"
    channel.queue_purge("crewq")
    start_here().ready()
    assert len(batch.results(30)) == 5


def test_a_queue_that_was_deleted_is_made_anew(
    rabbit: RabbitMq, channel: Channel, start_here: StartHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWQ_QUEUE", "other")
    worker = start_here(CREWQ_QUEUE="other").ready()
    assert crew("Read").kickoff(timeout=20).raw
    channel.queue_delete("other")

    def is_back() -> bool:
        with suppress(NotFound):
            return waiting_in(rabbit, "other") >= 0
        return False

    until(is_back, 20)
    assert crew("Read", "Write").kickoff(timeout=20).raw
    assert worker.process.poll() is None


def test_rabbitmq_killed_and_started_again_in_a_run(
    rabbit: RabbitMq, start_here: StartHere, model_server: ModelServer
) -> None:
    worker = start_here().ready()

    def kill() -> None:
        rabbit.kill()
        model_server.ledger.wait_for(lambda made: made[1].ended is not None)
        rabbit.start()

    carried_over(model_server, kill, rabbit.is_up)
    assert worker.process.poll() is None


def test_a_kickoff_while_rabbitmq_is_away_is_accepted(rabbit: RabbitMq, start_here: StartHere) -> None:
    start_here().ready()
    rabbit.kill()
    run = crew("Read").kickoff_async()
    assert run.status == "queued"
    rabbit.start()
    assert run.result(60).raw


def test_messages_go_by_tls(rabbit: RabbitMq, tmp_path: Path) -> None:
    certificate = certificate_in(tmp_path)
    with by_tls(certificate, rabbit.port) as port:

        def asked(host: str, query: str) -> bool:
            broker = f"amqps://guest:guest@{host}:{port}//?{query}"
            app = make_app(Settings(redis_url="redis://h", broker_url=broker))
            with closing(app), app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1)
                return bool(connection.connected)

        assert asked("localhost", f"ssl_ca_certs={certificate}")
        assert asked("127.0.0.1", "ssl_cert_reqs=none")
        with pytest.raises(OperationalError, match="self-signed"):
            asked("localhost", "")
        with pytest.raises(OperationalError, match=r"127\.0\.0\.1"):
            asked("127.0.0.1", f"ssl_ca_certs={certificate}")


def told(text: str) -> Message:
    """A message as Celery writes it for Redis, for RabbitMQ."""
    parts: dict[str, Any] = json.loads(text)
    body = base64.b64decode(parts["body"])
    kinds = {"content_type": parts["content-type"], "content_encoding": parts["content-encoding"]}
    headers = {name: value for name, value in parts["headers"].items() if _fits(value)}
    return Message(body, application_headers=headers, **{key: value for key, value in kinds.items() if value})


def _fits(value: Any) -> bool:
    """Whether AMQP has a way to write it."""
    return not isinstance(value, list) or all(isinstance(one, str | int | float) for one in value)


def test_what_is_no_job_is_dropped(rabbit: RabbitMq, channel: Channel, start_here: StartHere) -> None:
    worker = start_here("-c", "2").ready()
    later = {"eta": "2999-01-01T00:00:00+00:00"}
    forged = [told(text) for text in FORGED]
    job = next(message for message in forged if message.properties["application_headers"].get("id"))
    forged += [
        Message(job.body, **job.properties | {"application_headers": job.properties["application_headers"] | later})
        for _ in range(5)
    ]
    forged += [Message(text.encode()) for text in NO_MESSAGES]
    forged += [
        Message(b"{}", content_type=b"\xff"),
        Message(b"{}", application_headers={"at": datetime(9999, 1, 1, tzinfo=UTC)}),
    ]
    for message in forged:
        channel.basic_publish(message, routing_key="crewq")
    until(lambda: waiting_in(rabbit) == 0, 40)
    assert "Say a" in crew("Say {x}").kickoff({"x": "a"}, timeout=20).raw
    assert worker.process.poll() is None
    assert "Unrecoverable error" not in worker.log
    assert "dropped a text in the queue that is no message" in worker.log


def test_only_messages_and_commands_of_those_with_a_key_are_heard(
    rabbit: RabbitMq, start_here: StartHere, own_redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key("first")
    monkeypatch.setenv(VARIABLE, key)
    worker = start_here("-c", "2", **{VARIABLE: key}).ready()
    only_who_has_a_key_is_heard(worker, Settings(redis_url=own_redis.url, broker_url=rabbit.url), key)
    batch = crew("Read {x}", "Write {x}").kickoff_for_each_async([{"x": n} for n in range(20)])
    assert len(batch.results(60)) == 20
    assert "sending" not in worker.log, "each message has come through by itself"


def test_flower_shows_what_is_done(rabbit: RabbitMq, start_here: StartHere, own_redis: Server, tmp_path: Path) -> None:
    start_here().ready()
    with FlowerProcess(tmp_path, own_redis.url, CREWQ_BROKER_URL=rabbit.url) as flower:
        flower.ready()

        def shown(run: Run) -> bool:
            return run.tasks[0].id in flower.get("/api/tasks").json

        def one_more() -> bool:  # until Flower listens, which it does some time after it answers
            run = crew("Read").kickoff_async()
            run.result(20)
            return shown(run)

        until(one_more, 30)
        assert flower.data("/runs")["runs"]


def test_urgent_messages_say_so_as_rabbitmq_reads_it() -> None:
    """There, higher goes first: quorum queues of RabbitMQ 4 let those above 4 go before the others."""
    with closing(make_app(Settings(redis_url="redis://h", broker_url="amqp://h"))) as app:
        work = crew("Read", "Write").spec()
        first, later = (chain_from(app, work, Job("00000000-0000-4000-8000-000000000000", at)) for at in (0, 1))
        batch = chain_from(app, work, Job("00000000-0000-4000-8000-000000000000", 1), batch=True)
        assert first.options["priority"] == 6
        assert later.options["priority"] == batch.options["priority"] == 9
        only = chain_from(app, crew("Read").spec(), Job("00000000-0000-4000-8000-000000000000", 0), batch=True)
        assert only.options["priority"] == 3
