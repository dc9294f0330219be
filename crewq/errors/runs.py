"""How a run ended, when not well."""

from __future__ import annotations

from typing import Any

from crewq.errors.base import CrewqError


class RunError(CrewqError):
    """{reason}"""


class RunFailed(RunError):
    """The run {run} of the crew {crew!r} failed in task {task}: {reason}
    What was done so far is kept: `crewq show {run}` shows it, `crewq replay -t {task_id}` goes on from that task."""


class RunCancelled(RunError):
    """The run {run} was cancelled. What was done so far is kept: `crewq show {run}`."""


class ResultTimeout(RunError, TimeoutError):
    """The {kind} {id} did not end within {seconds:g} s; it goes on. Wait again, or watch it: `crewq watch {id}`."""


class StillPaused(ResultTimeout):
    """The {kind} {id} did not end within {seconds:g} s, as it is paused. {reason}"""


class BatchFailed(RunError):
    """{failed} of the {total} runs of the batch {batch} did not complete; the first: {first}
    The results of the others are in this error's `results`; return_exceptions=True returns them instead."""

    def __init__(self, *, results: list[Any] | None = None, **facts: Any) -> None:
        self.results: list[Any] = results or []
        super().__init__(**facts)

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (kind, facts) = super().__reduce__()
        return rebuild, (kind, {**facts, "results": self.results})

    @property
    def errors(self) -> dict[int, CrewqError]:
        """The error of each input that failed, by its position."""
        return {at: item for at, item in enumerate(self.results) if isinstance(item, CrewqError)}


__all__ = [
    "BatchFailed",
    "ResultTimeout",
    "RunCancelled",
    "RunError",
    "RunFailed",
    "StillPaused",
]
