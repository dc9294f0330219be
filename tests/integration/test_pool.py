"""The pool under a real worker process, and its interrupts under load."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError
from celery.result import AsyncResult
from redis import Redis

from crewq.pool import CrewPool, Terminated, interruptible
from crewq.server import join
from tests.waiting import until

ROOT = Path(__file__).parents[2]


# -- a server and workers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server of its own."""
    with join(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a task blocks until it is opened."""
    path = tmp_path_factory.mktemp("gate") / "fifo"
    os.mkfifo(path)
    return path


def let_through(gate: Path) -> None:
    os.close(os.open(gate, os.O_WRONLY))


@pytest.fixture(scope="module")
def app(redis_url: str, gate: Path) -> Iterator[Celery]:
    os.environ |= {"POOL_APP_REDIS": redis_url, "POOL_APP_GATE": str(gate)}
    from tests.integration.pool_app import app

    yield app
    gc.collect()  # Celery's results take leave of the server when they go, and some are held in circles by what they raised
    app.close()
    del os.environ["POOL_APP_REDIS"], os.environ["POOL_APP_GATE"]


@dataclass
class Worker:
    """A worker process with a queue of its own."""

    app: Celery
    name: str
    log: Path
    process: subprocess.Popen[bytes]

    def send(self, task: str, *args: float, **options: Any) -> AsyncResult[Any]:
        return self.app.send_task(task, args, queue=self.name, **options)

    def meet(self, number: int) -> list[str]:
        return [each.get(timeout=15) for each in [self.send("meet") for _ in range(number)]]

    def terminate(self, *results: AsyncResult[Any]) -> None:
        self.app.control.revoke([each.id for each in results], terminate=True)

    def ask(self, command: str) -> Any:
        inspect = self.app.control.inspect(destination=[self.name], timeout=10)  # it returns with the answer
        return getattr(inspect, command)()[self.name]

    @property
    def pool(self) -> dict[str, Any]:
        return dict(self.ask("stats")["pool"])


@contextmanager
def running_worker(app: Celery, folder: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Worker]:
    """A worker that is ready; killed at the end if it has not ended."""
    name, log = f"{folder.name}@test", folder / "log"
    command = [sys.executable, "-m", "celery", "-A", "tests.integration.pool_app", "worker", "-n", name, "-Q", name]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "-l", "INFO", "--without-mingle", *options], cwd=ROOT, env=env, stdout=file, stderr=file
        )
    try:
        until(lambda: f"{name} ready." in log.read_text() and app.control.ping([name]), seconds=20)
        yield Worker(app, name, log, process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def worker(app: Celery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker for four tasks at once."""
    with running_worker(app, tmp_path_factory.mktemp("worker"), "-c", "4") as running:
        yield running


@pytest.fixture(scope="module")
def untraced(app: Celery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker whose coverage is not measured. With a tracer, CPython 3.11 stops all threads of a process, at the next
    function that each calls, while an exception is on its way to a thread that is in a C call."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with running_worker(app, tmp_path_factory.mktemp("untraced"), "-c", "4", env=env) as running:
        yield running


@pytest.fixture
def seen(redis_url: str) -> Iterator[Callable[[AsyncResult[Any]], str]]:
    """What a task tells next."""
    with Redis.from_url(redis_url, decode_responses=True, socket_timeout=15) as client:

        def next_of(result: AsyncResult[Any]) -> str:
            answer: Any = client.blpop([f"seen:{result.id}"], timeout=10)
            assert answer, "the task told nothing"
            return str(answer[1])

        yield next_of


# -- a worker at work ---------------------------------------------------------------------------------------

Seen = Callable[[AsyncResult[Any]], str]


def test_as_many_tasks_run_at_once_as_the_worker_has_threads(worker: Worker) -> None:
    assert worker.meet(8) == ["met"] * 8


@pytest.mark.parametrize("task", ["wait", "compute"])
def test_a_soft_limit_raises_in_the_task(worker: Worker, seen: Seen, task: str) -> None:
    result = worker.send(task, 60, soft_time_limit=0.2)
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=10)
    assert [seen(result), seen(result)] == ["begun", "SoftTimeLimitExceeded"]
    assert result.state == "FAILURE"


def test_a_task_may_tidy_up_between_the_soft_and_the_hard_limit(worker: Worker) -> None:
    assert worker.send("tidy", soft_time_limit=0.2, time_limit=20).get(timeout=10) == "tidied up"


@pytest.mark.parametrize("task", ["wait", "compute", "block"])
def test_a_hard_limit_fails_the_task_and_ends_it(untraced: Worker, seen: Seen, gate: Path, task: str) -> None:
    result = untraced.send(task, 60, time_limit=0.2)
    assert seen(result) == "begun"
    with pytest.raises(TimeLimitExceeded):  # at once, while the task may be in a C call still
        result.get(timeout=10)
    if task == "block":
        let_through(gate)
    assert seen(result) == "TimeLimitReached"
    assert result.state == "FAILURE"


@pytest.mark.parametrize("task", ["wait", "compute", "block"])
def test_a_running_task_is_terminated(untraced: Worker, seen: Seen, gate: Path, task: str) -> None:
    result = untraced.send(task, 60)
    assert seen(result) == "begun"
    untraced.terminate(result)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    if task == "block":
        let_through(gate)
    assert seen(result) == "Terminated"
    assert str(result.state) == "REVOKED"


def test_a_task_terminated_before_its_turn_never_begins(worker: Worker, seen: Seen, redis_url: str) -> None:
    busy = [worker.send("wait", 60) for _ in range(4)]
    assert [seen(each) for each in busy] == ["begun"] * 4
    queued = worker.send("wait", 0)
    until(lambda: queued.id in str(worker.ask("reserved")))
    worker.terminate(queued)
    worker.terminate(*busy)
    with pytest.raises(TaskRevokedError):
        queued.get(timeout=10)
    assert [seen(each) for each in busy] == ["Terminated"] * 4
    with Redis.from_url(redis_url) as client:
        assert client.llen(f"seen:{queued.id}") == 0


def test_afterwards_the_worker_is_as_before(worker: Worker) -> None:
    assert worker.meet(4) == ["met"] * 4
    until(lambda: (worker.pool["threads"], worker.pool["running"]) == (4, 0))
    assert worker.ask("active") == []
    log = worker.log.read_text()
    assert "internal error" not in log.lower()
    assert "NotImplementedError" not in log
    assert "Celery could not be told" not in log


# -- workers that come and go -------------------------------------------------------------------------------


def test_autoscale_starts_and_grows(app: Celery, tmp_path: Path) -> None:
    with running_worker(app, tmp_path, "--autoscale=4,1") as worker:
        assert worker.pool["max-concurrency"] == 1
        assert worker.meet(4) == ["met"] * 4
        assert worker.pool["max-concurrency"] == 4


def test_sigterm_lets_running_tasks_end_and_leaves_the_others_for_the_next_worker(
    app: Celery, seen: Seen, gate: Path, tmp_path: Path
) -> None:
    with running_worker(app, tmp_path, "-c", "1") as worker:
        running, queued = worker.send("block", 0), worker.send("wait", 0)
        assert seen(running) == "begun"
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: not app.control.ping([worker.name], timeout=0.5))  # it heeds a signal within a second
        let_through(gate)
        assert worker.process.wait(10) == 0
        assert running.get(timeout=10) == "slept well"
    assert queued.state == "PENDING"
    with running_worker(app, tmp_path, "-c", "1"):
        assert queued.get(timeout=10) == "slept well"


def test_sigquit_interrupts_running_tasks_and_begins_no_other(app: Celery, seen: Seen, tmp_path: Path) -> None:
    with running_worker(app, tmp_path, "-c", "2") as worker:
        results = [worker.send("wait", 60), worker.send("compute", 60)]
        assert [seen(each) for each in results] == ["begun"] * 2
        queued = worker.send("wait", 0)
        until(lambda: queued.id in str(worker.ask("reserved")))
        worker.process.send_signal(signal.SIGQUIT)
        assert [seen(each) for each in results] == ["ShutDown"] * 2
        worker.process.wait(10)
    assert queued.state == "PENDING"


# -- interrupts, with no worker -----------------------------------------------------------------------------


class Outcomes:
    """Stands for Celery: hands jobs to a pool and notes what it is told of each."""

    def __init__(self, pool: CrewPool) -> None:
        self.pool = pool
        self.told: dict[int, list[Any]] = {}
        self.begun: dict[int, int] = {}

    def apply(self, index: int, target: Callable[..., Any], **limits: float) -> Any:
        told = self.told.setdefault(index, [])
        return self.pool.apply_async(
            target,
            (index,),
            accept_callback=lambda number, at: self.begun.update({index: number}),
            callback=told.append,
            error_callback=lambda info: told.append(type(info.exception.exc).__name__),
            timeout_callback=lambda soft, seconds: told.append("soft" if soft else "hard"),
            **limits,
        )


@pytest.fixture
def outcomes() -> Iterator[Outcomes]:
    pool = CrewPool(2)
    pool.start()
    yield Outcomes(pool)
    pool.stop()


def idle(pool: CrewPool) -> bool:
    return bool(pool.info["running"] == 0)


def test_a_job_that_is_over_is_not_interrupted(outcomes: Outcomes) -> None:
    """While Celery is told of its outcome, and after that, its thread is no longer its own."""
    late: list[bool] = []
    reported = threading.Event()

    def report(value: str) -> None:
        late.append(job.interrupt(SoftTimeLimitExceeded, for_good=False))
        late.append(sum(range(1000)) == 0)  # here an interrupt would be raised
        reported.set()

    job = outcomes.apply(0, lambda index: "done")
    until(lambda: outcomes.told[0] == ["done"])
    assert not job.interrupt(Terminated, for_good=True)
    job = outcomes.pool.apply_async(
        lambda: "done",
        accept_callback=lambda number, at: None,
        callback=report,
        error_callback=late.append,
        timeout_callback=late.append,
    )
    assert reported.wait(10)
    assert late == [False, False]


def test_an_interrupt_never_reaches_another_job(outcomes: Outcomes) -> None:
    """Jobs end just as they are terminated, hundreds of times on the same few threads."""
    interrupted: set[int] = set()
    hunted: set[int] = set()
    jobs = 1500

    def body(index: int) -> str:
        event = threading.Event()
        try:
            if index % 2:
                with interruptible(event.set):
                    event.wait(0.0005)
            else:
                sum(number for number in range(500))
        except Terminated:
            interrupted.add(index)
            raise
        return "done"

    def hunt() -> None:
        while len(outcomes.begun) < jobs:
            for index, number in list(outcomes.begun.items())[-2:]:
                if index % 5 < 2:
                    hunted.add(index)
                    outcomes.pool.terminate_job(number)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    for index in range(jobs):
        outcomes.apply(index, body)
    hunter.join(30)
    until(lambda: idle(outcomes.pool))

    assert interrupted
    assert interrupted <= hunted
    assert {tuple(outcomes.told[index]) for index in range(jobs) if index not in hunted} == {("done",)}
    assert {tuple(outcomes.told[index]) for index in hunted} <= {("done",), ()}
    until(lambda: outcomes.pool.info["threads"] == 2)


def test_soft_limits_that_come_as_jobs_end_lose_no_outcome(outcomes: Outcomes) -> None:
    def body(index: int) -> str:
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            pass
        return "done"

    for index in range(200):
        outcomes.apply(index, body, soft_timeout=0.002)
    until(lambda: all(set(told) & {"done", "SoftTimeLimitExceeded"} for told in outcomes.told.values()))
    assert all(len(set(told) - {"soft"}) == 1 for told in outcomes.told.values())
    assert outcomes.pool.info["threads"] == 2


def test_what_a_job_raises_ends_only_that_job(outcomes: Outcomes) -> None:
    def body(index: int) -> str:
        raise [SystemExit, MemoryError, KeyboardInterrupt, ValueError][index]

    for index in range(4):
        outcomes.apply(index, body)
    until(lambda: all(outcomes.told.values()))
    assert outcomes.told == {0: ["SystemExit"], 1: ["MemoryError"], 2: ["KeyboardInterrupt"], 3: ["ValueError"]}
    outcomes.apply(4, lambda index: "fine")
    until(lambda: outcomes.told[4] == ["fine"])


def test_the_pool_shrinks(outcomes: Outcomes) -> None:
    outcomes.pool.grow(3)
    assert (outcomes.pool.num_processes, outcomes.pool.info["threads"]) == (5, 5)
    outcomes.pool.shrink(4)
    until(lambda: outcomes.pool.info["threads"] == 1)
    assert outcomes.pool.num_processes == 1
    with pytest.raises(ValueError, match="cannot lose 2"):
        outcomes.pool.shrink(2)
    outcomes.apply(0, lambda index: "fine")
    until(lambda: outcomes.told[0] == ["fine"])


def test_a_stopped_pool_leaves_no_thread(outcomes: Outcomes) -> None:
    def threads() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name.startswith("crewq-")]

    assert len(threads()) >= 3
    outcomes.pool.stop()
    until(lambda: not threads())


def test_outside_of_the_pool_nothing_interrupts() -> None:
    with interruptible(lambda: pytest.fail("called")):
        pass
