"""What several runs of one crew come to: how many passed, how long they took, and what they used, in all and by task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from statistics import fmean, median
from typing import Any

from crewq.cli.phrases import seconds_between
from crewq.cli.story import Story
from crewq.outputs import UsageMetrics
from crewq.states import RunState, TaskState

PASSED = (TaskState.COMPLETED, TaskState.SKIPPED)


@dataclass(frozen=True)
class Seconds:
    """How long something took, over all runs in which it was done to its end."""

    median: float
    p95: float

    @classmethod
    def of(cls, took: Iterable[float | None]) -> Seconds | None:
        """The median, and what all but one in twenty stay below; None: it was never done."""
        known = sorted(seconds for seconds in took if seconds is not None)
        if not known:
            return None
        return cls(median(known), known[math.ceil(0.95 * len(known)) - 1])


@dataclass(frozen=True)
class Measure:
    """A task over all runs, or all tasks of them.

    Fields:
        name: of the task; empty for all.
        agent: the role of its agent.
        passed: in how many runs it came to its end, or was not needed.
        seconds: how long it took.
        usage: what it used, in all runs together, those that failed too.
        score: the mean of what a judge gave, from 1 to 10.
    """

    name: str
    agent: str
    passed: int
    seconds: Seconds | None
    usage: UsageMetrics
    score: float | None = None

    def facts(self, runs: int) -> dict[str, Any]:
        """It as plain JSON; tokens, calls and cost are of one run, on average."""
        named = {"name": self.name, "agent": self.agent} if self.name else {}
        priced = self.usage.cost_known or self.usage.cost
        return {
            **named,
            "passed": self.passed,
            "pass_rate": self.passed / runs,
            "seconds": asdict(self.seconds) if self.seconds else None,
            "calls_per_run": self.usage.successful_requests / runs,
            "tokens_per_run": self.usage.total_tokens / runs,
            "cost_per_run": self.usage.cost / runs if priced else None,
            "score": self.score,
        }


class Report:
    """Runs of one crew, measured.

    Args:
        stories: the runs.
        scores: what a judge gave, by run and position of the task.
    """

    def __init__(self, stories: Sequence[Story], scores: dict[tuple[str, int], int] | None = None) -> None:
        self.stories = stories
        self.scores = scores or {}
        self.runs = len(stories)

    @property
    def failed(self) -> list[Story]:
        """The runs that did not complete."""
        return [story for story in self.stories if story.record.state is not RunState.COMPLETED]

    @property
    def whole(self) -> Measure:
        """All tasks together."""
        records = [story.record for story in self.stories]
        took = (seconds_between(one.started, one.ended) for one in records if one.state is RunState.COMPLETED)
        return Measure(
            "",
            "",
            self.runs - len(self.failed),
            Seconds.of(took),
            _sum(record.usage for record in records),
            _mean(self.scores.values()),
        )

    @property
    def tasks(self) -> list[Measure]:
        """Each task."""
        return [self._task(at) for at in range(len(self.stories[0].record.tasks))]

    def _task(self, at: int) -> Measure:
        tasks = [story.record.tasks[at] for story in self.stories]
        took = (seconds_between(one.started, one.ended) for one in tasks if one.state is TaskState.COMPLETED)
        return Measure(
            self.stories[0].crew.tasks[at].label,
            self.stories[0].agent(at),
            sum(task.state in PASSED for task in tasks),
            Seconds.of(took),
            _sum(task.usage for task in tasks),
            _mean(score for (_, index), score in self.scores.items() if index == at),
        )

    def facts(self) -> dict[str, Any]:
        """All of it, as plain JSON."""
        return {
            "crew": self.stories[0].record.crew,
            "runs": self.runs,
            **self.whole.facts(self.runs),
            "usage": self.whole.usage.model_dump(),
            "tasks": [task.facts(self.runs) for task in self.tasks],
            "each": [self._run_facts(story) for story in self.stories],
        }

    def _run_facts(self, story: Story) -> dict[str, Any]:
        facts = story.facts()
        kept = ("run", "state", "inputs", "seconds", "usage", "error", "output")
        scores = {
            task.name: self.scores[story.record.id, task.index]
            for task in story.record.tasks
            if (story.record.id, task.index) in self.scores
        }
        return {name: facts[name] for name in kept} | ({"scores": scores} if scores else {})


def _sum(usages: Iterable[UsageMetrics]) -> UsageMetrics:
    return reduce(add, usages, UsageMetrics())


def _mean(scores: Iterable[int]) -> float | None:
    given = list(scores)
    return fmean(given) if given else None


__all__ = ["Measure", "Report", "Seconds"]
