"""What crewq is measured beside. Each peer is a program of its own, run by an interpreter that has it, and without crewq.

`./run bench peers` sets their environments up, in `.peers`. `BENCH_PEERS` names interpreters that are used instead, with
`:` between them. Where a peer is not installed, its rows say so.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks._stage import ROOT, Process

QUIET = {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "CREWAI_TRACING_ENABLED": "false"}
ANSWER = b'{"seconds"'  # what `benchmarks._serve` says begins so: libraries print, too, while they are imported
FAREWELL_SECONDS = 15.0


@dataclass(frozen=True)
class Spent:
    """Seconds of wall, of processor, and to the first result."""

    seconds: float
    cpu: float
    first: float


@dataclass(frozen=True)
class Peer:
    """Another way to do the same.

    Fields:
        name: as a table has it.
        distribution: what has to be installed.
        program: what Python is given to do runs; `{slots}` stands for how many at once.
        worker: what Python is given to start a worker, where there are any; `{processes}` stands for how many processes there
            are to be, `{share}` for the slots of each. With `{at}`, a number from 0 on, each process is a worker of its own.
    """

    name: str
    distribution: str
    program: str
    worker: str = ""

    @property
    def python(self) -> Path | None:
        """The interpreter that has it, if there is one."""
        return next((python for python in _interpreters() if _has(python, self.distribution)), None)

    def workers(self, processes: int, slots: int) -> list[str]:
        """The workers to start for so many processes and slots in all."""
        share = max(1, slots // processes)
        number = processes if "{at}" in self.worker else 1 if self.worker else 0
        return [self.worker.format(processes=processes, share=share, at=at) for at in range(number)]


_CREWAI_WORKER = "-m celery -A benchmarks._crewai_celery worker -l error"

CREWAI = Peer("CrewAI", "crewai", "-m benchmarks._crewai sync")
CREWAI_AT_ONCE = Peer("CrewAI's akickoff_for_each", "crewai", "-m benchmarks._crewai async")
CREWAI_ON_CELERY = Peer(
    "CrewAI on Celery, one job per kickoff",
    "crewai",
    "-m benchmarks._crewai_celery",
    f"{_CREWAI_WORKER} -n crewai@bench -c {{processes}}",  # Celery's default pool, a child for each core
)
CREWAI_ON_THREADS = Peer(
    "CrewAI on Celery's threads, one job per kickoff",
    "crewai",
    "-m benchmarks._crewai_celery",
    f"{_CREWAI_WORKER} -n crewai{{at}}@bench -P threads -c {{share}}",
)
DRAMATIQ = Peer(
    "dramatiq", "dramatiq", "-m benchmarks._dramatiq", "-m dramatiq benchmarks._dramatiq -p {processes} -t {share}"
)
DBOS = Peer("DBOS", "dbos", "-m benchmarks._dbos {slots}")


def _interpreters() -> list[Path]:
    given = os.environ.get("BENCH_PEERS")
    return [Path(one) for one in given.split(os.pathsep)] if given else sorted(ROOT.glob(".peers/*/bin/python"))


def _has(python: Path, distribution: str) -> bool:
    return any(python.parent.parent.glob(f"lib/python*/site-packages/{distribution}-*.dist-info"))


@contextmanager
def at_work(peer: Peer, *, processes: int = 1, slots: int) -> Iterator[Callable[[int], Spent]]:
    """Its program and its workers, in the environment that the stage has set: what does so many runs, and awaits them."""
    log = Path(os.environ["BENCH_FOLDER"], f"{peer.distribution}.log")
    with ExitStack() as started:
        workers = [started.enter_context(running(peer, given, log)) for given in peer.workers(processes, slots)]
        program = started.enter_context(running(peer, peer.program.format(slots=slots), log, asked=True))
        yield lambda items: _runs(program, workers, items, log)


@contextmanager
def running(peer: Peer, given: str, log: Path, *, asked: bool = False) -> Iterator[Process]:
    """One process of a peer's, until it is done with; one that is asked has pipes for that."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | QUIET
    with log.open("ab") as file:
        popen = subprocess.Popen(
            [str(peer.python), *shlex.split(given)],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
            stdout=subprocess.PIPE if asked else file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield Process(popen, ready=0.0)
    finally:
        _end(popen)


def begin(peer: Peer, slots: int, log: Path, started: ExitStack) -> tuple[Process, Process, Callable[[], Process]]:
    """Its program; what does the work, which is the program itself where there are no workers; and what starts another."""
    asked = peer.program.format(slots=slots)
    work = next(iter(peer.workers(1, slots)), asked)
    program = started.enter_context(running(peer, asked, log, asked=True))
    doer = program if work == asked else started.enter_context(running(peer, work, log))
    return program, doer, lambda: started.enter_context(running(peer, work, log, asked=True))


def kill(process: Process) -> float:
    """Kill one that `running` started, with all its children, as by a node that is lost; answers when that was."""
    os.killpg(process.popen.pid, signal.SIGKILL)
    process.popen.wait()
    return time.time()


def _end(popen: subprocess.Popen[bytes]) -> None:
    """As its documentation says, by a signal; then all that it has left."""
    popen.terminate()
    with suppress(subprocess.TimeoutExpired):
        popen.wait(FAREWELL_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()
    for pipe in (popen.stdin, popen.stdout):
        if pipe:
            pipe.close()


def order(program: Process, items: int) -> None:
    """Have so many runs begun."""
    assert program.popen.stdin is not None
    program.popen.stdin.write(f"{items}\n".encode())
    program.popen.stdin.flush()


def _runs(program: Process, workers: list[Process], items: int, log: Path) -> Spent:
    before = sum(worker.cpu for worker in workers)
    order(program, items)
    assert program.popen.stdout is not None
    answer = next((line for line in program.popen.stdout if line.startswith(ANSWER)), b"")
    if not answer:
        raise RuntimeError(f"A peer ended before its work was done:\n{log.read_text()[-2000:]}")
    spent = Spent(**json.loads(answer))
    return Spent(spent.seconds, spent.cpu + sum(worker.cpu for worker in workers) - before, spent.first)
