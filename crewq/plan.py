"""From a crew to Celery: segments, which are pure data, and the chains of signatures that carry them out.

A segment is a row of tasks, each of which waits for nothing but the one before it: one Celery chain. Where tasks join or
branch, a new segment begins, and the store says when: a chord is never needed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery, group
from celery.canvas import Signature
from kombu import Producer

from crewq.app import PRIORITY_BATCH, PRIORITY_LATER, PRIORITY_SINGLE, PROBE_JOB, TASK_JOB, how_sent
from crewq.messages import together
from crewq.spec import CrewSpec
from crewq.store import Head, Job, NewTask
from crewq.terms import Priority


def task_id(run: str, index: int) -> str:
    """The id of a task of a run, which is its Celery id too: anyone can tell it from the run's id and the position."""
    return str(uuid.uuid5(uuid.UUID(run), str(index)))


def wakes(spec: CrewSpec, index: int) -> tuple[int, ...]:
    """The tasks that wait for this one."""
    return tuple(at for at, task in enumerate(spec.tasks) if index in task.after)


def next_in_chain(spec: CrewSpec, index: int) -> int | None:
    """The task that follows this one in its segment: the only one that waits for it, and for it only."""
    following = wakes(spec, index)
    return following[0] if len(following) == 1 and spec.tasks[following[0]].after == (index,) else None


def segment(spec: CrewSpec, index: int) -> list[int]:
    """The tasks from this one to the end of its segment."""
    row = [index]
    while (following := next_in_chain(spec, row[-1])) is not None:
        row.append(following)
    return row


def new_tasks(
    spec: CrewSpec,
    *,
    batch: bool,
    kept: dict[int, int] | None = None,
    given: Iterable[int] = (),
    priority: Priority = "normal",
) -> tuple[NewTask, ...]:
    """The tasks of a new run, as the store writes them.

    Args:
        spec: the crew.
        batch: whether the run is one of a batch.
        kept: tasks that take over an output, and the position in the parent run that they take it from.
        given: tasks whose output is given.
        priority: of the run.
    """
    kept = kept or {}
    done = {*kept, *given}
    return tuple(
        NewTask(
            name=task.label,
            key=task.key,
            needs=sum(other not in done for other in task.after),
            wakes=wakes(spec, at),
            context=task.reads,
            lane=f"{spec.queue_of(at)}/{_priority(task.after, batch, priority)}",
            kept=kept.get(at),
        )
        for at, task in enumerate(spec.tasks)
    )


def _priority(after: Sequence[int], batch: bool, priority: Priority) -> int:
    return PRIORITY_LATER if after else (PRIORITY_BATCH if batch else PRIORITY_SINGLE)[priority]


def signature(app: Celery, spec: CrewSpec, job: Job, *, batch: bool, priority: Priority = "normal") -> Signature[Any]:
    """The job of one task. It carries ids and nothing else; its name in Flower is that of the crew and the task."""
    task = spec.tasks[job.index]
    return app.signature(
        TASK_JOB,
        args=(job.run, job.index),
        immutable=True,
        task_id=task_id(job.run, job.index),
        queue=spec.queue_of(job.index),
        shadow=f"{spec.name}/{spec.public_name(job.index)}",
        argsrepr="",
        kwargsrepr="",
        ignore_result=True,
        **how_sent(app, _priority(task.after, batch, priority)),
    )


def chain_from(
    app: Celery,
    spec: CrewSpec,
    job: Job,
    *,
    batch: bool = False,
    urgent: bool = False,
    priority: Priority = "normal",
) -> Signature[Any]:
    """The chain from a task to the end of its segment; an urgent one goes before what is new."""
    row = segment(spec, job.index)
    signatures = [signature(app, spec, Job(job.run, at), batch=batch, priority=priority) for at in row]
    if urgent:
        signatures[0].set(**how_sent(app, PRIORITY_LATER))
    # The object that Celery has for a chain would send the same, by a producer and with a connection of its own.
    return signatures[0].set(chain=signatures[:0:-1] or None)  # type: ignore[call-arg]  # its stub does not have all


def publish(
    app: Celery,
    spec: CrewSpec,
    jobs: Iterable[Job],
    *,
    batch: bool = False,
    urgent: bool = False,
    priority: Priority = "normal",
) -> None:
    """Send the chains that begin with these jobs; several of them as one Celery group."""
    chains = [chain_from(app, spec, job, batch=batch, urgent=urgent, priority=priority) for job in jobs]
    with app.producer_or_acquire() as producer:
        together(producer, lambda: _send(app, chains, producer))


def _send(app: Celery, chains: list[Signature[Any]], producer: Producer) -> None:
    if len(chains) == 1:
        chains[0].apply_async(producer=producer)
    elif chains:
        group(chains, app=app).apply_async(producer=producer, add_to_parent=False)


def alike(jobs: Sequence[Job], heads: Iterable[Head]) -> list[tuple[Head, list[Job]]]:
    """The jobs, in their order, with what is known of their runs: those in a row that are published alike stand together."""
    known = {head.run: head for head in heads}
    rows: list[tuple[Head, list[Job]]] = []
    for job in jobs:
        if (head := known.get(job.run)) is None:
            continue
        if rows and _way(rows[-1][0]) == _way(head):
            rows[-1][1].append(job)
        else:
            rows.append((head, [job]))
    return rows


def _way(head: Head) -> tuple[str, bool, str]:
    return head.spec, bool(head.batch), head.priority


def publish_probe(app: Celery, lane: str, sent_ms: int) -> None:
    """Send a probe through a lane: when it comes out, all that was sent before it has come out, or was lost."""
    queue, _, priority = lane.rpartition("/")
    options = how_sent(app, int(priority))
    app.signature(PROBE_JOB, args=(lane, sent_ms), immutable=True, queue=queue, **options).apply_async(
        ignore_result=True
    )


__all__ = [
    "alike",
    "chain_from",
    "new_tasks",
    "next_in_chain",
    "publish",
    "publish_probe",
    "segment",
    "signature",
    "task_id",
    "wakes",
]
