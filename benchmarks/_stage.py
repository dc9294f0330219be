"""What a benchmark runs on: its own Redis, a model server with a fixed latency, and real worker processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from celery import Celery

from crewq.producer import disconnect
from crewq.server import join

ROOT = Path(__file__).parent.parent
READY_SECONDS = 60.0
# A model with a price, as most have, so that cost is worked out too. Who answers is the benchmark's own server.
MODEL = "openai/gpt-4.1-mini"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Stage:
    """Where everything is: the environment that workers and producers share."""

    redis_url: str
    model_url: str
    ledger: Path

    def enter(self) -> None:
        """Make it the environment of this process and of all that it starts."""
        os.environ.update(
            CREWQ_REDIS_URL=self.redis_url,
            CREWQ_IMPORTS="benchmarks",
            OPENAI_API_KEY="benchmark",
            BENCH_MODEL=MODEL,
            BENCH_MODEL_URL=self.model_url,
            BENCH_FOLDER=str(self.ledger.parent),
            LITELLM_LOCAL_MODEL_COST_MAP="True",
            PYTHONPATH=str(ROOT),
        )

    def client(self) -> redis.Redis:
        """A client of the Redis."""
        return redis.Redis.from_url(self.redis_url, decode_responses=True)

    def calls(self) -> int:
        """How many calls the model server was asked so far, if it counts them."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return sum(json.loads(line)["event"] == "started" for line in lines)

    def commands(self) -> dict[str, int]:
        """How often each command of Redis was used so far, by clients and by scripts."""
        with self.client() as client:
            found: Any = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): int(about["calls"]) for name, about in found.items()}

    def asked_by_workers(self, work: Callable[[], object]) -> Counter[str]:
        """What others than this process ask Redis while it does some work. A script is one command, whatever it does."""
        mark = uuid4().hex
        asked: Counter[str] = Counter()
        with self.client() as client, client.monitor() as monitor:
            work()
            client.echo(mark)
            ports = own_ports()
            while mark not in (heard := monitor.next_command())["command"]:
                if heard["client_type"] == "tcp" and int(heard["client_port"]) not in ports:
                    asked[heard["command"].partition(" ")[0].lower()] += 1
        return asked


def own_ports() -> set[int]:
    """The ports of this process's connections over TCP."""
    sockets = {str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    fields = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(one[1].rpartition(":")[2], 16) for one in fields if f"socket:[{one[9]}]" in sockets}


@contextmanager
def stage(latency: float, *, counted: bool = False) -> Iterator[Stage]:
    """A Redis with an append-only file and a model server that answers after `latency` seconds, and may count them."""
    with tempfile.TemporaryDirectory() as folder, join(Path(folder, ".crewq")) as server:
        ledger = Path(folder, "calls.jsonl")
        command = [sys.executable, str(ROOT / "tests" / "model_server.py"), "--latency", str(latency)]
        model = subprocess.Popen(
            [*command, *(["--ledger", str(ledger)] if counted else [])], stdout=subprocess.PIPE, text=True
        )
        assert model.stdout is not None
        try:
            found = Stage(server.url, model.stdout.readline().strip(), ledger)
            found.enter()
            yield found
        finally:
            disconnect()
            model.terminate()
            model.wait()


@contextmanager
def worker(app: str, *options: str, name: str = "bench", environ: Mapping[str, str] | None = None) -> Iterator[Process]:
    """A real worker process on a Celery app, from the moment that it answers a ping."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", f"{name}@bench", "-l", "error", *options]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | (environ or {}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for_ping(f"{name}@bench")
        yield Process(process, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait()


@dataclass
class Process:
    """A worker. `ready` is how many seconds it took to answer."""

    popen: subprocess.Popen[bytes]
    ready: float

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far, with that of all its children."""
        return sum(_ticks(pid) for pid in _family(self.popen.pid)) / TICKS

    @property
    def megabytes(self) -> float:
        """Memory of its own."""
        lines = Path(f"/proc/{self.popen.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _family(pid: int) -> list[int]:
    """A process, and all that descend from it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parents[int(folder.name)] = int(_stat(int(folder.name))[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12])


def _stat(pid: int) -> list[str]:
    """What `man proc_pid_stat` lists, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _wait_for_ping(name: str) -> None:
    app = Celery(broker=os.environ["CREWQ_REDIS_URL"], set_as_current=False)
    until = time.monotonic() + READY_SECONDS
    while not app.control.ping([name], timeout=0.5):
        if time.monotonic() > until:
            raise TimeoutError(f"The worker {name} was not ready within {READY_SECONDS:g} s.")
    app.close()


def wait_until(fact: Callable[[], bool], seconds: float = 120.0) -> float:
    """Wait for a fact; answers how long that took."""
    began = time.perf_counter()
    while not fact():
        if time.perf_counter() - began > seconds:
            raise TimeoutError(f"What the benchmark waits for did not come true within {seconds:g} s.")
        time.sleep(0.01)
    return time.perf_counter() - began


def seconds_of(work: Callable[[], object]) -> float:
    """How long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
