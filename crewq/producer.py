"""What a process that starts and watches runs has: the store, a Celery app to publish with, and the waiter."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery
from kombu.exceptions import KombuError

from crewq import errors
from crewq.app import make_app
from crewq.plan import alike, publish
from crewq.settings import Settings
from crewq.spec import CrewSpec
from crewq.states import TaskState
from crewq.store import Job, NewRun, Order, Store
from crewq.terms import Priority
from crewq.waiter import Waiter

log = logging.getLogger("crewq.producer")

# At most, beside the waiter's one and the readers'. The second is made when somebody asks while the first is in use: in another
# thread, or in the handler of a signal that came in the middle of a command.
CONNECTIONS = 2
PAUSES_KEPT = 10_000  # that were told of
AT_ONCE = 1  # question of coroutines to the store: it takes a fraction of a millisecond, and more take more connections
READERS = 16  # that may follow runs and batches at once: each holds a connection for as long as it waits


class Producer:
    """One process's way to its runs.

    Args:
        settings: where Redis is.
        given: the settings as the process was given them: in embedded mode, without an address.
        stop: stops what is embedded in this process.
        lend: tells the worker in this same process which modules and which literal keys the crews kicked off here use.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        given: Settings | None = None,
        stop: Callable[[], None] | None = None,
        lend: Callable[[set[str], dict[str, str]], None] | None = None,
    ) -> None:
        self.settings = settings
        self.given = given or settings
        self.lend = lend
        self.store = Store(settings, connections=CONNECTIONS)
        self.reader = Store(settings, connections=READERS)
        self.app: Celery = make_app(settings)
        self.waiter = Waiter(lambda: Store(settings, connections=1, beside=self.store), self.tell_pause)
        self._told: dict[str, Any] = {}
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self._stop = stop

    def accept(self, order: Order, runs: list[NewRun]) -> list[str]:
        """Have the store accept runs. From the first on, this process notices if Redis is started anew, and accepts again what
        was lost by that.

        Args:
            order: what the runs have in common.
            runs: what each is.

        Returns:
            Their ids; that of an earlier run where an idempotency key names one.

        Raises:
            KeyReused: such a key names a run of other work.
        """
        self.waiter.listen()
        return self.store.runs.create(order, runs)

    def publish(
        self,
        spec: CrewSpec,
        jobs: Iterable[Job],
        *,
        batch: bool = False,
        urgent: bool = False,
        priority: Priority = "normal",
    ) -> None:
        """Send the chains that begin with these jobs.

        A message that cannot be sent is not lost with that: the task is ready in the store, and a worker's sweeper sends
        it as soon as the broker is there.
        """
        try:
            publish(self.app, spec, jobs, batch=batch, urgent=urgent, priority=priority)
        except (KombuError, OSError) as error:
            log.warning("the broker does not answer, so the workers will send these jobs themselves: %s", error)

    def publish_any(self, jobs: tuple[Job, ...], *, urgent: bool = False) -> None:
        """Send the chains that begin with these jobs, of whatever runs. Those of a crew that this process cannot read are
        left to a worker that can."""
        if not jobs:
            return
        for head, mine in alike(jobs, self.store.runs.heads(sorted({job.run for job in jobs}))):
            try:
                spec = self.store.runs.spec(head.spec)
            except (errors.SpecTooNew, errors.RecordBroken, errors.UnknownId) as error:
                log.warning("the jobs of run %s are not sent: %s", head.run, error)
                continue
            self.publish(spec, mine, batch=bool(head.batch), urgent=urgent, priority=head.priority)

    def turn(self, loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
        """To be held while a thread asks the store something for a coroutine: what waits for a thread takes memory, and ten
        thousand runs may be awaited at once."""
        return self._turns.setdefault(loop, asyncio.Semaphore(AT_ONCE))

    def tell_pause(self, run: str) -> None:
        """Say in the log that a run is paused, if it is, and what to do; once for each thing that a person has to decide."""
        with suppress(errors.StoreError, errors.UnknownId):
            tasks = [task for task in self.store.runs.read(run).tasks if task.state is TaskState.PAUSED]
            about = [(task.index, task.attempt, task.question) for task in tasks]
            if about and self._told.get(run) != about:
                if len(self._told) >= PAUSES_KEPT:
                    self._told.clear()
                self._told[run] = about
                log.warning("the run %s is paused. %s", run, tasks[0].paused_for)

    def close(self) -> None:
        """Give everything back; in embedded mode, hand the work under way back and stop."""
        self.waiter.close()
        if self._stop:
            self._stop()
        self.reader.close()
        if not self.settings.at_home:
            self.store.wait_for_disk()
        self.store.close()
        self.app.close()


_open: dict[tuple[int, Settings], Producer] = {}
_lock = threading.Lock()


def connect(settings: Settings | None = None, *, work: bool = True) -> Producer:
    """The producer of this process, made at the first call; a process that was forked off has its own.

    Args:
        settings: None: what the environment says now.
        work: whether, in embedded mode, this process also works on the runs; the first call decides.

    Raises:
        StoreUnreachable, StoreUnfit: there is no Redis, or it cannot keep runs safely.
        SettingInvalid: a variable holds a value that cannot be meant.
    """
    settings = settings or Settings.from_env(os.environ)
    with _lock:
        producer = _open.get((os.getpid(), settings))
        if producer is None:
            producer = _embedded(settings, work) if settings.embedded else Producer(settings)
            try:
                producer.store.check()
            except errors.StoreError:
                producer.close()
                raise
            _open[os.getpid(), settings] = producer
            _at_exit(disconnect, settings)
    return producer


def disconnect(settings: Settings | None = None) -> None:
    """Close the producer of this process, if there is one."""
    settings = settings or Settings.from_env(os.environ)
    with _lock:
        producer = _open.pop((os.getpid(), settings), None)
    if producer:
        producer.close()


def _at_exit(act: Callable[..., None], *arguments: Any) -> None:
    """Do something when the interpreter ends. `atexit` is too late for an embedded worker: by then Python has closed all
    thread pools under it. Where the earlier hook, which `concurrent.futures` itself uses, is missing, late has to do."""
    register = getattr(threading, "_register_atexit", atexit.register)
    register(act, *arguments)


def _embedded(settings: Settings, work: bool) -> Producer:
    # The one bridge between the towers, crossed only where a worker is wanted in this very process.
    start: Callable[..., Producer] = importlib.import_module("crewq.local").start
    return start(settings, work=work)


__all__ = ["Producer", "connect", "disconnect"]
