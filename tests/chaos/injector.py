"""Chooses faults by a seed, lets them happen side by side, and writes down which did."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence

import redis

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.stage import NoTarget, Stage

TICK = 0.05  # seconds between two looks at what is due
FIRST = 2.0  # seconds until the first fault, so that there is something to break


class Injector:
    """Injects faults.

    Args:
        stage: what they happen to.
        kinds: the names of those that may be chosen.
        per_minute: how many, on average.
        seed: of the choice, and of every choice that a fault makes.
    """

    def __init__(self, stage: Stage, kinds: Sequence[str], per_minute: float, seed: int) -> None:
        self.injected: Counter[str] = Counter()
        self._stage = stage
        self._kinds = list(kinds)
        self._mean = 60 / per_minute
        self._random = random.Random(seed)
        self._under_way: list[tuple[float, int, str, Fault]] = []
        self._numbers = itertools.count(1)

    def run(self, seconds: float) -> None:
        """Inject faults for so long; then let those under way come to their end."""
        end = time.monotonic() + seconds
        due = time.monotonic() + FIRST
        while time.monotonic() < end or self._under_way:
            if due <= time.monotonic() < end:
                self._begin(self._chosen())
                due = time.monotonic() + self._random.expovariate(1 / self._mean)
            self._go_on()
            self._stage.mend()
            self._wait()

    def _chosen(self) -> str:
        return self._random.choices(self._kinds, [FAULTS[kind][1] for kind in self._kinds])[0]

    def _begin(self, kind: str) -> None:
        fault = FAULTS[kind][0](self._stage, random.Random(self._random.random()))
        heapq.heappush(self._under_way, (time.monotonic(), next(self._numbers), kind, fault))

    def _go_on(self) -> None:
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            _, number, kind, fault = heapq.heappop(self._under_way)
            try:
                pause = next(fault)
            except StopIteration:
                self.injected[kind] += 1
                self._stage.log(kind, fault=number)
            except (NoTarget, redis.RedisError, OSError):
                pass  # Redis is away, by another fault: nothing was hit
            else:
                heapq.heappush(self._under_way, (time.monotonic() + pause, number, kind, fault))

    def _wait(self) -> None:
        next_at = self._under_way[0][0] if self._under_way else time.monotonic() + TICK
        time.sleep(max(0.0, min(TICK, next_at - time.monotonic())))


__all__ = ["Injector"]
