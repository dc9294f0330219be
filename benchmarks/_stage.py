"""What a benchmark runs on: its own Redis, a model server with a fixed latency, and real worker processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from crewq.server import join

ROOT = Path(__file__).parent.parent
READY_SECONDS = 60.0


@dataclass
class Stage:
    """Where everything is: the environment that workers and producers share."""

    redis_url: str
    model_url: str

    def enter(self) -> None:
        """Make it the environment of this process and of all that it starts."""
        os.environ.update(
            CREWQ_REDIS_URL=self.redis_url,
            CREWQ_IMPORTS="benchmarks",
            OPENAI_API_KEY="benchmark",
            BENCH_MODEL_URL=self.model_url,
            LITELLM_LOCAL_MODEL_COST_MAP="True",
            PYTHONPATH=str(ROOT),
        )


@contextmanager
def stage(latency: float) -> Iterator[Stage]:
    """A Redis with an append-only file and a model server that takes `latency` seconds for an answer."""
    with tempfile.TemporaryDirectory() as folder, join(Path(folder, ".crewq")) as server:
        command = [sys.executable, str(ROOT / "tests" / "model_server.py"), "--latency", str(latency)]
        model = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert model.stdout is not None
        try:
            found = Stage(server.url, model.stdout.readline().strip())
            found.enter()
            yield found
        finally:
            model.terminate()
            model.wait()


@contextmanager
def worker(app: str, *options: str, name: str = "bench") -> Iterator[None]:
    """A real worker process on a Celery app, from the moment that it answers a ping."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", f"{name}@bench", "-l", "error", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_ping(f"{name}@bench")
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for_ping(name: str) -> None:
    app = Celery(broker=os.environ["CREWQ_REDIS_URL"], set_as_current=False)
    until = time.monotonic() + READY_SECONDS
    while not app.control.ping([name], timeout=0.5):
        if time.monotonic() > until:
            raise TimeoutError(f"The worker {name} was not ready within {READY_SECONDS:g} s.")
    app.close()


def seconds_of(work: Callable[[], object]) -> float:
    """How long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
