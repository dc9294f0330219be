"""Calls of tasks that a worker has claimed, under one limit: what the tests of limits share."""

from __future__ import annotations

import random
from collections.abc import Iterable

from crewq.limits import Limit
from crewq.store import Call, Demand, Job, Turn
from tests.store.world import ONE, World


class Asker:
    """Runs of one task each, whose calls go under one limit."""

    def __init__(self, world: World, *, scope: str = "s", tokens: int = 0, **limit: int) -> None:
        self.world = world
        self.demands = (Demand(scope, Limit(**limit), tokens),)

    def begin(self, lease: float = 3600) -> Call:
        """A call of a task that a worker has claimed; its own or a new one's."""
        run = self.world.accept(ONE)
        return self.world.call(run, attempt=self.world.claim(run, lease=lease).attempt)

    def ask(self, call: Call | None = None, demands: Iterable[Demand] = ()) -> Turn:
        return self.world.store.limits.reserve(call or self.begin(), tuple(demands) or self.demands)

    def settle(self, call: Call, turn: Turn, tokens: int | None = None) -> tuple[Job, ...]:
        return self.world.store.limits.settle(call, self.demands, turn, tokens)

    def park(self, call: Call, delay: float = 30) -> None:
        assert self.world.runs.postpone(call.job, call.attempt, "waits", delay=delay, demand=self.demands[0])

    def crowd(self, count: int) -> list[float]:
        """So many come, one after the other, and wait as they are told, or a little longer; when they were let go."""
        chance = random.Random(7)
        made: list[float] = []
        waiting: list[tuple[float, Call]] = []
        for _ in range(count):
            now = self.world.clock.ms / 1000
            due = [call for at, call in waiting if at <= now] + [self.begin()]
            waiting = [(at, call) for at, call in waiting if at > now]
            for call in due:
                turn = self.ask(call)
                if turn.word == "go":
                    made.append(now)
                else:
                    waiting.append((now + turn.seconds + chance.uniform(0, 2), call))
            self.world.clock.forward(chance.uniform(0, 1.5))
        return made

    def again(self, call: Call) -> Call:
        """The same call in the next attempt."""
        return self.world.call(call.job.run, attempt=self.world.claim(call.job.run, lease=3600).attempt)


__all__ = ["Asker"]
