"""What is counted: the totals that the verbs keep in one hash, their labels and their units, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Seconds up to which the buckets of a histogram go: from a tool's call to a run that a person has to answer. The scripts are
# given them too; with others, what was counted before stays in the old ones.
BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 21600)


@dataclass(frozen=True)
class Meter:
    """A total, or a histogram of seconds, since the first run of an installation.

    Fields:
        name: as the scripts call it.
        help: what a person reads of it.
        labels: the names of its labels.
        values: of its one label, those that are told of from the beginning, so that the first event of a kind is a change.
        kind: what it is.
        unit: what one of the units is in which the scripts count it.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    kind: Literal["total", "histogram"] = "total"
    unit: float = 1


METERS = (
    Meter("runs_accepted", "Runs that were accepted."),
    Meter("runs", "Ends of runs. One that is resumed may end again.", ("state",), ("completed", "failed", "cancelled")),
    Meter("tasks", "Ends of tasks.", ("state",), ("completed", "skipped", "failed", "cancelled")),
    Meter("task_retries", "Attempts that failed and were followed by another, by an agent's max_retry_limit."),
    Meter("model_calls", "Calls to models that were answered, or failed. Each try counts.", ("model", "outcome")),
    Meter("tool_calls", "Calls of tools, callbacks and guardrails, likewise.", ("outcome",), ("answered", "failed")),
    Meter("tokens", "Tokens of questions (prompt) and of answers (completion).", ("model", "kind")),
    Meter("cost_dollars", "What model calls cost whose price is known, in US dollars.", ("model",), unit=1e-9),
    Meter("unpriced_calls", "Answers whose price is not known, so that the cost lacks them.", ("model",)),
    Meter(
        "recoveries",
        "What was lost and done again: a task whose worker died, a call that was under way then, a message, a Celery result.",
        ("kind",),
        ("task", "call", "message", "result"),
    ),
    Meter(
        "limit_waits",
        "Model calls that had to wait: for a rate, for a slot, for a provider that wants to be left alone, for a budget.",
        ("reason",),
        ("rate", "slots", "provider", "budget"),
    ),
    Meter("run_seconds", "From when a run was accepted to its end, unless it was cancelled.", kind="histogram"),
    Meter("task_wait_seconds", "From when a task's message was sent to when a worker took it.", kind="histogram"),
    Meter("task_seconds", "Of the last attempt at a task, unless it was cancelled.", kind="histogram"),
    Meter(
        "model_call_seconds",
        "Of calls to models that were answered, with a short wait for their turn.",
        ("model",),
        kind="histogram",
    ),
)

__all__ = ["BOUNDS", "METERS", "Meter"]
