"""The states of runs and tasks, and the lawful ways from one to another, as data.

The scripts of the store are given these same tables, and refuse a move that is not in them.
"""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens without a person."""
        return self in (RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED)


class TaskState(StrEnum):
    """Where a task of a run stands; `waiting` is for the tasks before it, `queued` for a worker."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.PAUSED, RunState.FAILED, RunState.CANCELLED}),
    RunState.RUNNING: frozenset({RunState.PAUSED, RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED}),
    RunState.PAUSED: frozenset({RunState.RUNNING, RunState.FAILED, RunState.CANCELLED}),
    RunState.COMPLETED: frozenset(),
    RunState.FAILED: frozenset({RunState.RUNNING}),  # resume
    RunState.CANCELLED: frozenset({RunState.RUNNING}),  # resume
}

TASK_MOVES: dict[TaskState, frozenset[TaskState]] = {
    TaskState.WAITING: frozenset({TaskState.QUEUED, TaskState.CANCELLED}),
    TaskState.QUEUED: frozenset({TaskState.RUNNING, TaskState.FAILED, TaskState.CANCELLED}),
    TaskState.RUNNING: frozenset(
        {
            TaskState.QUEUED,  # handed back, retried later, or recovered after a crash
            TaskState.PAUSED,
            TaskState.COMPLETED,
            TaskState.SKIPPED,
            TaskState.FAILED,
            TaskState.CANCELLED,
        }
    ),
    TaskState.PAUSED: frozenset({TaskState.QUEUED, TaskState.FAILED, TaskState.CANCELLED}),
    TaskState.COMPLETED: frozenset(),
    TaskState.SKIPPED: frozenset(),
    TaskState.FAILED: frozenset({TaskState.QUEUED, TaskState.WAITING}),  # resume
    TaskState.CANCELLED: frozenset({TaskState.QUEUED, TaskState.WAITING}),  # resume
}

__all__ = ["RUN_MOVES", "TASK_MOVES", "RunState", "TaskState"]
