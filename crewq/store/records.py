"""What the store tells of runs, tasks and batches: frozen, read at one moment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from crewq import errors
from crewq.outputs import TaskOutput, UsageMetrics
from crewq.states import RunState, TaskState
from crewq.terms import Terms

Fields = Mapping[str, str]


@dataclass(frozen=True)
class TaskRecord:
    """A task of a run. `id` is the task's id everywhere: in Flower, in the log, in `replay`."""

    index: int
    id: str
    name: str
    key: str
    state: TaskState
    attempt: int = 0
    worker: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    output: TaskOutput | None = None
    messages: str = (
        ""  # the conversation that the output is the end of, as JSON: long, and wanted by few who read a run
    )
    error: errors.CrewqError | None = None
    traceback: str = ""  # the worker's, where code of a person's or of crewq's own broke
    usage: UsageMetrics = field(default_factory=UsageMetrics)
    repeated: int = 0  # calls made a second time because a worker died while they were under way
    kept: bool = False  # its output was taken over from the parent run
    edited: bool = False  # its output was given by whoever started the replay
    paused_for: str | None = None  # why it waits for a person
    question: str | None = None  # what the journal calls the question that a person is asked, and
    draft: TaskOutput | None = None  # the answer that it is about
    asked: datetime | None = None

    @classmethod
    def read(cls, index: int, fields: Fields) -> TaskRecord:
        """The task that a hash holds."""
        return cls(
            index=index,
            id=fields["id"],
            name=fields["name"],
            key=fields["key"],
            state=TaskState(fields["state"]),
            attempt=int(fields["attempt"]),
            worker=fields.get("worker"),
            started=_moment(fields.get("started")),
            ended=_moment(fields.get("ended")),
            output=_output(fields.get("output")),
            messages=fields.get("messages", ""),
            error=_error(fields.get("error")),
            traceback=fields.get("traceback", ""),
            usage=_usage(fields),
            repeated=int(fields.get("repeated", 0)),
            kept="kept" in fields,
            edited="edited" in fields,
            paused_for=fields.get("paused_for"),
            question=fields.get("asked"),
            draft=_output(fields.get("draft")),
            asked=_moment(fields.get("asked_at")),
        )


@dataclass(frozen=True)
class RunRecord:
    """A run and its tasks at one moment."""

    id: str
    state: RunState
    crew: str
    spec: str
    inputs: dict[str, Any]
    created: datetime
    tasks: tuple[TaskRecord, ...]
    started: datetime | None = None
    ended: datetime | None = None
    batch: str | None = None
    item: int = 0
    schedule: str | None = None
    parent: str | None = None
    from_task: str | None = None
    edited: tuple[str, ...] = ()
    replays: tuple[str, ...] = ()  # the runs that are replays of this one
    terms: Terms = field(default_factory=Terms)
    error: errors.CrewqError | None = None
    failed_task: int | None = None
    usage: UsageMetrics = field(default_factory=UsageMetrics)

    @classmethod
    def read(cls, run: str, hashes: list[Fields]) -> RunRecord:
        """The run that its hashes hold.

        Raises:
            RecordBroken: they are not a run.
        """
        fields, *tasks = hashes
        with readable(f"run:{run}"):
            return cls(
                id=run,
                state=RunState(fields["state"]),
                crew=fields["crew"],
                spec=fields["spec"],
                inputs=json_object(fields["inputs"]),
                created=_moment(fields["created"]) or datetime.now(UTC),
                tasks=tuple(TaskRecord.read(index, task) for index, task in enumerate(tasks)),
                started=_moment(fields.get("started")),
                ended=_moment(fields.get("ended")),
                batch=fields.get("batch") or None,
                item=int(fields.get("item", 0)),
                schedule=fields.get("schedule"),
                parent=fields.get("parent"),
                from_task=fields.get("from_task"),
                edited=tuple(json.loads(fields.get("edited", "[]"))),
                replays=tuple(filter(None, fields.get("replays", "").split(","))),
                terms=Terms.read(fields),
                error=_error(fields.get("error")),
                failed_task=int(fields["failed_task"]) if "failed_task" in fields else None,
                usage=_usage(fields),
            )

    def tasks_called(self, name: str) -> tuple[TaskRecord, ...]:
        """The tasks of that name; where there is none, those whose id begins so: `b` is a name before it is a digit."""
        named = tuple(task for task in self.tasks if task.name == name)
        return named or tuple(task for task in self.tasks if name and task.id.startswith(name))


@dataclass(frozen=True)
class BatchRecord:
    """The counters of a batch at one moment."""

    id: str
    crew: str
    created: datetime
    total: int
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    opened: bool = False
    ended: datetime | None = None
    terms: Terms = field(default_factory=Terms)
    usage: UsageMetrics = field(default_factory=UsageMetrics)
    paused_for: str | None = None  # why runs of it are paused: its budget is spent

    @classmethod
    def read(cls, batch: str, fields: Fields) -> BatchRecord:
        """The batch that a hash holds.

        Raises:
            RecordBroken: it holds none.
        """
        with readable(f"batch:{batch}"):
            counters = {name: int(fields.get(name, 0)) for name in ("completed", "failed", "cancelled")}
            return cls(
                id=batch,
                crew=fields["crew"],
                created=_moment(fields["created"]) or datetime.now(UTC),
                total=int(fields["total"]),
                opened="opened" in fields,
                ended=_moment(fields.get("ended")),
                terms=Terms.read(fields),
                usage=_usage(fields),
                paused_for=fields.get("paused_for"),
                **counters,
            )

    @property
    def done(self) -> int:
        """How many of its runs have ended, in whatever way."""
        return self.completed + self.failed + self.cancelled


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Read a record inside; whatever is wrong with what is stored under `where` is one error.

    Raises:
        RecordBroken: it is not what crewq wrote.
    """
    try:
        yield
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        reason = f"{errors.explain(error).splitlines()[0].rstrip('.')}."
        raise errors.RecordBroken(where=where, reason=reason) from error


def json_object(text: str) -> dict[str, Any]:
    """The object that a JSON text holds.

    Raises:
        ValueError, TypeError, RecursionError: it holds none.
    """
    return {**json.loads(text)}


def pairs(flat: list[str]) -> Iterator[tuple[str, str]]:
    """Two and two of a flat list, as Redis answers them."""
    return zip(flat[::2], flat[1::2], strict=True)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromtimestamp(int(text) / 1000, tz=UTC) if text else None


def _output(text: str | None) -> TaskOutput | None:
    return TaskOutput.model_validate_json(text) if text else None


def _error(text: str | None) -> errors.CrewqError | None:
    return errors.CrewqError.from_record(json_object(text)) if text else None


def _usage(fields: Fields) -> UsageMetrics:
    found = {name[6:]: float(value) for name, value in fields.items() if name.startswith("usage.")}
    return UsageMetrics(**{name: value if name == "cost" else int(value) for name, value in found.items()})


__all__ = ["BatchRecord", "Fields", "RunRecord", "TaskRecord", "json_object", "pairs", "readable"]
