"""The story of a run: the facts that `--json` prints, and their telling for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from crewq import errors
from crewq.cli.phrases import ago, counted, duration, money, seconds_between, tokens
from crewq.outputs import UsageMetrics
from crewq.producer import Producer
from crewq.spec import CrewSpec
from crewq.states import TaskState
from crewq.store import BatchRecord, RunRecord, TaskRecord
from crewq.template import interpolate
from crewq.terms import DEFAULT_TENANT


class Story:
    """A run with the crew that it ran."""

    def __init__(self, record: RunRecord, crew: CrewSpec) -> None:
        self.record = record
        self.crew = crew

    @classmethod
    def of(cls, producer: Producer, run: str) -> Story:
        """The story so far.

        Raises:
            UnknownId: there is no such run.
        """
        record = producer.store.runs.read(run)
        return cls(record, producer.store.runs.spec(record.spec))

    @classmethod
    def of_all(cls, producer: Producer, runs: Sequence[str]) -> list[Story]:
        """The stories of runs that all ran the same crew."""
        spec = cls.of(producer, runs[0]).crew if runs else None
        return [cls(producer.store.runs.read(run), spec) for run in runs if spec]

    def agent(self, index: int) -> str:
        """The role of the agent of a task."""
        role = self.crew.agents[self.crew.tasks[index].agent].role
        return interpolate(role, self.record.inputs)

    # -- for a script --------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """All of it, as plain JSON values."""
        return {
            **run_facts(self.record),
            "output": self.output(),
            "tasks": [self._task_facts(task) for task in self.record.tasks],
        }

    def _task_facts(self, task: TaskRecord) -> dict[str, Any]:
        return {
            "id": task.id,
            "name": task.name,
            "state": task.state.value,
            "agent": self.agent(task.index),
            "attempts": task.attempt,
            "repeated_calls": task.repeated,
            "kept": task.kept,
            "edited": task.edited,
            "worker": task.worker,
            "seconds": seconds_between(task.started, task.ended),
            "usage": task.usage.model_dump(),
            "output": str(task.output) if task.output else None,
            "paused_for": task.paused_for if task.state is TaskState.PAUSED else None,
            "draft": str(task.draft) if task.draft and task.state is TaskState.PAUSED else None,
            "error": task.error.record() if task.error else None,
        }

    def output(self) -> str | None:
        """The output of the crew: that of its last task with any text; None before the run has completed."""
        if self.record.state.value != "completed":
            return None
        texts = [str(task.output) for task in self.record.tasks if task.output]
        return next((text for text in reversed(texts) if text), "")

    # -- for a person --------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        """All of it, told."""
        record = self.record
        yield f"Run {record.id} of the crew {record.crew!r}: {record.state.value}"
        yield f"  started {ago(record.created)}{self._took()}{_used(record.usage)}"
        if record.parent:
            yield f"  a replay of run {record.parent}, from task {record.from_task}"
        if record.schedule:
            yield f"  started by the schedule {record.schedule}"
        if record.batch:
            yield f"  number {record.item + 1} of batch {record.batch}"
        if terms := terms_of(record):
            yield f"  {terms}"
        for name, value in record.inputs.items():
            yield f"  {name} = {json.dumps(value, ensure_ascii=False)}"
        for task in record.tasks:
            yield ""
            yield from self._task_lines(task)
        if record.error and not any(task.error for task in record.tasks):
            yield ""
            yield from _indented(f"Error: {record.error}", "  ")

    def _took(self) -> str:
        seconds = seconds_between(self.record.started, self.record.ended)
        return "" if seconds is None else f", {'took' if self.record.ended else 'at work for'} {duration(seconds)}"

    def _task_lines(self, task: TaskRecord) -> Iterator[str]:
        yield f"Task {task.index + 1}: {task.id}"
        yield f"  {task.name} · {self.agent(task.index)} · {self._how(task)}"
        if task.output:
            yield from _indented(str(task.output), "    ")
        if task.paused_for and task.state is TaskState.PAUSED:
            yield from _indented(f"{task.draft or ''}\n{task.paused_for}".lstrip(), "    ")
        if task.error:
            yield from _indented(f"Error: {errors.explain(task.error)}", "    ")

    def _how(self, task: TaskRecord) -> str:
        """State, and what it took; an output that was taken over took nothing here."""
        if task.kept or task.edited:
            return "output given by hand" if task.edited else "output kept from the parent run"
        said = task.state.value
        if (seconds := seconds_between(task.started, task.ended)) is not None and task.state != TaskState.CANCELLED:
            said += f" in {duration(seconds)}" if task.ended else f" for {duration(seconds)}"
        if task.attempt > 1:
            said += f" · {task.attempt} attempts"
        if task.repeated:
            said += f" · {counted(task.repeated, 'repeated call')}"
        return said + (_used(task.usage, " · ") if task.usage.successful_requests else "")

    def task_outputs(self) -> Iterator[str]:
        """Each task's id, state, name, agent and output, in CrewAI's order of things."""
        yield f"Run {self.record.id} of the crew {self.record.crew!r}: {self.record.state.value}"
        for task in self.record.tasks:
            yield f"Task {task.index + 1}: {task.id}"
            yield f"State: {task.state.value}"
            yield f"Name: {task.name}"
            yield f"Agent: {self.agent(task.index)}"
            if task.error:
                yield f"Error: {errors.explain(task.error)}"
            yield f"Output: {task.output or ''}".rstrip()
            yield "------"


def run_facts(record: RunRecord) -> dict[str, Any]:
    """A run without its tasks, as plain JSON values. Times are in ISO 8601, durations in seconds."""
    return {
        "run": record.id,
        "state": record.state.value,
        "crew": record.crew,
        "batch": record.batch,
        "item": record.item if record.batch else None,
        "schedule": record.schedule,
        "parent": record.parent,
        "from_task": record.from_task,
        "edited": list(record.edited),
        "tenant": record.terms.tenant,
        "priority": record.terms.priority,
        "max_cost": record.terms.max_cost,
        "max_tokens": record.terms.max_tokens,
        "inputs": record.inputs,
        "created": record.created.isoformat(),
        "started": record.started.isoformat() if record.started else None,
        "ended": record.ended.isoformat() if record.ended else None,
        "seconds": seconds_between(record.started, record.ended),
        "usage": record.usage.model_dump(),
        "error": record.error.record() if record.error else None,
    }


def terms_of(record: RunRecord | BatchRecord) -> str:
    """The terms that are not the usual ones, in words."""
    terms = record.terms
    said = [f"tenant {terms.tenant}"] if terms.tenant != DEFAULT_TENANT else []
    said += [f"priority {terms.priority}"] if terms.priority != "normal" else []
    said += [f"budget ${terms.max_cost:g}"] if terms.max_cost is not None else []
    said += [f"budget {counted(terms.max_tokens, 'token')}"] if terms.max_tokens is not None else []
    return ", ".join(said)


def _used(usage: UsageMetrics, divider: str = ", ") -> str:
    return f"{divider}{tokens(usage)} tokens, {money(usage)}"


def _indented(text: str, by: str) -> Iterator[str]:
    return (by + line for line in text.splitlines())


__all__ = ["Story", "run_facts", "terms_of"]
