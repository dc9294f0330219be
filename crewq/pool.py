"""Celery's thread pool with what that one lacks: time limits that hold, termination of a running job, and autoscaling.

A job is interrupted in one of two ways. Where it waits inside `interruptible`, what that was given is called, which ends
the wait; elsewhere an exception is raised in its thread, at the next step of Python code. Code that is inside a C call is
only interrupted when that returns: its outcome is recorded in time, and another thread takes over its place.
"""

from __future__ import annotations

import ctypes
import logging
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery.utils import log as celery_log

FAREWELL = 5.0  # seconds that interrupted jobs have to put things in order when the worker ends

log = logging.getLogger(__name__)


class Interrupted(Ignore, CancelledError):
    """Raised in a job whose outcome is recorded already: what it returns or raises after this changes nothing."""


class TimeLimitReached(Interrupted):
    """The job ran into its hard time limit, and counts as failed."""


class Terminated(Interrupted):
    """The job was revoked with terminate=True."""


class ShutDown(Interrupted):
    """The worker ends at once (a cold shutdown)."""


@contextmanager
def interruptible(cancel: Callable[[], object]) -> Iterator[None]:
    """Around a wait: what interrupts this job calls `cancel`, which must end the wait, and must neither block nor raise.

    Raises:
        SoftTimeLimitExceeded, Interrupted: what interrupted the job, in place of what the wait ended with.
    """
    job: Job | None = getattr(_current, "job", None)
    if job is None:  # not in this pool, so nothing interrupts
        yield
        return
    outer = job.listen(cancel)
    try:
        yield
    finally:
        job.listen(outer)
        job.raise_pending()


_current = threading.local()


@dataclass(eq=False)
class Job:
    """One message in work, and the interrupts meant for it, which never reach another job of the same thread.

    The callbacks are Celery's: told that the work begins, how it went, and that a limit was passed. Limits in seconds.
    """

    number: int
    work: Callable[[], Any]
    on_accept: Callable[[int, float], object]
    on_success: Callable[[Any], object]
    on_failure: Callable[[ExceptionInfo], object]
    on_timeout: Callable[[bool, float], object]
    soft_limit: float | None
    hard_limit: float | None

    given_up: bool = False
    limits: list[tuple[float, bool, float]] = field(default_factory=list)  # when, whether it is the soft one, how long

    def __post_init__(self) -> None:
        self._lock = threading.RLock()  # Celery's signal handlers call in here too, from within whatever was under way
        self._thread: int | None = None  # while its body may be interrupted
        self._over = False
        self._cancel: Callable[[], object] | None = None
        self._pending: type[Exception] | None = None
        self._raised = False  # whether an exception was raised in the thread, or is on its way there
        self._outcome: Any = None
        self._failure: ExceptionInfo | None = None

    # -- on its own thread

    def run(self) -> None:
        """Do the work, and tell Celery how it went, if it does not know already."""
        # An interrupt may be raised anywhere until _leave is through, and one more while the first is handled.
        try:
            try:
                self.on_accept(self.number, monotonic())
                self._enter()
                self._outcome = self.work()
                self._leave()
            except BaseException:  # noqa: BLE001  the boundary to the job: whatever ends it, ends only it
                self._failure = ExceptionInfo()
                self._leave()
        except (SoftTimeLimitExceeded, Interrupted):
            self._leave()
        self._report()

    def listen(self, cancel: Callable[[], object] | None) -> Callable[[], object] | None:
        """Have interrupts call `cancel` from now on; returns what they called so far."""
        with self._lock:
            before, self._cancel = self._cancel, cancel
            return before

    def raise_pending(self) -> None:
        """Raise the interrupt that came, if one did."""
        with self._lock:
            pending, self._pending = self._pending, None
        if pending:
            raise pending

    def _enter(self) -> None:
        _current.job = self
        with self._lock:
            self._thread = threading.get_ident()
        self.raise_pending()

    def _leave(self) -> None:
        """After this no interrupt comes; one on its way is withdrawn."""
        with self._lock:
            self._over = True
            self._thread = None
            if self._raised:
                self._raised = False
                _withdraw()
        _current.job = None

    def _report(self) -> None:
        if self.given_up:
            return
        if self._outcome is not None:
            self.on_success(self._outcome)
        elif self._failure:
            self.on_failure(self._failure)

    # -- from other threads

    def start_clock(self) -> None:
        """The limits count from now."""
        now = monotonic()
        limits = [(True, self.soft_limit), (False, self.hard_limit)]
        self.limits = sorted((now + seconds, soft, seconds) for soft, seconds in limits if seconds)

    @property
    def limit_at(self) -> float:
        """When its next limit is reached."""
        return self.limits[0][0] if self.limits else math.inf

    def interrupt(self, error: type[Exception], *, for_good: bool) -> bool:
        """Raise `error` in it; False: it is over, or was given up before.

        Where it is `for_good`, the caller sees to it that an outcome is recorded, and the job is given up.
        """
        with self._lock:
            if self._over or self.given_up:
                return False
            self.given_up = for_good
            if self._cancel:
                self._pending = error
                self._cancel()
            elif self._thread:
                self._raised = True
                _raise_in(self._thread, error)
            else:
                self._pending = error
            return True

    def terminate(self, signal: Any = None) -> None:
        """Celery calls this on the result of `apply_async` after `terminate_job`, which has done all there is to do."""


def _raise_in(thread: int, error: type[Exception]) -> None:
    """Raise `error` in a thread at its next step, in the place of one that was not raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


class _Withdrawn(Exception):
    """Takes the place of an interrupt that came too late."""


def _withdraw() -> None:
    """See to it that nothing is on its way to this thread any more."""
    # Not by setting none: CPython 3.11 would go on looking for it at every step, and for ever under a debugger or coverage.
    try:
        _raise_in(threading.get_ident(), _Withdrawn)
        while True:
            pass
    except _Withdrawn:
        return


class CrewPool(BasePool):
    """Threads that carry out jobs, and one more that watches their time limits.

    What Celery calls a job's pid is its number here: a thread would not do, as it soon carries out another job.
    """

    signal_safe = False
    body_can_be_buffer = True
    limit: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._numbers = count(1)
        self._changed = threading.Condition()  # guards what follows
        self._jobs: dict[int, Job] = {}
        self._threads = 0
        self._closed = False
        self._wakes_at = math.inf

    # -- what Celery calls

    def on_start(self) -> None:
        """Start the threads."""
        threading.Thread(target=self._watch, name="crewq-limits", daemon=True).start()
        self._add_threads(self.limit)

    def on_apply(  # type: ignore[override]  # its stub names other arguments
        self, target: Callable[..., Any], args: Any = (), kwargs: Any = None, **options: Any
    ) -> Job:
        """Queue `target(*args, **kwargs)` for the next free thread."""
        job = Job(
            number=next(self._numbers),
            work=partial(target, *args, **(kwargs or {})),
            on_accept=options["accept_callback"],
            on_success=options["callback"],
            on_failure=options["error_callback"],
            on_timeout=options["timeout_callback"],
            soft_limit=options.get("soft_timeout") or self.options.get("soft_timeout"),
            hard_limit=options.get("timeout") or self.options.get("timeout"),
        )
        self._queue.put(job)
        return job

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Interrupt the job of that number with Terminated, or with ShutDown; who calls this records its outcome."""
        cold = celery_log._in_sighandler  # type: ignore[attr-defined]  # a cold shutdown, which says so in no other way
        if cold:
            self._drop_queued()
        with self._changed:
            job = self._jobs.get(pid)
        if job:
            self._give_up(job, ShutDown if cold else Terminated)

    def grow(self, n: int = 1) -> None:
        """Carry out `n` more jobs at once."""
        self.limit += n
        self._add_threads(n)

    def shrink(self, n: int = 1) -> None:
        """Carry out `n` fewer jobs at once, when those that are queued have ended.

        Raises:
            ValueError: there are not as many threads.
        """
        if n > self.limit:
            raise ValueError(f"The pool has {self.limit} threads, and cannot lose {n}.")
        self.limit -= n
        for _ in range(n):
            self._queue.put(None)

    def on_close(self) -> None:
        """Begin no job that has not begun; their messages are Celery's to give back."""
        self._drop_queued()

    def on_stop(self) -> None:
        """Wait for the jobs in work."""
        self._drop_queued()
        with self._changed:
            self._changed.wait_for(lambda: all(job.given_up for job in self._jobs.values()))
        self._end()

    def on_terminate(self) -> None:
        """Interrupt the jobs in work with ShutDown."""
        self._drop_queued()
        with self._changed:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.interrupt(ShutDown, for_good=True)
        self._end()

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()  # type: ignore[misc]  # its stub lacks it
        with self._changed:
            return info | {"threads": self._threads, "running": len(self._jobs)}

    # -- the threads

    def _add_threads(self, number: int) -> None:
        with self._changed:
            self._threads += number
        for _ in range(number):
            threading.Thread(target=self._serve, name="crewq-job", daemon=True).start()

    def _serve(self) -> None:
        if self.app:
            self.app.set_current()  # it is so per thread; without it, the next link of a chain goes to a default broker
        job = None
        while not (job and job.given_up) and (job := self._queue.get()):
            self._enter(job)
            try:
                job.run()
            except Exception:
                # Its backend is away; the thread is still good.
                log.exception("Celery could not be told how a job went")
            finally:
                self._leave(job)
        with self._changed:
            self._threads -= 1

    def _enter(self, job: Job) -> None:
        job.start_clock()
        with self._changed:
            self._jobs[job.number] = job
            if job.limit_at < self._wakes_at:
                self._changed.notify_all()

    def _leave(self, job: Job) -> None:
        with self._changed:
            del self._jobs[job.number]
            self._changed.notify_all()

    def _give_up(self, job: Job, error: type[Interrupted]) -> bool:
        """Interrupt `job` for good; its thread may be stuck, so a new one takes that one's place."""
        if not job.interrupt(error, for_good=True):
            return False
        self._add_threads(1)
        return True

    def _drop_queued(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            return

    def _end(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs, timeout=FAREWELL)
            self._closed = True
            self._changed.notify_all()
            for _ in range(self._threads):
                self._queue.put(None)

    # -- the limits

    def _watch(self) -> None:
        while due := self._due():
            for job in due:
                self._enforce(job)

    def _due(self) -> list[Job]:
        """Wait for the jobs that have reached a limit; none: the pool has ended."""
        with self._changed:
            while not self._closed:
                now = monotonic()
                if due := [job for job in self._jobs.values() if job.limit_at <= now]:
                    return due
                self._wakes_at = min((job.limit_at for job in self._jobs.values()), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
        return []

    def _enforce(self, job: Job) -> None:
        _, soft, seconds = job.limits.pop(0)
        hit = job.interrupt(SoftTimeLimitExceeded, for_good=False) if soft else self._give_up(job, TimeLimitReached)
        if hit:  # recording it may wait for the backend, and other limits must not wait for that
            threading.Thread(target=job.on_timeout, args=(soft, seconds), name="crewq-limit-record").start()


__all__ = ["CrewPool", "Interrupted", "Job", "ShutDown", "Terminated", "TimeLimitReached", "interruptible"]
