"""The signs of life of one worker process: a thread that renews the leases of all that it works on.

It has a store of its own, so that neither a busy event loop nor a full connection pool can make a live worker look dead.
After the last task it goes on for a while: a process that asks Redis nothing would not know that there is something to be
done again, as Redis was killed and came back without its last second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from crewq import errors
from crewq.store import MAY_BE_LOST, Job, Store

log = logging.getLogger("crewq.leases")

RENEWALS_PER_LEASE = 3
LONGEST_PERIOD = 0.5  # seconds: a cancel is noticed at the next renewal, and should abort a call within a second


@dataclass(eq=False)
class Hold:
    """A task that this process works on. `lost` says why it may not go on, once that is so."""

    job: Job
    attempt: int
    lost: str | None = None
    _abort: Callable[[], object] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on_loss(self, abort: Callable[[], object]) -> None:
        """What to call when the task is lost; at once, if it is already."""
        with self._lock:
            self._abort = abort
            lost = self.lost is not None
        if lost:
            abort()

    def lose(self, why: str) -> None:
        """The task is no longer this process's to work on."""
        with self._lock:
            if self.lost is not None:
                return
            self.lost = why
            abort = self._abort
        if abort:
            abort()


class Leases:
    """All holds of this process, and the thread that renews them.

    Args:
        store: its own, of little patience.
        lease: seconds that a lease lasts without renewal.
    """

    def __init__(self, store: Store, lease: float) -> None:
        self._store = store
        self._lease = lease
        self._holds: set[Hold] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._alert_until = 0.0  # monotonic: until then Redis may have lost what this process did
        self._thread = threading.Thread(target=self._renew_for_ever, name="crewq-leases", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    @contextmanager
    def hold(self, job: Job, attempt: int) -> Iterator[Hold]:
        """Keep the lease of a task that was just claimed, for as long as the block runs."""
        hold = Hold(job, attempt)
        with self._changed:
            self._holds.add(hold)
            self._changed.notify()
        try:
            yield hold
        finally:
            with self._changed:
                self._holds.discard(hold)
                self._alert()
                self._changed.notify_all()

    def lose_all(self, why: str) -> None:
        """Give up everything: the worker stops."""
        for hold in self._snapshot():
            hold.lose(why)

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait until nothing is held; answers whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._holds, timeout=seconds)

    def stop(self) -> None:
        """End the thread. What is still held runs out."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout=5)
        self._store.close()

    def _snapshot(self) -> list[Hold]:
        with self._changed:
            return list(self._holds)

    def _renew_for_ever(self) -> None:
        period = min(self._lease / RENEWALS_PER_LEASE, LONGEST_PERIOD)
        while self._wait(period):
            try:
                self._renew()
            except errors.StoreError as error:
                # The work goes on: its answers are paid for, and the next renewal says whether it is still ours.
                log.warning("leases could not be renewed: %s", error)
                self._alert()

    def _alert(self) -> None:
        """From now on, until all that was done is on Redis's disk."""
        self._alert_until = time.monotonic() + MAY_BE_LOST

    def _wait(self, period: float) -> bool:
        """Sleep a period, without end while there is nothing to see to; answers whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._holds or time.monotonic() < self._alert_until)
            self._changed.wait_for(lambda: self._stopping, timeout=period)
            return not self._stopping

    def _renew(self) -> None:
        holds = {(hold.job, hold.attempt): hold for hold in self._snapshot()}
        if not holds:
            self._store.ping()
        for refused, state in self._store.runs.renew(holds, self._lease).items():
            holds[refused].lose(state)


__all__ = ["Hold", "Leases"]
