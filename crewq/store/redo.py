"""What a process did in the last seconds, to be done again should Redis have lost it.

With its append-only file written once a second, a Redis that is killed comes back without its last second. Every verb may
be done twice, so whoever did something in that time does it again when its connection comes back, before anything else;
and the scripts let no worker begin something new until all have had the time to (`heal_ms`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

MAY_BE_LOST = 5.0  # seconds: Redis loses one, in rare cases two
IDLE = 60.0  # seconds for which a process that asks Redis nothing still knows what it did last
HEALING = 3.0  # seconds that all processes have to do theirs again: `heal_ms` of the scripts
AGAIN = 0.5  # seconds between two tries
MOST = 5_000  # verbs kept: more than a process does in that time

# The verbs whose effect must not be lost. A claim and the beginning of a call are restored rather than made again: see
# `restore_claim` and `restore_call`.
KEPT = frozenset(
    {
        "create_runs",
        "create_batch",
        "open_batch",
        "finish_call",
        "complete_task",
        "fail_task",
        "requeue_task",
        "restore_claim",
        "restore_call",
        "fail_call",
        "cancel_run",
        "pause_task",
        "answer_person",
        "raise_batch",
        "put_schedule",
        "remove_schedule",
    }
)


class Done(NamedTuple):
    """A verb that was done, and when."""

    at: float
    name: str
    arguments: list[Any]


class Redo:
    """The recent verbs of one process, shared by all its connections."""

    def __init__(self) -> None:
        self._recent: deque[Done] = deque(maxlen=MOST)
        self._lock = threading.RLock()
        self._since: float | None = None  # what was done after this may be lost; None: there is no doubt
        self._open: list[Done] = []  # what had no effect when it was done again, as what it stands on was lost, too
        self._again_at = 0.0
        self._until = 0.0
        self._heard = 0.0  # when Redis answered last
        self._server = ""  # which start of which server that was

    def remember(self, name: str, arguments: list[Any], answer: Any = None) -> None:
        """Keep a verb that was done, for as long as Redis could lose it."""
        if name not in KEPT:
            return
        now = time.monotonic()
        with self._lock:
            done = Done(now, name, arguments)
            self._recent.append(done)
            if now < self._until and _without_effect(answer):
                self._open.append(done)  # what it stands on may not be back yet
            while self._recent[0].at < now - MAY_BE_LOST:
                self._recent.popleft()

    def has_recent(self) -> bool:
        """Whether Redis could still lose something that this process did."""
        with self._lock:
            return bool(self._recent) and self._recent[-1].at > time.monotonic() - MAY_BE_LOST

    def doubt(self) -> None:
        """The connection was lost: nobody knows whether Redis still holds what it was told last."""
        with self._lock:
            if self._since is None:
                self._since = max(self._heard, time.monotonic() - IDLE) - MAY_BE_LOST

    def heard(self) -> None:
        """Redis answered."""
        self._heard = time.monotonic()

    def meet(self, server: str) -> bool:
        """A connection was made; answers whether there is a doubt that nobody knew of until now: a connection that lay idle
        while Redis was started anew is replaced by its pool without a word.

        Args:
            server: which start of which server it leads to.
        """
        with self._lock:
            another = bool(self._server) and server != self._server
            unknown = another and self._since is None
            self._server = server
            if another:
                self.doubt()
            return unknown

    def settle(self, run: Callable[[str, list[Any]], Any]) -> None:
        """If there is a doubt, do the recent verbs again, in their order; other threads that need Redis wait for it.

        What another process has to do again first (a producer the run, another worker the task before) is tried until all
        have had the time to.
        """
        if self._since is None and not self._open:
            return
        with self._lock:
            now = time.monotonic()
            if self._since is not None:
                since = self._since
                self._open = [
                    done
                    for done in self._recent
                    if done.at >= since and _without_effect(run(done.name, done.arguments))
                ]
                self._since, self._until, self._again_at = None, now + HEALING, now + AGAIN
            elif self._open and now >= self._again_at:
                self._open = [
                    done for done in self._open if now < self._until and _without_effect(run(done.name, done.arguments))
                ]
                self._again_at = now + AGAIN


def _without_effect(answer: Any) -> bool:
    return answer == 0 or (isinstance(answer, list) and bool(answer) and answer[0] in ("gone", "refused"))


__all__ = ["KEPT", "MAY_BE_LOST", "Done", "Redo"]
