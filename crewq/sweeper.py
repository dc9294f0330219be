"""Recovery: a thread in every worker that finds what was lost on the way, and sends it again.

Any number of them may run at once: what one sweep finds, the script moves in the same step, so no other finds it too.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from contextlib import suppress

from crewq import errors
from crewq.host import Host
from crewq.plan import publish_probe
from crewq.results import say

log = logging.getLogger("crewq.sweeper")

PERIOD = 1.0  # seconds between two sweeps of one worker, give or take a quarter
GRACE = 2.0  # seconds that a message may be under way before anything is thought of it


class Sweeper:
    """The sweeping thread of one worker.

    Args:
        host: the worker.
        slots: how many tasks it works on at once, which may change as it runs.
    """

    def __init__(self, host: Host, slots: Callable[[], int]) -> None:
        self._host = host
        self._slots = slots
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sweep_for_ever, name="crewq-sweeper", daemon=True)

    def start(self) -> Sweeper:
        """Begin to sweep."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=5)
        self._host.store.runs.absent(self._host.name)

    def _sweep_for_ever(self) -> None:
        while not self._stopping.wait(PERIOD * random.SystemRandom().uniform(0.75, 1.25)):
            try:
                self.sweep()
            except Exception as error:  # noqa: BLE001 - the boundary of a sweep: whatever it was, the next finds the same
                log.warning("a sweep was cut short: %s", errors.explain(error))

    def sweep(self) -> None:
        """Sweep once."""
        settings = self._host.settings
        about = {"concurrency": self._slots(), "weights": dict(settings.weights)}
        self._host.store.runs.present(self._host.name, about)
        if adopted := self._host.spool.adopt(self._host.store.journal):  # before their tasks are given to anybody
            log.info("%d answers of workers that died are written down", adopted)
        found = self._host.store.runs.sweep(grace=GRACE, max_attempts=settings.max_attempts)
        if found.jobs:
            log.info("sending %d jobs again", len(found.jobs))
            self._host.publish(found.jobs, urgent=True)
        self._host.publish(found.new)
        for lane, now in found.probes:
            publish_probe(self._host.app, lane, now)
        for run in found.unsaid:
            say(self._host, run)
        for run in found.renewed:
            self._renew(run)

    def _renew(self, run: str) -> None:
        """Let a run go on that was paused over its tenant's budget of a day that is over."""
        with suppress(errors.NotNow, errors.UnknownId):  # it waits for something else too, or is gone
            self._host.publish(self._host.store.runs.resume(run), urgent=True)


__all__ = ["GRACE", "PERIOD", "Sweeper"]
