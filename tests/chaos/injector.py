"""Chooses faults by a seed, lets them happen side by side, and writes down which did."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

import redis

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.stage import NoTarget, Stage

TICK = 0.05  # seconds between two looks at what is due
TRIES = 8  # to find a fault that has something to hit
FIRST = 2.0  # seconds until the first fault, so that there is something to break
TELL = 30.0  # seconds between two words on how far it is


class Injector:
    """Injects faults.

    Args:
        stage: what they happen to.
        kinds: the names of those that may be chosen.
        per_minute: how many, on average.
        seed: of the choice, and of every choice that a fault makes.
        tell: is told now and then how far it is.
    """

    def __init__(
        self, stage: Stage, kinds: Sequence[str], per_minute: float, seed: int, tell: Callable[[str], None]
    ) -> None:
        self.injected: Counter[str] = Counter()
        self._stage = stage
        self._kinds = list(kinds)
        self._mean = 60 / per_minute
        self._random = random.Random(seed)
        self._under_way: list[tuple[float, int, str, Fault]] = []
        self._numbers = itertools.count(1)
        self._end = 0.0
        self._tell = tell

    def run(self, seconds: float, at_least: int = 0) -> None:
        """Inject faults; then let those under way come to their end.

        Args:
            seconds: for so long, and
            at_least: go on until so many have happened, though not for more than twice as long.
        """
        began = due = told = time.monotonic()
        due += FIRST
        self._end = began + seconds
        try:
            while (more := self._more(began + 2 * seconds, at_least)) or self._under_way:
                if more and due <= time.monotonic():
                    self._begin()
                    due = time.monotonic() + self._random.expovariate(1 / self._pause(seconds))
                self._go_on()
                self._stage.mend()
                if time.monotonic() - told > TELL:
                    told = time.monotonic()
                    self._tell(f"{self.injected.total()} faults in {told - began:.0f} s")
                self._wait()
        finally:
            for *_, fault in self._under_way:
                fault.close()

    def _more(self, latest: float, at_least: int) -> bool:
        now = time.monotonic()
        return now < self._end or (self.injected.total() < at_least and now < latest)

    def _pause(self, seconds: float) -> float:
        """The mean of the time until the next fault: what found nothing to hit, or took long, is made up for."""
        missing = seconds / self._mean - self.injected.total() - len(self._under_way)
        left = self._end - time.monotonic()
        return min(self._mean, left / missing) if left > 0 and missing > 0 else self._mean

    def _begin(self) -> None:
        """Begin one of the faults; if it finds nothing to hit, another one."""
        for _ in range(TRIES):
            kind = self._random.choices(self._kinds, [FAULTS[kind][1] for kind in self._kinds])[0]
            fault = FAULTS[kind][0](self._stage, random.Random(self._random.random()))
            if self._go_on_with(next(self._numbers), kind, fault):
                return

    def _go_on(self) -> None:
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            _, number, kind, fault = heapq.heappop(self._under_way)
            self._go_on_with(number, kind, fault)

    def _go_on_with(self, number: int, kind: str, fault: Fault) -> bool:
        """Let a fault take its next step; answers whether it hit something, as far as is known."""
        try:
            pause = next(fault)
        except StopIteration:
            self.injected[kind] += 1
            self._stage.log(kind, fault=number)
        except (NoTarget, redis.RedisError, OSError):
            return False  # perhaps Redis is away, by another fault
        else:
            heapq.heappush(self._under_way, (time.monotonic() + pause, number, kind, fault))
        return True

    def _wait(self) -> None:
        next_at = self._under_way[0][0] if self._under_way else time.monotonic() + TICK
        time.sleep(max(0.0, min(TICK, next_at - time.monotonic())))


__all__ = ["Injector"]
