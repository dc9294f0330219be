"""What the store is told, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Literal

from crewq import errors
from crewq.outputs import TaskOutput
from crewq.spec import CrewSpec
from crewq.store.places import of_run, of_task
from crewq.store.records import json_object, readable
from crewq.store.vault import Parcel
from crewq.terms import DEFAULT_TENANT, Priority, Terms

MOST_TASKS: Final = 1_000_000  # of a run, beyond which no position is looked for


@dataclass(frozen=True)
class NewTask:
    """A task as `create` writes it. `kept`: the position in the parent run of the task whose output it takes over."""

    name: str
    key: str
    needs: int
    wakes: tuple[int, ...]
    context: tuple[int, ...]
    lane: str
    kept: int | None = None


@dataclass(frozen=True)
class NewRun:
    """A run as `create` writes it. `key` and `fingerprint` make a kickoff idempotent."""

    id: str
    inputs: dict[str, Any]
    task_ids: tuple[str, ...]
    item: int = 0
    key: str = ""
    fingerprint: str = ""
    outputs: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What all the runs of one `create` have in common."""

    spec: CrewSpec
    tasks: tuple[NewTask, ...]
    batch: str = ""
    held: bool = False
    parent: str = ""
    from_task: str = ""
    edited: tuple[str, ...] = ()
    deadline: float = 0.0  # seconds from now; 0: none
    terms: Terms = field(default_factory=Terms)  # of each run: those of a batch have its budget with the batch
    trace: str = ""  # where in which trace of OpenTelemetry they belong
    schedule: str = ""  # the name of the one that started it


@dataclass(frozen=True)
class Job:
    """What one Celery message is about: a task of a run."""

    run: str
    index: int

    @classmethod
    def read(cls, member: str) -> Job:
        """The job that the store names `run|index`."""
        run, _, index = member.partition("|")
        return cls(run, int(index))

    @classmethod
    def told(cls, arguments: Sequence[Any], named: Mapping[str, Any]) -> Job:
        """The job that the arguments of a message name, which anybody may have written who can write to the broker.

        Raises:
            RecordBroken: they name none.
        """
        match tuple(arguments):
            case (str(run), int(index)) if not named and run.isascii() and 0 <= index < MOST_TASKS:
                return cls(run, index)
        raise errors.RecordBroken(where="a job's message", reason="its arguments are not a run and a position.")

    def __str__(self) -> str:
        return f"{self.run}|{self.index}"


def _as_it_is(where: str, text: str) -> str:  # noqa: ARG001 - what a vault does, of a text that is none of its own
    return text


@dataclass(frozen=True)
class Claim:
    """The answer to `start`: `word` says whether the task is this worker's to work on; the rest is there if it is."""

    word: Literal["yours", "done", "busy", "early", "stop", "gone", "wait", "alone"]
    attempt: int = 0
    spec: str = ""
    inputs_text: str = (
        "{}"  # as stored, like all texts here and the outputs: what is wrong with them is the task's failure
    )
    created_text: str = "0"
    deadline_text: str = ""
    now_ms: int = 0  # by Redis's clock, as all times here
    tries: int = 0  # how often the task failed and was tried again
    tenant: str = DEFAULT_TENANT
    has_budget: bool = False  # whether the run or its batch has one
    ready: tuple[Job, ...] = ()  # of other runs, to be published, as there is room for them now
    trace: str = ""  # as in the order
    outputs: dict[int, str] = field(default_factory=dict)
    run: str = ""
    open: Callable[[str, str], str] = field(default=_as_it_is, repr=False)  # a text, from its place and what is there

    @property
    def where(self) -> str:
        """Where its texts are stored."""
        return f"run:{self.run}"

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The run's inputs.

        Raises:
            RecordBroken: they are none.
        """
        text = self.open(of_run(self.run, "inputs"), self.inputs_text)
        with readable(self.where):
            return json_object(text)

    @cached_property
    def created(self) -> datetime:
        """When the run was accepted.

        Raises:
            RecordBroken: it holds no time.
        """
        with readable(self.where):
            return datetime.fromtimestamp(int(self.created_text) / 1000, tz=UTC)

    @cached_property
    def seconds_left(self) -> float | None:
        """Until the deadline of the run; None: it has none.

        Raises:
            RecordBroken: it holds no time.
        """
        with readable(self.where):
            return max(0.0, (int(self.deadline_text) - self.now_ms) / 1000) if self.deadline_text else None

    @cached_property
    def context(self) -> dict[int, TaskOutput]:
        """The outputs that the task stands on, by the position of their tasks.

        Raises:
            RecordBroken: one is none.
        """
        texts = {at: self.open(of_task(self.run, at, "output"), sealed) for at, sealed in self.outputs.items()}
        with readable(self.where):
            return {at: TaskOutput.model_validate_json(text) for at, text in texts.items()}


@dataclass(frozen=True)
class Ending:
    """The answer to a verb that ends a task: whether it counted, how the run stands now, and what to publish."""

    word: Literal["recorded", "again", "refused"]
    run_state: str
    ready: tuple[Job, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What a sweep found: jobs to publish again, those of runs that are let go now, lanes to send a probe through, runs whose
    result is to be said, and runs that go on as their tenants have a new day's budget."""

    jobs: tuple[Job, ...] = ()
    new: tuple[Job, ...] = ()
    probes: tuple[tuple[str, int], ...] = ()  # the lane, and the time by Redis's clock
    unsaid: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Head:
    """What is needed to publish jobs of a run."""

    run: str
    spec: str
    batch: str
    priority: Priority = "normal"


def document(order: Order, runs: Sequence[NewRun], parcel: Parcel) -> str:
    """The one JSON text in which `create_runs` is told of runs; their long texts are in the parcel."""
    spec_json = order.spec.to_json()
    return json.dumps(
        {
            "crew": order.spec.name,
            "spec": order.spec.digest(),
            "spec_json": spec_json,
            "batch": order.batch,
            "held": order.held,
            "parent": order.parent,
            "from_task": order.from_task,
            "edited": json.dumps(list(order.edited)) if order.edited else "",
            "deadline": int(order.deadline * 1000),
            "terms": order.terms.fields(),
            "schedule": order.schedule,
            "trace": order.trace,
            "tasks": [
                {
                    "name": task.name,
                    "key": task.key,
                    "needs": task.needs,
                    "wakes": ",".join(map(str, task.wakes)),
                    "context": ",".join(map(str, task.context)),
                    "lane": task.lane,
                    "kept": task.kept,
                }
                for task in order.tasks
            ],
            "runs": [
                {
                    "id": run.id,
                    "inputs": parcel.seal(json.dumps(run.inputs, ensure_ascii=False)),
                    "item": run.item,
                    "key": run.key,
                    "fingerprint": run.fingerprint,
                    "task_ids": run.task_ids,
                    "outputs": {str(at): parcel.seal(output) for at, output in run.outputs.items()},
                }
                for run in runs
            ],
        },
        ensure_ascii=False,
    )


__all__ = ["Claim", "Ending", "Findings", "Head", "Job", "NewRun", "NewTask", "Order", "document"]
