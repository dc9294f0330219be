"""The handle of a run: await it, look at it, follow it, stop it. Any process can make one from the run's id."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from celery.result import AsyncResult
from pydantic import BaseModel, ValidationError

from crewq import errors
from crewq.budgets import Budget
from crewq.events import Event
from crewq.handle import Handle
from crewq.outputs import CrewOutput, TaskOutput
from crewq.plan import task_id
from crewq.producer import Producer
from crewq.spec import PLAN_KEY, CrewSpec
from crewq.states import RunState, TaskState
from crewq.store import Job, RunRecord, TaskRecord
from crewq.terms import check_budget

READ_SECONDS = 2.0  # how long one read of a run's events waits


class Run(Handle[CrewOutput]):
    """One run of a crew: it goes on whether anybody holds this or not.

    Awaiting it gives its `CrewOutput`; it can be awaited any number of times, by any number of tasks, and is accepted
    wherever asyncio wants a coroutine. Cancelling whoever awaits it does not cancel the run; `cancel()` does.

    Args:
        run_id: its id, or an unambiguous beginning of it. It is looked up, also if it is whole.
        producer: this process's way to Redis; None: by the environment. With one, a whole id is taken to be of its store.
        classes: the caller's own classes of structured outputs, by the position of the task.
        finish: what is done with its output, once, before it is given back.
        ended: who is told, once, how it ended, before its output or its error is.

    Raises:
        UnknownId, AmbiguousId: no run is, or several are, called that.
    """

    kind = "run"

    def __init__(
        self,
        run_id: str,
        producer: Producer | None = None,
        *,
        classes: Mapping[int, type[BaseModel]] | None = None,
        finish: Callable[[CrewOutput], CrewOutput] | None = None,
        ended: Callable[[RunRecord], None] | None = None,
    ) -> None:
        super().__init__(run_id, producer)
        self._classes = dict(classes or {})
        self._finish = finish
        self._tell_end = ended
        self._output: CrewOutput | None = None
        self._finishing = threading.Lock()  # whoever waits comes back in a thread of its own

    # -- its end -------------------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> CrewOutput:
        """Wait for its end. Should it be paused meanwhile, a line of the log says so, and what to do.

        Args:
            timeout: seconds; None: as long as it takes.

        Raises:
            RunFailed, RunCancelled: that is how it ended.
            ResultTimeout: it has not ended yet; it goes on, or is paused (StillPaused).
        """
        self._wait(timeout)
        return self._outcome()

    def _has_ended(self) -> bool:
        state = self._producer.store.runs.state(self.id)
        if state == RunState.PAUSED.value:
            self._producer.tell_pause(self.id)
        return state is None or RunState(state).ended

    def _paused_for(self) -> str:
        """What a person has to decide before it goes on; empty: nothing."""
        if self._producer.store.runs.state(self.id) != RunState.PAUSED.value:
            return ""
        return next((task.paused_for or "" for task in self.tasks if task.state is TaskState.PAUSED), "")

    def _late(self, seconds: float | None) -> errors.ResultTimeout:
        reason = self._paused_for()
        if not reason:
            return super()._late(seconds)
        return errors.StillPaused(kind=self.kind, id=self.id, seconds=seconds, reason=reason)

    def _outcome(self) -> CrewOutput:
        with self._finishing:
            if self._output is None:
                output = self._read_output()
                self._output = self._finish(output) if self._finish else output
            return self._output

    def _read_output(self) -> CrewOutput:
        record = self.record()
        tell, self._tell_end = self._tell_end, None
        if tell:
            tell(record)
        if record.state is RunState.CANCELLED:
            raise errors.RunCancelled(run=self.id)
        if record.state is RunState.FAILED:
            raise _failure(record)
        outputs = [self._typed(task) for task in record.tasks if task.output is not None and task.key != PLAN_KEY]
        return CrewOutput.of(outputs, record.usage, self.id)

    def _typed(self, task: TaskRecord) -> TaskOutput:
        output = task.output or TaskOutput()
        failures = [failure.model_copy(update={"task_id": task.id}) for failure in output.tool_failures]
        messages = json.loads(task.messages) if task.messages else []
        output = output.model_copy(update={"messages": messages, "tool_failures": failures})
        wanted = self._classes.get(task.index)
        if output.output_format != "pydantic" or wanted is None:
            return output
        try:
            return output.typed(wanted)
        except ValidationError as error:
            raise errors.OutputInvalid(
                schema=wanted.__name__,
                reason=f"its own rules refuse what its JSON schema allowed: {error}\nThe output is kept: crewq show {self.id}",
            ) from error

    # -- looking at it -------------------------------------------------------------------------------------

    def record(self) -> RunRecord:
        """All that is known of it now.

        Raises:
            UnknownId: there is no such run (any more).
        """
        return self._producer.store.runs.read(self.id)

    @property
    def status(self) -> str:
        """queued, running, paused, completed, failed or cancelled."""
        return self.record().state.value

    @property
    def tasks(self) -> tuple[TaskRecord, ...]:
        """Its tasks: id, name, state, output, error, usage."""
        return self.record().tasks

    @property
    def task_ids(self) -> list[str]:
        """The ids of its tasks: the same in Flower, in the log, on the command line, and for `replay`."""
        return [task.id for task in self.tasks]

    @property
    def async_result(self) -> AsyncResult[Any]:
        """Celery's own result object of the run: that of its last task; its value is the run's id and state."""
        return AsyncResult(task_id(self.id, len(self.tasks) - 1), app=self._producer.app)

    def events(self, after: str = "0-0") -> Events:
        """What happens in it, from the beginning or after the event of that id; ends with the run's end.

        Iterate it with `for` or with `async for`.
        """
        return Events(self, self._producer, after)

    # -- changing it ---------------------------------------------------------------------------------------

    def resume(
        self,
        *,
        call_in_doubt: Literal["retry", "skip"] | None = None,
        spec: CrewSpec | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> Run:
        """Go on where it stopped, if it is paused, failed or cancelled: the same run, with all that it has paid for.

        Args:
            call_in_doubt: what becomes of a call of a tool that is not idempotent and was at work when its worker died:
                make it again, or go on without it.
            spec: the crew to go on with, of the same tasks; None: the crew as it was stored (`Crew.resume` gives its own).
            max_cost: a new budget in US dollars for all of the run: what it has spent counts. None: as it is.
            max_tokens: likewise, in tokens.

        Raises:
            NotNow: it is under way, has completed, or has a call in doubt and nothing was decided.
            BudgetTooSmall: as much as the new budget is spent already.
            InvalidField: that is no budget.
        """
        check_budget(max_cost, max_tokens)
        budget = Budget(max_cost, max_tokens)
        self._producer.publish_any(
            self._producer.store.runs.resume(self.id, call_in_doubt or "", spec, budget), urgent=True
        )
        return self

    def questions(self) -> tuple[TaskRecord, ...]:
        """Its tasks that ask a person; `draft` of each is the answer that it has so far."""
        return _asking(self.tasks)

    def question(self, task: str | None = None) -> TaskRecord:
        """The one task that asks a person.

        Args:
            task: its name, its id or the beginning of that; None: there is only one.

        Raises:
            NotNow: none asks, or several do.
        """
        record = self.record()
        asking = _asking(record.tasks if task is None else record.tasks_called(task))
        if not asking:
            which = "task" if task is None else f"task {task!r}"
            advice = f"It has no {which} that asks a person anything."
            raise errors.NotNow(run=self.id, state=record.state.value, verb="answered", advice=advice)
        if len(asking) > 1:
            which = ", ".join(f"{one.name!r} ({one.id})" for one in asking)
            advice = f"Say which one you answer: {which}."
            raise errors.NotNow(run=self.id, state="asking about several tasks", verb="answered at once", advice=advice)
        return asking[0]

    def answer(self, text: str = "", task: str | None = None) -> Run:
        """Say what is to become of the answer that a task with `human_input` has: the task goes on with that.

        Args:
            text: nothing, or `ok`: it will do. Anything else is told to the agent, which answers anew and asks again.
            task: the task's name, its id or the beginning of that; None: there is only one that asks.

        Raises:
            NotNow: no task asks, several do, or somebody else has just answered.
        """
        asking = self.question(task)
        self._producer.publish_any(
            self._producer.store.runs.answer(Job(self.id, asking.index), asking.question or "", text), urgent=True
        )
        return self

    def cancel(self) -> bool:
        """End it now: no new call starts, and one in flight is aborted within a second. False: it had ended already."""
        cancelled, ready = self._producer.store.runs.cancel(self.id)
        self._producer.publish_any(ready)
        return cancelled


class Events:
    """The events of a run, for `for` and `async for`."""

    def __init__(self, run: Run, producer: Producer, after: str) -> None:
        self._run = run
        self._producer = producer
        self._after = after
        self._over = False

    def _next(self) -> list[Event]:
        events = self._producer.reader.runs.events(self._run.id, self._after, wait=READ_SECONDS)
        if events:
            self._after = events[-1].id
        elif self._run.record().state.ended:
            self._over = True  # an end that was read before, or a stream that was trimmed
        self._over = self._over or bool(events and events[-1].terminal)
        return events

    def __iter__(self) -> Iterator[Event]:
        while not self._over:
            yield from self._next()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while not self._over:
            for event in await asyncio.to_thread(self._next):
                yield event


def _asking(tasks: Iterable[TaskRecord]) -> tuple[TaskRecord, ...]:
    return tuple(task for task in tasks if task.state is TaskState.PAUSED and task.question)


def _failure(record: RunRecord) -> errors.RunFailed:
    failed = record.failed_task
    task = record.tasks[failed] if failed is not None else None
    if task is None or task.state is not TaskState.FAILED:
        task = next(task for task in record.tasks if task.state is TaskState.FAILED)
    failure = errors.RunFailed(
        run=record.id,
        crew=record.crew,
        task=task.name or str(task.index + 1),
        task_id=task.id,
        reason=str(task.error or record.error),
    )
    failure.__cause__ = task.error
    return failure


__all__ = ["Events", "Run"]
