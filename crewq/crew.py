"""`Crew`: what a person holds. It freezes itself into a spec, has the store accept runs, and gives handles back."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, NoReturn, Self, Unpack

from pydantic import BaseModel, PrivateAttr

from crewq import errors, lacking
from crewq.batch import Batch
from crewq.description import CrewDescription
from crewq.fanout import new_run, start_batch, start_run
from crewq.freeze import freeze, lent_keys, modules_of
from crewq.handle import find
from crewq.member import without
from crewq.output_log import append
from crewq.outputs import CONTEXT_DIVIDER, CrewOutput, UsageMetrics
from crewq.producer import Producer, connect
from crewq.replay import find_task, spec_to_resume_with, start_replay
from crewq.run import Run
from crewq.spec import PLAN_KEY, CrewSpec, templates
from crewq.store import Job, RunRecord
from crewq.stream import CrewStreamingOutput
from crewq.template import checked_inputs, require
from crewq.terminal import attend, somebody_is_there, watched
from crewq.terms import BudgetGiven, Terms, TermsGiven, check_timeout

Inputs = Mapping[str, Any]

LOOP_THREAD = "crewq-loop"


class Crew(CrewDescription):
    """Agents and the tasks they do, in order. It can be kicked off any number of times, also at the same time. Its fields
    are those of `crewq.description.CrewDescription`."""

    _latest: str | None = PrivateAttr(default=None)

    # -- one run -------------------------------------------------------------------------------------------

    @without(lacking.OF_A_KICKOFF)
    def kickoff(
        self,
        inputs: Inputs | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str = "",
        **terms: Unpack[TermsGiven],
    ) -> CrewOutput:
        """Run the crew and wait for its output. The run goes on should this process die: `crewq.Run(id)` finds it again.

        With `stream`, it returns at once, with a `CrewStreamingOutput`.

        Args:
            inputs: values of the `{placeholders}`.
            timeout: seconds after which the run ends failed, wherever it stands.
            idempotency_key: the same key, crew and inputs give the same run, however often this is called.
            terms: `tenant`, `priority`, `max_cost` (US dollars) and `max_tokens`; see `crewq.terms.TermsGiven`.

        Raises:
            UsageError: the crew or the inputs are wrong; nothing was started.
            StoreUnreachable: there is no Redis; nothing was started.
            RunFailed, RunCancelled: that is how it ended.
        """
        if threading.current_thread().name == LOOP_THREAD:
            raise errors.NestedKickoff
        run = self.start(inputs, timeout=timeout, idempotency_key=idempotency_key, **terms)
        output: Any = CrewStreamingOutput(run) if self.stream else watched(run, partial(self._wait_for, run))
        checked: CrewOutput = output  # what it is for all but the few that stream
        return checked

    @without(lacking.OF_A_KICKOFF)
    def kickoff_async(
        self,
        inputs: Inputs | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str = "",
        **terms: Unpack[TermsGiven],
    ) -> Run:
        """Start the crew and return at once: the handle of a run that is under way, to be awaited or not.

        Arguments and errors are those of `kickoff`; how the run ends is told when the handle is awaited. With `stream`, it
        gives a `CrewStreamingOutput`, and so does awaiting that, as CrewAI's code does.
        """
        run = self.start(inputs, timeout=timeout, idempotency_key=idempotency_key, **terms)
        started: Any = CrewStreamingOutput(run) if self.stream else run
        handle: Run = started  # as above
        return handle

    akickoff: ClassVar[Any] = kickoff_async

    def start(
        self,
        inputs: Inputs | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str = "",
        **terms: Unpack[TermsGiven],
    ) -> Run:
        """As `kickoff_async`, but the handle is that of the run whether it streams or not."""
        agreed = Terms(**terms)
        check_timeout(timeout)
        producer, spec = self._prepared()
        run = new_run(spec, self._values(spec, inputs), key=idempotency_key, terms=agreed)
        accepted = start_run(producer, spec, run, deadline=timeout or 0.0, terms=agreed)
        self._latest = accepted
        return self._run(accepted, producer, spec)

    # -- many runs -----------------------------------------------------------------------------------------

    @without(lacking.OF_A_KICKOFF)
    def kickoff_for_each(
        self,
        inputs: Iterable[Inputs],
        *,
        return_exceptions: bool = False,
        max_in_flight: int | None = None,
        idempotency_key: str = "",
        **terms: Unpack[TermsGiven],
    ) -> list[Any]:
        """Run the crew once for each of the inputs, side by side over all workers, and wait for all of them.

        Args:
            inputs: one mapping for each run: a list, or anything that gives them one by one.
            return_exceptions: True: the error of a run that did not complete stands in its place.
            max_in_flight: how many of the runs may be under way at once; default: a few for each slot of the workers.
            idempotency_key: the same key and crew give the same batch, however often this is called; a call whose
                process died half-way is gone on with.
            terms: as of `kickoff`; a budget is that of all the runs together.

        Raises:
            UsageError: the crew or one of the inputs is wrong; nothing was started.
            BatchFailed: some did not complete; has all results and errors with it.
        """
        batch = self.kickoff_for_each_async(
            inputs,
            return_exceptions=return_exceptions,
            max_in_flight=max_in_flight,
            idempotency_key=idempotency_key,
            **terms,
        )
        results: list[Any] = watched(batch, batch.results)
        return results

    @without(lacking.OF_A_KICKOFF)
    def kickoff_for_each_async(
        self,
        inputs: Iterable[Inputs],
        *,
        return_exceptions: bool = False,
        max_in_flight: int | None = None,
        idempotency_key: str = "",
        **terms: Unpack[TermsGiven],
    ) -> Batch:
        """Start the crew once for each of the inputs and return at once, with the handle of the batch."""
        if isinstance(inputs, Mapping) or not isinstance(inputs, Iterable):
            raise errors.InputsNotMapping(
                argument="inputs", wanted="a list of dicts, one for each run", type=type(inputs).__name__
            )
        agreed = Terms(**terms)
        producer, spec = self._prepared()
        values = self._values_of_each(spec, inputs)
        batch = start_batch(producer, spec, values, key=idempotency_key, window=max_in_flight, terms=agreed)
        return Batch(
            batch,
            producer,
            classes=self._classes(),
            finish=self._called_back,
            ended=self._logged,
            return_exceptions=return_exceptions,
        )

    akickoff_for_each: ClassVar[Any] = kickoff_for_each_async

    # -- again ---------------------------------------------------------------------------------------------

    def replay(
        self,
        task_id: str | uuid.UUID,
        inputs: Inputs | None = None,
        *,
        outputs: Mapping[str, str] | None = None,
    ) -> CrewOutput:
        """Run this crew again from one task of an earlier run, and wait: a new run, with that one as its parent.

        Tasks before it keep their outputs; it and what comes after it run again, as this crew has them now.

        Args:
            task_id: of any task of any run that is kept, or its beginning; or the `id` of one of this crew's `Task`
                objects, which means its latest run.
            inputs: None: those of the earlier run.
            outputs: texts to use instead of what tasks had put out, by task name or id.

        Raises:
            UnknownId, AmbiguousId: there is no such task.
            ReplayMismatch: this is not the crew that ran; tells the difference.
        """
        run = self.replay_async(task_id, inputs, outputs=outputs)
        output: CrewOutput = watched(run, run.result)
        return output

    def replay_async(
        self, task_id: str | uuid.UUID, inputs: Inputs | None = None, *, outputs: Mapping[str, str] | None = None
    ) -> Run:
        """As `replay`, but returns at once, with the handle of the new run."""
        producer, spec = self._prepared()
        job = self._own_task(str(task_id)) or find_task(producer, str(task_id))
        values = None if inputs is None else self._values(spec, inputs)
        run, _ = start_replay(producer, job, spec, values, outputs)
        self._latest = run
        return self._run(run, producer, spec)

    def resume(
        self, run_id: str, *, call_in_doubt: Literal["retry", "skip"] | None = None, **budget: Unpack[BudgetGiven]
    ) -> CrewOutput:
        """Let a run of this crew that failed, was cancelled or is paused go on where it stopped, and wait.

        Tasks that have ended stay as they are. If this crew is not the one that the run was started with any more, its
        field `on_change` says what happens.

        Args:
            run_id: of the run, or its beginning.
            call_in_doubt: what becomes of a call of a tool that is not idempotent and was at work when its worker died:
                make it again, or go on without it.
            budget: a new one, `max_cost` (US dollars) or `max_tokens`; default: as it is.

        Raises:
            UnknownId, AmbiguousId: there is no such run.
            NotNow: it is under way, has completed, or has a call in doubt and nothing was decided.
            ReplayMismatch: this is not the crew that ran, and it cannot or may not be gone on with.
        """
        producer, today = self._prepared()
        record = producer.store.runs.read(find(producer, run_id, "run"))
        stored = producer.store.runs.spec(record.spec)
        spec = spec_to_resume_with(record, stored, today, self.on_change)
        run = self._run(record.id, producer, spec or stored)
        run.resume(call_in_doubt=call_in_doubt, spec=spec, **budget)
        output: CrewOutput = watched(run, run.result)
        return output

    def _own_task(self, given: str) -> Job | None:
        for at, task in enumerate(self.tasks):
            if str(task.id) == given:
                if self._latest is None:
                    raise errors.UnknownId(kind="run", id=f"of task {given}", where="this crew object")
                return Job(self._latest, at + self._first)
        return None

    # -- what CrewAI's has besides -------------------------------------------------------------------------

    @classmethod
    def from_checkpoint(cls, *_: Any, **__: Any) -> NoReturn:
        """CrewAI's; crewq goes on with a run by `resume`."""
        raise cls.lacking("from_checkpoint")

    @classmethod
    def fork(cls, *_: Any, **__: Any) -> NoReturn:
        """CrewAI's; crewq begins another run in the middle of one that was by `replay`."""
        raise cls.lacking("fork")

    def calculate_usage_metrics(self) -> UsageMetrics:
        """What the latest run of this crew that was waited for has used."""
        return self.usage_metrics or UsageMetrics()

    @property
    def token_usage(self) -> UsageMetrics | None:
        """The same; None: there is none yet."""
        return self.usage_metrics

    def copy(self, **_: Any) -> Self:
        """A crew of copies of its agents and tasks, to be changed by itself. Runs share nothing, so they need none."""
        copied = super().copy()
        copied._latest = None
        return copied

    # -- the way of a kickoff ------------------------------------------------------------------------------

    def _prepared(self) -> tuple[Producer, CrewSpec]:
        producer = connect()
        spec = freeze(self._plan(), producer.given)
        if producer.lend:
            producer.lend(modules_of(spec), lent_keys(self._plan(), spec))
        return producer, spec

    def _values(self, spec: CrewSpec, inputs: Inputs | None) -> dict[str, Any]:
        values = checked_inputs(inputs)
        for callback in self.before_kickoff_callbacks:
            changed = callback(values)
            values = checked_inputs(values if changed is None else changed)
        require(spec.name, templates(spec), values)
        return values

    def _values_of_each(self, spec: CrewSpec, inputs: Iterable[Inputs]) -> Iterator[dict[str, Any]]:
        for at, one in enumerate(inputs):
            try:
                yield self._values(spec, one)
            except errors.InputError as error:
                raise error.of_item(at) from None

    def _classes(self) -> dict[int, type[BaseModel]]:
        return {at: task.output_pydantic for at, task in enumerate(self.tasks, self._first) if task.output_pydantic}

    def _run(self, run: str, producer: Producer, spec: CrewSpec) -> Run:
        return Run(run, producer, classes=self._classes(), finish=self._finished, ended=partial(self._noted, spec))

    def _noted(self, spec: CrewSpec, record: RunRecord) -> None:
        """Fill in what became of its tasks in a run that has ended, however it did."""
        outputs = [None if one.key == PLAN_KEY else one.output for one in record.tasks]
        for task, done in zip(self.tasks, record.tasks[self._first :], strict=False):
            given = [output.raw for at in spec.tasks[done.index].context if (output := outputs[at]) and output.raw]
            task.prompt_context = CONTEXT_DIVIDER.join(given)
            task.start_time, task.end_time, task.output = done.started, done.ended, done.output
        self._logged(record)

    def _logged(self, record: RunRecord) -> None:
        if self.output_log_file:
            append(self.output_log_file, record)

    def _wait_for(self, run: Run) -> CrewOutput:
        """Wait for a run: whoever wants to hear of it is told, and a person at a terminal asked what its tasks ask."""
        loud = [at for at, task in enumerate(self.tasks, self._first) if task.agent and task.agent.verbose]
        told_of = range(len(self.tasks) + self._first) if self.verbose else loud
        asks = any(task.human_input for task in self.tasks) and somebody_is_there()
        return attend(run, asks=asks, told_of=told_of) if asks or told_of else run.result()

    def _finished(self, output: CrewOutput) -> CrewOutput:
        """Fill in what CrewAI fills in on the objects, and call the callbacks that come after."""
        for task, done in zip(self.tasks, output.tasks_output, strict=False):
            task.output = done
        self.usage_metrics = output.token_usage
        return self._called_back(output)

    def _called_back(self, output: CrewOutput) -> CrewOutput:
        for callback in self.after_kickoff_callbacks:
            changed = callback(output)
            output = output if changed is None else changed
        return output


__all__ = ["Crew"]
