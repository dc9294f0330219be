"""Replay: a new run that takes over the outputs of an earlier one, and does the rest again."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from crewq import errors
from crewq.handle import told_where
from crewq.outputs import TaskOutput
from crewq.plan import new_tasks, task_id
from crewq.producer import Producer
from crewq.references import MAIN_MARK, main_queue
from crewq.spec import CrewSpec, templates
from crewq.states import TaskState
from crewq.store import Job, NewRun, Order, RunRecord
from crewq.template import checked_inputs, require
from crewq.tracing import workflow


def find_task(producer: Producer, prefix: str) -> Job:
    """The task, of any retained run, whose id begins with `prefix`.

    Raises:
        UnknownId, AmbiguousId: there is none, or more than one.
    """
    found = producer.store.runs.find(prefix, ("task",)) if prefix else []
    if not found:
        raise errors.UnknownId(kind="task", id=prefix, where=producer.store.where)
    if len(found) > 1:
        raise errors.AmbiguousId(id=prefix, candidates=", ".join(name for name, _, _ in found))
    job = found[0][2]
    assert job is not None
    return job


def start_replay(
    producer: Producer,
    job: Job,
    spec: CrewSpec | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, str] | None = None,
) -> tuple[str, CrewSpec]:
    """Start the replay of a run from one of its tasks.

    Tasks that had ended well, and do not come after the one named, keep their outputs; all others run.

    Args:
        producer: this process's way to Redis.
        job: the task to begin with, in the run it belongs to.
        spec: today's crew; None: the crew as it ran.
        inputs: None: those of the parent run.
        outputs: texts that replace the outputs of tasks, by task name or id; what is given them runs again.

    Returns:
        The id of the new run, and its crew.

    Raises:
        ReplayMismatch: `spec` is not the crew that ran; tells the difference.
        MissingInputs: `spec` asks for inputs that are not there.
        UnknownId, AmbiguousId: the run is not there any more, or `outputs` names a task that it does not have, or several.
    """
    parent = producer.store.runs.read(job.run)
    stored = producer.store.runs.spec(parent.spec)
    crew = spec or stored
    _refuse_foreign_script(crew)
    edited = {_named(parent, name): text for name, text in (outputs or {}).items()}
    matched = _match(parent, stored, crew, job.index)
    values = parent.inputs if inputs is None else checked_inputs(inputs)
    require(crew.name, templates(crew), values)
    again = _again(parent, crew, matched, job.index, edited)
    kept = {at: matched[at] for at in range(len(crew.tasks)) if at not in again and matched[at] not in edited}
    given = {at: _as_output(crew, at, edited[matched[at]]) for at in matched if matched[at] in edited}
    run = str(uuid.uuid4())
    order = Order(
        spec=crew,
        tasks=new_tasks(crew, batch=False, kept=kept, given=given, priority=parent.terms.priority),
        parent=parent.id,
        from_task=parent.tasks[job.index].id,
        edited=tuple(parent.tasks[at].id for at in edited),
        terms=parent.terms,
    )
    new = NewRun(
        id=run,
        inputs=values,
        task_ids=tuple(task_id(run, at) for at in range(len(crew.tasks))),
        outputs=given,
    )
    done = {*kept, *given}
    first = [at for at in range(len(crew.tasks)) if at not in done and done.issuperset(crew.tasks[at].after)]
    with told_where("run", run):
        with workflow(crew.name, run) as trace:
            producer.accept(replace(order, trace=trace), [new])
        producer.publish(crew, [Job(run, at) for at in first], priority=parent.terms.priority)
    return run, crew


def spec_to_resume_with(
    parent: RunRecord, stored: CrewSpec, today: CrewSpec, policy: Literal["resume", "pin", "refuse"]
) -> CrewSpec | None:
    """The crew that a run goes on with when it is resumed by `today`'s; None: the stored one.

    Args:
        parent: the run.
        stored: the crew as it ran.
        today: the crew as it is now.
        policy: what to do where they differ: go on with today's, stay with the stored one, or refuse.

    Raises:
        ReplayMismatch: they differ, and the policy is to refuse; or tasks came, went or changed their order, so that
            what was done cannot be gone on with.
    """
    if today.digest() == stored.digest() or policy == "pin":
        return None
    same_order = [task.after for task in today.tasks] == [task.after for task in stored.tasks]
    kept = [at for at, task in enumerate(parent.tasks) if task.output is not None]
    if policy == "refuse" or not same_order or any(today.tasks[at].key != stored.tasks[at].key for at in kept):
        raise errors.ReplayMismatch(run=parent.id, difference=_difference(stored, today))
    return today


def _refuse_foreign_script(crew: CrewSpec) -> None:
    if MAIN_MARK in crew.queue and crew.queue != main_queue(crew.queue.partition(MAIN_MARK)[0]):
        raise errors.NotPortable(
            what=f"The crew {crew.name!r}",
            reason="it uses something that is defined in the script that was started, which only that script has.",
            advice="Replay it from that script, or move what it uses into a module of its own.",
        )


def _named(parent: RunRecord, name: str) -> int:
    found = parent.tasks_called(name)
    if not found:
        raise errors.UnknownId(kind="task", id=name, where=f"the run {parent.id}")
    if len(found) > 1:
        raise errors.AmbiguousId(id=name, candidates=", ".join(task.id for task in found))
    return found[0].index


def _match(parent: RunRecord, stored: CrewSpec, crew: CrewSpec, start: int) -> dict[int, int]:
    """The task of the parent that each task of the crew is: by its key, so never by its position. The task that the
    replay begins with may have been rewritten, and then counts by its name, or as the one that took its place."""
    places = {task.key: at for at, task in enumerate(stored.tasks)}
    matched = {at: places[task.key] for at, task in enumerate(crew.tasks) if task.key in places}
    if start not in matched.values():
        begin = _rewritten(stored, crew, start, set(matched))
        if begin is None:
            raise errors.ReplayMismatch(run=parent.id, difference=_difference(stored, crew))
        matched[begin] = start
    upstream = set(range(len(stored.tasks))) - _closure(stored, {start})
    lost = [at for at in upstream if parent.tasks[at].output is not None and at not in matched.values()]
    if lost:
        raise errors.ReplayMismatch(run=parent.id, difference=_difference(stored, crew))
    return matched


def _rewritten(stored: CrewSpec, crew: CrewSpec, start: int, taken: set[int]) -> int | None:
    name = stored.tasks[start].name
    for at, task in enumerate(crew.tasks):
        if at not in taken and (task.name == name if name else at == start and task.name is None):
            return at
    return None


def _difference(stored: CrewSpec, crew: CrewSpec) -> str:
    before, now = {task.key: task.label for task in stored.tasks}, {task.key: task.label for task in crew.tasks}
    if before == now:
        return "its tasks are the same, but their order, its agents or its settings are not."
    gone = ", ".join(repr(label) for key, label in before.items() if key not in now) or "none"
    new = ", ".join(repr(label) for key, label in now.items() if key not in before) or "none"
    return f"its tasks that are not in the crew given, as they were: {gone}; new or changed ones: {new}."


def _again(
    parent: RunRecord, crew: CrewSpec, matched: Mapping[int, int], start: int, edited: Mapping[int, str]
) -> set[int]:
    """The tasks that run: the one named and all after it, those without an output, and those given an edited output."""
    ended_well = (TaskState.COMPLETED, TaskState.SKIPPED)
    begin = {at for at, old in matched.items() if old == start and old not in edited}
    missing = {
        at
        for at in range(len(crew.tasks))
        if matched.get(at) not in edited and (at not in matched or parent.tasks[matched[at]].state not in ended_well)
    }
    changed = {at for at, old in matched.items() if old in edited}
    readers = _closure(crew, changed, by_context=True) - changed
    return _closure(crew, begin | missing) | readers


def _closure(crew: CrewSpec, begin: set[int], *, by_context: bool = False) -> set[int]:
    """These tasks and all that come after them, or are given what came of them."""
    found = set(begin)
    for at, task in enumerate(crew.tasks):
        if found.intersection(task.reads if by_context else task.after):
            found.add(at)
    return found


def _as_output(crew: CrewSpec, at: int, text: str) -> str:
    task = crew.tasks[at]
    role = crew.agents[task.agent].role
    return TaskOutput(description=task.description, name=task.name, raw=text, agent=role).model_dump_json()


__all__ = ["find_task", "spec_to_resume_with", "start_replay"]
