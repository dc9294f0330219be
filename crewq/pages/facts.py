"""What the pages show of a run, as plain JSON. Times are in ISO 8601, durations in seconds, money in US dollars."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from crewq import errors
from crewq.handle import find
from crewq.producer import Producer
from crewq.spec import CrewSpec
from crewq.states import TaskState
from crewq.store import Action, RunRecord, TaskRecord
from crewq.template import interpolate

KINDS = ("run", "task")  # a task's id, as Flower and the log have it, leads to its run


def run_page(producer: Producer, name: str) -> dict[str, Any]:
    """All of a run.

    Args:
        producer: the way to the runs.
        name: its id, that of one of its tasks, or the beginning of one.

    Raises:
        UnknownId, AmbiguousId: no run is, or several are, called that.
    """
    record = read(producer, name)
    crew = producer.reader.runs.spec(record.spec)
    return {
        **run_facts(record),
        "output": output_of(record),
        "tasks": [task_facts(record, crew, task) for task in record.tasks],
        "actions": [_action(action) for action in producer.reader.audit.latest(record.id)],
    }


def read(producer: Producer, name: str) -> RunRecord:
    """The run of that id, or of that task.

    Raises:
        UnknownId, AmbiguousId: no run is, or several are, called that.
    """
    return producer.reader.runs.read(run_of(producer, name))


def run_of(producer: Producer, name: str) -> str:
    """The id of the run that an id, or the beginning of one, leads to.

    Raises:
        UnknownId, AmbiguousId: no run is, or several are, called that.
    """
    known = find(producer, name, *KINDS)
    job = producer.reader.runs.find(known, KINDS)[0][2]
    return job.run if job else known


def run_facts(record: RunRecord) -> dict[str, Any]:
    """A run without its tasks."""
    return {
        "id": record.id,
        "state": record.state.value,
        "ended_for_good": record.state.ended,
        "crew": record.crew,
        "batch": record.batch,
        "item": record.item if record.batch else None,
        "parent": record.parent,
        "from_task": record.from_task,
        "replays": list(record.replays),
        "inputs": record.inputs,
        "created": _moment(record.created),
        "started": _moment(record.started),
        "ended": _moment(record.ended),
        "usage": record.usage.model_dump(),
        "error": error_facts(record.error),
    }


def output_of(record: RunRecord) -> str | None:
    """The output of the crew: that of its last task with any text; None before the run has completed."""
    if record.state.value != "completed":
        return None
    texts = [str(task.output) for task in record.tasks if task.output]
    return next((text for text in reversed(texts) if text), "")


def task_facts(record: RunRecord, crew: CrewSpec, task: TaskRecord) -> dict[str, Any]:
    """A task of a run, and what the crew says of it."""
    spec = crew.tasks[task.index]
    paused = task.state is TaskState.PAUSED
    return {
        "id": task.id,
        "index": task.index,
        "name": task.name,
        "key": task.key,
        "state": task.state.value,
        "agent": interpolate(crew.agents[spec.agent].role, record.inputs),
        "description": interpolate(spec.description, record.inputs),
        "expected_output": interpolate(spec.expected_output, record.inputs),
        "context": [record.tasks[at].name for at in spec.context],
        "after": list(spec.after),
        "attempts": task.attempt,
        "repeated_calls": task.repeated,
        "kept": task.kept,
        "edited": task.edited,
        "worker": task.worker,
        "started": _moment(task.started),
        "ended": _moment(task.ended),
        "usage": task.usage.model_dump(),
        "output": str(task.output) if task.output else None,
        "messages": json.loads(task.messages) if task.messages else [],
        "paused_for": task.paused_for if paused else None,
        "asks": bool(task.question) and paused,
        "draft": str(task.draft) if task.draft and paused else None,
        "error": error_facts(task.error),
        "traceback": task.traceback,
    }


def error_facts(error: errors.CrewqError | None) -> dict[str, str] | None:
    """The name and the message of an error."""
    return {"error": type(error).__name__, "message": str(error)} if error else None


def _action(action: Action) -> dict[str, str]:
    return {"at": action.at.isoformat(), "who": action.who, "action": action.action, "detail": action.detail}


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


__all__ = ["error_facts", "output_of", "read", "run_facts", "run_of", "run_page", "task_facts"]
