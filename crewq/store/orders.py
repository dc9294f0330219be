"""What the store is told, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, Final, Literal

from crewq import errors
from crewq.keyring import PLAIN
from crewq.outputs import TaskOutput
from crewq.spec import PLAN_KEY, CrewSpec
from crewq.store.places import of_run, of_spec, of_task, read_stamp, stamp
from crewq.store.records import Fields, json_object, readable
from crewq.store.vault import Parcel, Vault
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


@dataclass(frozen=True)
class Claim:
    """The answer to `start`: `word` says whether the task is this worker's to work on; the rest is there if it is."""

    word: Literal["yours", "done", "busy", "early", "stop", "gone", "wait", "alone"]
    attempt: int = 0
    spec_name: str = ""
    # As stored, like all texts here and the outputs: what is wrong with them is the task's failure.
    inputs_text: str = "{}"
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
    stamp: str = ""
    vault: Vault | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        """Where its texts are stored."""
        return f"run:{self.run}"

    @cached_property
    def _names(self) -> str:
        return read_stamp(self.vault, self.run, self.spec_name, self.stamp) if self.vault else PLAIN

    @property
    def spec(self) -> str:
        """What the run's crew is called.

        Raises:
            NotAuthentic, EncryptionKeyUnknown: it is not proved, or cannot be, that this is the run's.
        """
        _ = self._names  # which is what proves it
        return self.spec_name

    @property
    def named(self) -> Callable[[str], str]:
        """What the digest of a call is called in the journal, where everybody can read it.

        Raises:
            NotAuthentic, EncryptionKeyUnknown: as `spec`.
        """
        return partial(self.vault.cipher.name, key=self._names) if self.vault else str

    def _open(self, where: str, sealed: str) -> str:
        return self.vault.open(where, sealed) if self.vault else sealed

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The run's inputs.

        Raises:
            RecordBroken: they are none.
        """
        text = self._open(of_run(self.run, "inputs"), self.inputs_text)
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
        texts = {at: self._open(of_task(self.run, at, "output"), sealed) for at, sealed in self.outputs.items()}
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


def document(order: Order, runs: Sequence[NewRun], kept: Mapping[int, Fields], vault: Vault, parcel: Parcel) -> str:
    """The one JSON text in which `create_runs` is told of runs.

    Args:
        order: what they have in common.
        runs: the runs.
        kept: the fields of tasks whose outputs they take over.
        vault: what seals their texts.
        parcel: for those of the texts that are long.
    """
    spec = vault.cipher.name(order.spec.digest())
    return json.dumps(
        {
            "crew": order.spec.name,
            "spec": spec,
            "spec_json": vault.seal(of_spec(spec), order.spec.to_json()),
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
                    "name": order.spec.public_name(at) if vault.cipher.encrypts else task.name,
                    "key": task.key if task.key == PLAN_KEY else vault.cipher.name(task.key),
                    "needs": task.needs,
                    "wakes": ",".join(map(str, task.wakes)),
                    "context": ",".join(map(str, task.context)),
                    "lane": task.lane,
                }
                for at, task in enumerate(order.tasks)
            ],
            "runs": [_described(run, spec, kept, vault, parcel) for run in runs],
        },
        ensure_ascii=False,
    )


def _described(run: NewRun, spec: str, kept: Mapping[int, Fields], vault: Vault, parcel: Parcel) -> dict[str, Any]:
    def output(at: int, text: str, field: str = "output") -> str:
        return text if field == "ended" else parcel.seal(of_task(run.id, at, field), text)

    return {
        "id": run.id,
        "stamp": stamp(vault, run.id, spec),
        "inputs": parcel.seal(of_run(run.id, "inputs"), json.dumps(run.inputs, ensure_ascii=False)),
        "item": run.item,
        "key": run.key,
        "fingerprint": vault.cipher.name(run.fingerprint) if run.fingerprint else "",
        "task_ids": run.task_ids,
        "outputs": {str(at): output(at, text) for at, text in run.outputs.items()},
        "kept": {str(at): {name: output(at, one, name) for name, one in own.items()} for at, own in kept.items()},
    }


__all__ = ["Claim", "Ending", "Findings", "Head", "Job", "NewRun", "NewTask", "Order", "document"]
