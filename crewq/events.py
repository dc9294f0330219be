"""What happens in a run, as a typed event each; and their form in a Redis stream.

The scripts that change a state append the event of it in the same step, so the stream has no gap and one terminal event.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, Json, TypeAdapter, ValidationError

from crewq.outputs import UsageMetrics


class Event(BaseModel):
    """Something that happened. `id` is its place in the run's stream: give it to `events(after=...)` to go on from there."""

    # A program that starts a crew reads no event, or all kinds of them with one validator: see `_reader`.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    type: str
    id: str = "0-0"
    run: str = ""
    task: int | None = None

    @property
    def at(self) -> datetime:
        """When it happened, by the clock of Redis."""
        return datetime.fromtimestamp(int(self.id.partition("-")[0]) / 1000, tz=UTC)

    @property
    def terminal(self) -> bool:
        """Whether it is the last of its run (a resumed run goes on after it)."""
        return self.type in ("run_completed", "run_failed", "run_cancelled")


class RunQueued(Event):
    """The run was accepted."""

    type: Literal["run_queued"] = "run_queued"
    parent: str | None = None


class RunStarted(Event):
    """Its first task was claimed by a worker."""

    type: Literal["run_started"] = "run_started"


class RunPaused(Event):
    """It waits for a person."""

    type: Literal["run_paused"] = "run_paused"
    reason: str = ""


class RunResumed(Event):
    """A person let it go on, or a new day's budget did."""

    type: Literal["run_resumed"] = "run_resumed"


class RunCompleted(Event):
    """All its tasks ended well."""

    type: Literal["run_completed"] = "run_completed"


class RunFailed(Event):
    """A task of it failed."""

    type: Literal["run_failed"] = "run_failed"
    error: Json[dict[str, Any]]


class RunCancelled(Event):
    """A person cancelled it."""

    type: Literal["run_cancelled"] = "run_cancelled"


class TaskStarted(Event):
    """A worker claimed the task."""

    type: Literal["task_started"] = "task_started"
    attempt: int
    worker: str


class TaskRequeued(Event):
    """The task goes back to the queue: its worker died (`crashed`), handed it back, it is tried again after an error, or a
    person has answered."""

    type: Literal["task_requeued"] = "task_requeued"
    attempt: int
    reason: str
    delay: float = 0.0  # seconds until it is tried again


class TaskPaused(Event):
    """The task was set aside until a person decides; its `reason` says what about, and how."""

    type: Literal["task_paused"] = "task_paused"
    attempt: int
    reason: str = ""


class TaskCompleted(Event):
    """The task's output is recorded."""

    type: Literal["task_completed"] = "task_completed"
    attempt: int


class TaskSkipped(Event):
    """The task's condition said that it is not needed."""

    type: Literal["task_skipped"] = "task_skipped"


class TaskFailed(Event):
    """The task failed for good."""

    type: Literal["task_failed"] = "task_failed"
    attempt: int
    error: Json[dict[str, Any]]


class TaskWarned(Event):
    """Something beside the task went wrong, such as a callback; its output is not touched."""

    type: Literal["task_warned"] = "task_warned"
    reason: str


class CallStarted(Event):
    """A call to a model or a tool is about to be made."""

    type: Literal["call_started"] = "call_started"
    kind: Literal["model", "tool"]
    name: str
    attempt: int
    call: str


class CallFinished(Event):
    """A call has its answer; `reused` when the journal had it and nothing was called."""

    type: Literal["call_finished"] = "call_finished"
    kind: Literal["model", "tool"]
    name: str
    attempt: int
    call: str
    reused: bool = False
    seconds: float = 0.0
    usage: Json[UsageMetrics] | None = None


class Token(Event):
    """A piece of a model's answer, as it came; told of in runs of a crew with `stream=True`.

    Fields:
        text: the piece; if it is a tool, its arguments.
        offset: how many characters of the answer came before it; 0: it begins, perhaps anew. For a tool, how many tools.
        tool: the name of a tool that the model calls; empty: the piece is text.
        agent: the role of the agent that asked.
        call: the call that it is part of, and
        attempt: the attempt.
    """

    type: Literal["token"] = "token"
    text: str
    offset: int = 0
    tool: str = ""
    agent: str = ""
    call: str = ""
    attempt: int = 0


AnyEvent = Annotated[
    Union[  # noqa: UP007  (a discriminated union reads best as a list)
        RunQueued,
        RunStarted,
        RunPaused,
        RunResumed,
        RunCompleted,
        RunFailed,
        RunCancelled,
        TaskStarted,
        TaskRequeued,
        TaskPaused,
        TaskCompleted,
        TaskSkipped,
        TaskFailed,
        TaskWarned,
        CallStarted,
        CallFinished,
        Token,
    ],
    Field(discriminator="type"),
]


@cache
def _reader() -> TypeAdapter[Event]:
    """Made when it is first needed: a producer that only kicks off reads no events."""
    return TypeAdapter(AnyEvent)


def from_stream(run: str, entry_id: str, fields: dict[str, str]) -> Event:
    """The event that a stream entry holds; one of a type that this version does not know comes as a plain `Event`."""
    raw = {**fields, "id": entry_id, "run": run}
    try:
        return _reader().validate_python(raw)
    except ValidationError:
        return Event(type=fields.get("type", "unknown"), id=entry_id, run=run)


__all__ = [
    "CallFinished",
    "CallStarted",
    "Event",
    "RunCancelled",
    "RunCompleted",
    "RunFailed",
    "RunPaused",
    "RunQueued",
    "RunResumed",
    "RunStarted",
    "TaskCompleted",
    "TaskFailed",
    "TaskPaused",
    "TaskRequeued",
    "TaskSkipped",
    "TaskStarted",
    "TaskWarned",
    "Token",
    "from_stream",
]
