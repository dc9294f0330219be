"""Celery's own process pool: crews run in it too, and a child that is killed is recovered from."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crewq import LLM, errors
from crewq.server import join
from tests.integration.crews import Killer, crew
from tests.integration.worker_process import WorkerProcess
from tests.model_server import ModelServer, hang


@contextmanager
def prefork_worker(folder: Path) -> Iterator[WorkerProcess]:
    options = ("-P", "prefork", "-c", "2", "--without-gossip", "--without-mingle")
    with (
        join(folder / "redis") as server,
        WorkerProcess(folder, server.url, *options, CREWQ_MAX_ATTEMPTS="2") as worker,
    ):
        yield worker.ready()


@pytest.fixture(scope="module")
def prefork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with prefork_worker(tmp_path_factory.mktemp("prefork")) as worker:
        yield worker


@pytest.fixture
def worker(prefork: WorkerProcess, producer_of: Callable[[str], None]) -> WorkerProcess:
    producer_of(prefork.url)
    return prefork


def test_a_batch(worker: WorkerProcess) -> None:
    outputs = crew("Read {x}", "Write {x}").kickoff_for_each([{"x": n} for n in range(6)])
    assert all(f"Write {n}\n" in output.raw for n, output in enumerate(outputs))


def test_a_child_that_is_killed(worker: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue("Read it.", hang())
    run = crew("Read", "Write", llm=LLM(model="openai/any", base_url=model_server.url)).kickoff_async()
    model_server.ledger.wait_for(lambda made: len(made) == 2, 20)
    child = int(str(run.tasks[1].worker).partition(":")[2])
    assert child != worker.process.pid
    os.kill(child, signal.SIGKILL)
    assert run.result(30).raw
    assert [made.prompt.split()[2] for made in model_server.ledger] == ["Read", "Write", "Write"]
    assert [task.repeated for task in run.tasks] == [0, 1]
    assert worker.process.poll() is None


def test_cancel_reaches_a_child(worker: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(hang())
    run = crew("Read", llm=LLM(model="openai/any", base_url=model_server.url)).kickoff_async()
    model_server.ledger.wait_for(lambda made: len(made) == 1, 20)
    run.cancel()
    model_server.ledger.wait_for(lambda made: made[0].ended is not None, 1.5)
    assert run.status == "cancelled"


def test_a_task_that_kills_its_worker_ends_failed_and_harms_no_other(worker: WorkerProcess) -> None:
    poison = crew("Kill", "Never", llm=Killer()).kickoff_async()
    others = crew("Say {x}").kickoff_for_each_async([{"x": n} for n in range(4)])
    assert len(others.results(40)) == 4
    with pytest.raises(errors.RunFailed, match="worker died in each of the 2 attempts") as caught:
        poison.result(40)
    assert isinstance(caught.value.__cause__, errors.Crashed)
    assert [task.attempt for task in poison.tasks] == [2, 0]


def test_a_warm_shutdown_ends_well(tmp_path: Path, producer_of: Callable[[str], None]) -> None:
    with prefork_worker(tmp_path) as worker:  # no child of which was killed, which Celery may tell at its end
        producer_of(worker.url)
        assert crew("Say a").kickoff_async().result(20).raw
        worker.terminate()
        assert worker.exit_status(30) == 0, worker.log
        assert "Traceback" not in worker.log
