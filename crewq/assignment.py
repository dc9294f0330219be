"""One task as a worker takes it up: what was stored, made ready for the agent; and the agent set to work on it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

from crewq import errors
from crewq.agent import Brief, Delegation, OnStep, Step, delegation_tools, perform, planned
from crewq.budgets import Budget, budget_of
from crewq.calls import Attempt
from crewq.checks import checks_of, is_wanted, typed
from crewq.equipment import Post, as_coworker, equipped, filled, man
from crewq.host import Host
from crewq.model import Message
from crewq.output_files import write_output
from crewq.outputs import CONTEXT_DIVIDER, TaskOutput
from crewq.references import is_function
from crewq.spec import PLAN_KEY, AgentSpec, CrewSpec, TaskSpec
from crewq.store import Claim, Job


@dataclass(frozen=True)
class Assignment:
    """A claimed task with everything that the agent needs, its templates filled in."""

    job: Job
    attempt: int
    crew: CrewSpec
    brief: Brief
    before: TaskOutput  # of the task just before it, for its condition
    post: Post
    coworkers: tuple[Post, ...]  # whom its agent can give work to
    seconds: float | None  # until the first of its limits is reached
    limit: str  # which limit that is
    named: Callable[[str], str]  # what the digests of its calls are called in the journal
    daily: Budget | None  # what its tenant may spend today; None: no budget stands over it, neither that nor the run's


# -- load --------------------------------------------------------------------------------------------------


def load(host: Host, job: Job, claim: Claim) -> Assignment:
    """Make a claimed task ready.

    Raises:
        ReferenceRefused, ToolBroken, SandboxUnavailable: this worker cannot do it.
    """
    crew = host.spec(claim.spec)
    task = filled(crew.tasks[job.index], claim.inputs, "description", "expected_output", "output_file")
    post = man(host, crew, task.agent, claim.inputs, task)
    coworkers = tuple(man(host, crew, at, claim.inputs) for at in task.coworkers)
    seconds, limit = _time_left(post.agent, claim)
    brief = Brief(agent=post.agent, task=task, context=_context(crew, task, claim), today=_first_day(claim))
    before = claim.context.get(-1 if task.before is None else task.before, TaskOutput())
    daily = budget_of(claim.tenant, host.settings.budgets)
    budget = daily if daily or claim.has_budget else None
    return Assignment(job, claim.attempt, crew, brief, before, post, coworkers, seconds, limit, claim.named, budget)


def _context(crew: CrewSpec, task: TaskSpec, claim: Claim) -> str:
    outputs = {at: claim.context[at].raw for at in task.context if at in claim.context}
    plan = [planned(outputs.pop(at), task.label) for at in list(outputs) if crew.tasks[at].key == PLAN_KEY]
    return CONTEXT_DIVIDER.join(filter(None, (*plan, *outputs.values())))  # a task that was skipped has no text


def _first_day(claim: Claim) -> date:
    """The day the run was accepted: a prompt that tells the date is the same in every attempt."""
    return claim.created.date()


def _time_left(agent: AgentSpec, claim: Claim) -> tuple[float | None, str]:
    left = {"max_execution_time": agent.max_execution_time} if agent.max_execution_time else {}
    if claim.seconds_left is not None:
        left["timeout of the kickoff"] = claim.seconds_left
    if not left:
        return None, ""
    name = min(left, key=lambda limit: left[limit])
    return left[name], name


# -- work --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """The task has its output; `skipped`: its condition said that it is not needed."""

    output: TaskOutput
    messages: list[Message]
    skipped: bool = False


async def carry_out(host: Host, assignment: Assignment) -> Done:
    """Have the agent do the task, within its time; then its output is written and its callbacks are called.

    Raises:
        PersonNeeded: a person decides how it goes on.
        CrewqError: it failed.
        TimeExceeded: a limit was reached.
    """
    try:
        async with asyncio.timeout(assignment.seconds):
            return await _carry_out(host, assignment)
    except TimeoutError as error:
        if isinstance(error, errors.CrewqError):
            raise
        raise errors.TimeExceeded(seconds=assignment.seconds, limit=assignment.limit) from error


async def _carry_out(host: Host, assignment: Assignment) -> Done:
    attempt = Attempt(
        host.store.journal,
        host.keep,
        assignment.job,
        assignment.attempt,
        host.store_threads,
        named=assignment.named,
        daily=assignment.daily,
    )
    callbacks = Callbacks(host, assignment, attempt)
    brief, post = assignment.brief, assignment.post
    if not await is_wanted(host, attempt, assignment.crew, brief.task, assignment.before):
        return Done(brief.skipped(), [], skipped=True)
    coworkers = [as_coworker(host, one, attempt, callbacks.step_of(one.agent)) for one in assignment.coworkers]
    more = delegation_tools(brief, coworkers)
    async with equipped(host, post, attempt, callbacks.step_of(post.agent), brief.task.description, more) as given:
        brief = replace(brief, remembered=given.remembered)
        checks = checks_of(host, attempt, brief, given.model)
        answer = await perform(brief, given.model, given.toolbox, given.on_step, given.on_token, checks)
        output = _with_coworkers(answer.output, more)
        await _written(host, brief.task, output)
        await callbacks.task(output.model_copy(update={"messages": answer.messages}))
    return Done(output, answer.messages)


def _with_coworkers(output: TaskOutput, tools: Iterable[Delegation]) -> TaskOutput:
    """An output, with those who did a piece of the work."""
    roles = tuple(role for tool in tools for role in tool.given_to)
    return (
        output.model_copy(update={"effort": output.effort.model_copy(update={"coworkers": roles})}) if roles else output
    )


async def _written(host: Host, task: TaskSpec, output: TaskOutput) -> None:
    if task.output_file:
        write = partial(write_output, host.settings.output_dir, task.output_file, output, task.create_directory)
        await asyncio.get_running_loop().run_in_executor(host.tool_threads, write)


class Callbacks:
    """The user's functions that are told of steps and of the output. One that fails is reported, and costs nothing else."""

    def __init__(self, host: Host, assignment: Assignment, attempt: Attempt) -> None:
        self._host = host
        self._assignment = assignment
        self._attempt = attempt
        self._steps: list[Future[Any]] = []

    def step_of(self, agent: AgentSpec) -> OnStep:
        """What tells the step_callbacks of an agent's step, without holding the agent up."""
        references = dict.fromkeys(filter(None, (agent.step_callback, self._assignment.crew.step_callback)))

        def tell(step: Step) -> None:
            if not self._attempt.fresh.is_set():
                return  # an earlier attempt has got as far, and told
            for reference in references:
                self._steps.append(self._host.tool_threads.submit(self._guarded, reference, lambda: step))

        return tell

    async def task(self, output: TaskOutput) -> None:
        """Tell the task's callback and the crew's, once: what was told before a crash is not told again."""
        await asyncio.gather(*map(asyncio.wrap_future, self._steps))
        task, crew = self._assignment.brief.task, self._assignment.crew
        for reference in dict.fromkeys(filter(None, (*task.callbacks, crew.task_callback))):
            call = self._attempt.call("tool", f"callback {reference}", reference)
            await self._attempt.make(call, partial(self._tell, reference, output, task.output_class), write=str)

    async def _tell(self, reference: str, output: TaskOutput, output_class: str | None) -> str:
        shown = partial(typed, self._host, output, output_class)
        loop = asyncio.get_running_loop()
        waiting = await loop.run_in_executor(self._host.tool_threads, self._guarded, reference, shown)
        if inspect.isawaitable(waiting):
            try:
                await waiting
            except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
                self._report(reference, error)
        return "told"

    def _guarded(self, reference: str, about: Callable[[], Step | TaskOutput]) -> Any:
        try:
            function = self._host.settings.imports.resolve(reference, is_function, "a function")
            return function(about())
        except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
            return self._report(reference, error)

    def _report(self, reference: str, error: Exception) -> None:
        reason = f"the callback {reference} failed: {self._host.hide(errors.explain(error))}"
        self._host.store.runs.warn(self._assignment.job, reason)


__all__ = ["Assignment", "Callbacks", "Done", "carry_out", "load"]
