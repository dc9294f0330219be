"""The stage of a chaos run: all processes of the system, set up, watched over, and cleared away."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from crewq import Run, errors
from crewq.settings import Settings
from crewq.states import RunState
from crewq.store import Store
from tests.chaos.crews import crew, inputs, write_line
from tests.chaos.listener import Listener
from tests.chaos.load import Kickoffs
from tests.chaos.oblivion import holdings
from tests.chaos.processes import BROKER_DB, STORE_DB, Process, RedisServer, Worker
from tests.chaos.proxy import Proxy
from tests.waiting import until

LEASE = 3.0  # seconds
SLOTS = 6  # tasks that a worker works on at once
DRAIN = 20.0  # seconds in which the workers have taken what is left in the queues
PATIENCE = 60.0  # seconds in which something has to go forward at the end


class NoTarget(Exception):
    """There is nothing now that the fault could hit."""


class Stage:
    """All of it, as a context manager. Everything that is done to it is written to `faults.jsonl`."""

    def __init__(self, folder: Path, *, workers: int, seed: int, appendfsync: str = "everysec") -> None:
        self.folder = folder
        self.seed = seed
        self.model_url = ""
        self.redis = RedisServer(folder, appendfsync)
        self.proxy = Proxy(self.redis.port)
        self.model = Process("model", folder, [sys.executable, "-m", "tests.chaos.model", str(folder)])
        self.workers: list[Worker] = []
        self.producer: Process | None = None
        self.kickoffs = Kickoffs(folder, "p")
        self.settings = Settings(redis_url=self.redis.url(STORE_DB))
        self.store = Store(self.settings, patience=0.0)
        self.listener = Listener(self.redis.url(BROKER_DB))
        self.deserted: list[tuple[float, float]] = []  # when no worker was up
        self.losses: list[float] = []  # when messages or connections were lost
        self.bereaved: list[float] = []  # when the producer had died
        self.held: tuple[dict[str, int], dict[str, int]] = ({}, {})  # what Redis held before the first run
        self._number = workers
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self.store.close)
        self._stack.callback(self._clear)
        self._stack.enter_context(self.proxy)
        self.redis.start()
        self._stack.enter_context(self.listener)
        self.model.start()
        self.model_url = until(lambda: self.model.said).strip()
        before = dict(os.environ)
        os.environ.update(self._environ())  # for what this process kicks off itself
        self._stack.callback(os.environ.update, before)
        for name in self._environ().keys() - before.keys():
            self._stack.callback(os.environ.pop, name, None)
        self.workers = [
            # The first worker's way to Redis is the proxy; the last has Celery's own pool.
            Worker(
                f"worker{at}",
                self.folder,
                self._environ(self.redis.port if at else self.proxy.port),
                "prefork" if at == self._number - 1 > 0 else "crewq",
            )
            for at in range(self._number)
        ]
        for worker in self.workers:
            worker.start()
        until(lambda: all(worker.ready for worker in self.workers), 180)
        with self.redis.client(STORE_DB) as client, self.redis.client(BROKER_DB) as broker:
            self.held = (holdings(client), holdings(broker))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _environ(self, port: int = 0) -> dict[str, str]:
        return {
            "CREWQ_REDIS_URL": self.redis.url(STORE_DB, port),
            "CREWQ_BROKER_URL": self.redis.url(BROKER_DB, port),
            "CREWQ_IMPORTS": "tests.chaos.crews",
            "CREWQ_LEASE_SECONDS": str(LEASE),
            "CREWQ_CONCURRENCY": str(SLOTS),
            "CHAOS_TOOLS": str(self.folder / "tools.jsonl"),
        }

    def _clear(self) -> None:
        for process in (*self.workers, self.producer, self.model, self.redis):
            if process and process.alive:
                process.kill()

    def log(self, what: str, **facts: object) -> None:
        """Write down what was done."""
        write_line(self.folder / "faults.jsonl", at=round(time.time(), 3), what=what, **facts)

    # -- load ----------------------------------------------------------------------------------------------

    def begin_load(self) -> None:
        """Begin to kick off runs, and go on until `end_load`."""
        command = [sys.executable, "-m", "tests.chaos.load", str(self.folder), self.model_url, str(self.seed)]
        self.producer = Process("producer", self.folder, command, self._environ())
        self.producer.start()

    def end_load(self) -> None:
        """Kick off nothing more."""
        if self.producer and self.producer.process:
            self.producer.process.terminate()
            self.producer.process.wait(30)
            self.producer = None

    def kick_off(self, kind: str) -> None:
        """Kick off one run from here."""
        name = self.kickoffs.new_name()
        self.kickoffs.note("wanted", name, kind=kind)
        try:
            run = crew(kind, self.model_url).kickoff_async(inputs(name), idempotency_key=name)
        except errors.StoreError as error:
            raise NoTarget from error
        self.kickoffs.note("accepted", name, run=run.id)

    # -- who is hit, and what comes back by itself ---------------------------------------------------------

    @contextmanager
    def one_worker(self, chance: random.Random, name: str = "", pool: str = "", others: int = 1) -> Iterator[Worker]:
        """A worker that is up, for one fault alone. So many others are left in peace, so that there is recovery.

        Raises:
            NoTarget: none can be spared.
        """
        free = [worker for worker in self.workers if worker.working]
        wanted = [worker for worker in free if name in ("", worker.name) and pool in ("", worker.pool)]
        worker = self.take(chance.choice(wanted).name, others) if wanted else None
        if worker is None:
            raise NoTarget
        try:
            yield worker
        finally:
            worker.reserved = False

    def take(self, name: str, others: int = 1) -> Worker | None:
        """Reserve a worker for one fault alone; None: it is not up, or not so many others would be left in peace."""
        free = [worker for worker in self.workers if worker.working]
        worker = next((worker for worker in free if worker.name == name), None)
        if worker is None or len(free) <= others:
            return None
        worker.reserved = True
        return worker

    def mend(self) -> None:
        """What a supervisor does: start again what has ended by itself."""
        self._note_desertion()
        for worker in self.workers:
            if not worker.reserved and not worker.alive and worker.process:
                worker.cut("died", time.time())
                self.log("worker died", worker=worker.key, status=worker.process.returncode, end=worker.said[-400:])
                worker.start()
        if self.producer and not self.producer.alive:
            self.bereaved.append(time.time())
            self.log("producer died", end=self.producer.said[-800:])
            self.producer.start()

    def _note_desertion(self) -> None:
        now = time.time()
        if any(worker.working for worker in self.workers):
            return
        if self.deserted and now - self.deserted[-1][1] < 1:
            self.deserted[-1] = (self.deserted[-1][0], now)
        else:
            self.deserted.append((now, now))

    # -- the end -------------------------------------------------------------------------------------------

    def unended(self) -> int:
        """How many runs have not ended."""
        runs = self.store.runs.latest(1_000_000)
        return sum(not run.state.ended for run in self.store.runs.overview(runs))

    def settle(self) -> int:
        """Wait until all runs have ended, or nothing goes forward any more; answers how many have not ended."""
        fewest, deadline = 10**9, time.monotonic() + PATIENCE
        while (left := self.unended()) and time.monotonic() < deadline:
            if left < fewest:
                fewest, deadline = left, time.monotonic() + PATIENCE
            self.mend()
            self._decide()
            time.sleep(0.2)
        return left

    def drain(self) -> None:
        """Wait until the workers have taken all messages that are still under way: they come too late, to no effect."""
        with self.redis.client(BROKER_DB) as client, suppress(TimeoutError, AssertionError):
            until(lambda: not list(client.scan_iter(f"{self.settings.queue}*", _type="list")), DRAIN)

    def _decide(self) -> None:
        """What a person does about a call in doubt: it shall not be made again."""
        for record in self.store.runs.overview(self.store.runs.latest(1_000_000)):
            if record.state is RunState.PAUSED:
                Run(record.id).resume(call_in_doubt="skip")
                self.log("resumed", run=record.id)


__all__ = ["LEASE", "NoTarget", "Stage"]
