"""A worker is killed in the third of four tasks: calls made, and seconds until the work goes on.

The same crew and the same model server each time: on crewq, on Celery with one job per kickoff, and on Celery with one job
per task (a chain), both with `acks_late` and `reject_on_worker_lost`. Two workers are up, and the one that has the third task
is killed with all its children, as by a node that is lost. A message that was not acknowledged comes back after the
visibility timeout, an hour by default: that is waited for only so long, and then shown with a short one.

Where they are installed (`./run bench peers`), also as a pipeline of dramatiq, whose dead worker's messages come back some
time after a minute without its heartbeat, and as a workflow of DBOS, which goes on in the next process that is started. Both
have a new process as soon as theirs is dead.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks._peers import DBOS, DRAMATIQ, Peer, begin, kill, order
from crewq import LLM, Agent, Crew, Run, Task
from crewq.producer import disconnect
from crewq.server import join
from tests.model_server import ModelServer

ROOT = Path(__file__).parents[1]
LATENCY = 1.0  # seconds that an answer takes
BOUND = 30.0  # seconds that are waited for something to come back
SHORT = 5  # seconds of visibility timeout, for those who choose one
VISIBILITY = 3600  # seconds: Celery's default
HEARTBEAT = 60  # seconds: dramatiq's default
TASKS = 4
SLOTS = 8  # of a peer


@dataclass(frozen=True)
class Result:
    """What came of one way to run the crew. `back` is None if it did not come back within the bound: `timeout` is why."""

    way: str
    calls: int
    back: float | None
    done: float | None
    timeout: int = VISIBILITY


def main(arguments: list[str]) -> None:
    """Measure, and print a table."""
    argparse.ArgumentParser(prog="benchmarks crash", description=__doc__).parse_args(arguments)
    results = [
        crewq(),
        naive("Celery, one job per kickoff", "kickoff"),
        naive(f"… visibility timeout {SHORT} s", "kickoff", visibility=SHORT),
        naive("Celery, one job per task", "chain"),
        naive(f"… visibility timeout {SHORT} s", "chain", visibility=SHORT),
        *(beside(peer) for peer in (DRAMATIQ, DBOS) if peer.python),
    ]
    print(f"| way | calls (needed: {TASKS}) | goes on after | ends after |\n|---|---|---|---|")
    for result in results:
        print(f"| {result.way} | {result.calls} | {_seconds(result.back, result)} | {_seconds(result.done, result)} |")


def _seconds(value: float | None, result: Result) -> str:
    return f"not within {BOUND:g} s (timeout: {result.timeout} s)" if value is None else f"{value:.1f} s"


# -- crewq ------------------------------------------------------------------------------------------------------------


def crewq() -> Result:
    """On crewq, with its default lease of 15 s."""
    with _server_and_model() as (folder, redis, model):
        os.environ["CREWQ_REDIS_URL"] = redis
        environ = {"CREWQ_DATA_DIR": str(folder), "OPENAI_API_KEY": "none"}
        with _workers(folder, "workers.app", environ) as workers:
            run = _crew(model.url).kickoff_async()
            _third_call(model)
            pid = int((run.tasks[2].worker or "").rpartition(":")[2])
            killed = _kill(next(worker for worker in workers if worker.pid == pid))
            result = _outcome("crewq", model, killed, lambda: Run(run.id).record().state.ended)
        disconnect()
    return result


def _crew(url: str) -> Crew:
    agent = Agent(role="R", goal="G", backstory="B", llm=LLM(model="openai/any", base_url=url))
    tasks = [Task(name=f"t{at}", description=f"Task {at}", expected_output="Text", agent=agent) for at in range(TASKS)]
    return Crew(agents=[agent], tasks=tasks)


# -- Celery -----------------------------------------------------------------------------------------------------------


def naive(way: str, kind: str, *, visibility: int | None = None) -> Result:
    """On Celery alone."""
    with _server_and_model() as (folder, redis, model):
        environ = {"NAIVE_REDIS": redis, "NAIVE_MODEL": model.url}
        if visibility:
            environ["NAIVE_VISIBILITY"] = str(visibility)
        with _workers(folder, "benchmarks._naive_app", environ, "-c", "1") as workers:
            sent = subprocess.run([sys.executable, "-c", SEND[kind]], env=os.environ | environ, cwd=ROOT, check=True)
            assert sent.returncode == 0
            _third_call(model)
            killed = _kill(_holder(workers, folder))
            result = _outcome(way, model, killed, lambda: model.ledger[-1].ended is not None and _is_last(model))
    return result


SEND = {
    "kickoff": "from benchmarks._naive_app import kickoff; kickoff.delay()",
    "chain": (
        "from celery import chain; from benchmarks._naive_app import TASKS, app, step; "
        "chain(step.s('', 0), *(step.s(at) for at in range(1, TASKS)), app=app).apply_async()"
    ),
}


def _is_last(model: ModelServer) -> bool:
    return model.ledger[-1].prompt.startswith((f"task {TASKS - 1}", f"step {TASKS - 1}"))


def _holder(workers: list[subprocess.Popen[bytes]], folder: Path) -> subprocess.Popen[bytes]:
    """The worker that was sent the third task, by the logs."""
    logs = [(folder / f"worker{at}.log").read_text() for at in range(len(workers))]
    return next(
        worker for worker, log in zip(workers, logs, strict=True) if log.count("received") > log.count("succeeded")
    )


# -- the peers --------------------------------------------------------------------------------------------------------


def beside(peer: Peer) -> Result:
    """On one of them: its worker is killed, or the program itself where it has none."""
    with _server_and_model() as (folder, redis, model), ExitStack() as started:
        os.environ.update(
            CREWQ_REDIS_URL=redis,
            BENCH_MODEL="openai/any",
            BENCH_MODEL_URL=model.url,
            BENCH_FOLDER=str(folder),
            BENCH_TASKS=str(TASKS),
            OPENAI_API_KEY="none",
        )
        program, doomed, replacement = begin(peer, SLOTS, folder / "peer.log", started)
        order(program, 1)
        _third_call(model)
        killed = kill(doomed)
        replacement()
        return replace(
            _outcome(peer.name, model, killed, lambda: model.ledger[-1].ended is not None and _is_last(model)),
            timeout=HEARTBEAT,
        )


# -- all --------------------------------------------------------------------------------------------------------------


@contextmanager
def _server_and_model() -> Iterator[tuple[Path, str, ModelServer]]:
    with (
        tempfile.TemporaryDirectory() as name,
        join(Path(name) / "redis") as server,
        ModelServer(latency=LATENCY) as model,
    ):
        yield Path(name), server.url, model


@contextmanager
def _workers(folder: Path, app: str, environ: dict[str, str], *options: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two workers that are ready."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-l", "INFO", *options]
    logs = [folder / f"worker{at}.log" for at in range(2)]
    workers = []
    for at, log in enumerate(logs):
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "-n", f"worker{at}@bench"],
                cwd=ROOT,
                env=os.environ | environ,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        workers.append(process)
    try:
        _wait(lambda: all(" ready." in log.read_text() for log in logs))
        yield workers
    finally:
        for worker in workers:
            _kill(worker)


def _kill(worker: subprocess.Popen[bytes]) -> float:
    """Kill a worker with its children; answers when that was."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    return time.time()


def _third_call(model: ModelServer) -> None:
    model.ledger.wait_for(lambda calls: len(calls) == 3, timeout=60)


def _outcome(way: str, model: ModelServer, killed: float, ended: Callable[[], bool]) -> Result:
    """Wait until all is done, or nothing has come back within the bound."""
    if not _wait(lambda: len(model.ledger) > 3):
        return Result(way, len(model.ledger), None, None)
    back = model.ledger[3].started - killed
    _wait(ended)
    return Result(way, len(model.ledger), back, time.time() - killed)


def _wait(fact: Callable[[], bool]) -> bool:
    """Whether it comes true within the bound."""
    deadline = time.monotonic() + BOUND
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
