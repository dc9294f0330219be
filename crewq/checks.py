"""Who decides about a task besides its agent: its condition, its guardrails, and a person. All they say is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import ValidationError

from crewq import errors
from crewq.agent import Brief, Check, Guardrails, Judge, Unfit, Verdict, call_in, judged_by, prompts
from crewq.calls import Attempt
from crewq.host import Host
from crewq.model import Model
from crewq.outputs import TaskOutput
from crewq.references import is_function, is_model_class
from crewq.spec import CrewSpec, TaskSpec

ACCEPTED = ("", "ok")  # what a person says to an answer that will do


# -- before the agent begins -------------------------------------------------------------------------------


async def is_wanted(host: Host, attempt: Attempt, crew: CrewSpec, task: TaskSpec, before: TaskOutput) -> bool:
    """Whether a task is to be done: what its condition says of the output before it, in every attempt the same.

    Raises:
        ReferenceRefused: this worker may not load the condition.
        FunctionBroken: it failed.
    """
    if task.condition is None or task.before is None:
        return True
    function, output_class = task.condition, crew.tasks[task.before].output_class

    async def ask() -> str:
        return str(bool(await _said(host, "condition", function, before, output_class)))

    return await _once(attempt, "condition", function, before, ask) == str(True)


# -- after it has an answer --------------------------------------------------------------------------------


def checks_of(host: Host, attempt: Attempt, brief: Brief, model: Model) -> list[Check]:
    """Who must accept the answer, one after another: first the guardrails, then a person."""
    checks: list[Check] = []
    if brief.task.guardrails:
        checks.append(Guardrails(brief, dict(_judges(host, attempt, brief, model))))
    if brief.task.human_input:
        checks.append(_person(attempt))
    return checks


def _judges(host: Host, attempt: Attempt, brief: Brief, model: Model) -> list[tuple[str, Judge]]:
    judges: list[tuple[str, Judge]] = []
    for spec in brief.task.guardrails:
        if spec.function is not None:
            judges.append((spec.function, _judge(host, attempt, spec.function, brief.task.output_class)))
        elif spec.criterion is not None:
            judges.append((repr(spec.criterion), judged_by(model, spec.criterion, brief)))
    return judges


def _judge(host: Host, attempt: Attempt, function: str, output_class: str | None) -> Judge:
    """A function of the user's as a judge: called once for each answer, whatever happens to the worker."""

    async def judge(output: TaskOutput) -> Verdict:
        async def ask() -> str:
            said = await _said(host, "guardrail", function, output, output_class)
            return _verdict(function, said).model_dump_json(exclude_defaults=True)

        return Verdict.model_validate_json(await _once(attempt, "guardrail", function, output, ask))

    return judge


def _verdict(function: str, said: Any) -> Verdict:
    match said:
        case (True, str(raw)):
            return Verdict(accepted=True, raw=raw)
        case (True, TaskOutput() as output):
            return Verdict(accepted=True, output=_portable(output))
        case (True, _):
            return Verdict(accepted=True)
        case (False, message):
            return Verdict(accepted=False, feedback=str(message))
    reason = f"it returned {repr(said)[:80]} and not a pair: (True, the output) or (False, what is wrong with it)."
    raise errors.FunctionBroken(kind="guardrail", function=function, reason=reason)


def _portable(output: TaskOutput) -> TaskOutput:
    if output.pydantic is None:
        return output
    return output.model_copy(update={"json_dict": output.pydantic.model_dump(mode="json"), "pydantic": None})


def _person(attempt: Attempt) -> Check:
    async def check(output: TaskOutput) -> TaskOutput:
        said = await attempt.ask_person(output)
        if said.strip().lower() not in ACCEPTED:
            raise Unfit(prompts.feedback(said))
        return output

    return check


# -- functions of the user's -------------------------------------------------------------------------------


async def _once(
    attempt: Attempt, kind: str, function: str, about: TaskOutput, ask: Callable[[], Awaitable[str]]
) -> str:
    """What a function says of an output, asked once. Its digest tells the store what may be asked again on a resume."""
    call = attempt.call("tool", f"{kind} {function}", f"{kind}-{about.digest(function)}")
    said, _ = await attempt.make(call, ask, write=str)
    return said


async def _said(host: Host, kind: str, function: str, about: TaskOutput, output_class: str | None) -> Any:
    def ask() -> Any:
        found = host.settings.imports.resolve(function, is_function, "a function")
        return found(typed(host, about.model_copy(deep=True), output_class))  # its own: it may change it

    try:
        return await call_in(host.tool_threads, ask)
    except errors.ReferenceRefused:
        raise
    except Exception as error:  # whatever the user's own code raises
        reason = f"it raised {errors.explain(error)}"
        raise errors.FunctionBroken(kind=kind, function=function, reason=reason) from error


def typed(host: Host, output: TaskOutput, output_class: str | None) -> TaskOutput:
    """An output as a function of the user's is shown it: with an object of the class that the task names, if this worker
    may load that and the answer fits its own rules too; else with the JSON of it."""
    if output_class is None or output.json_dict is None:
        return output
    try:
        return output.typed(host.settings.imports.resolve(output_class, is_model_class, "a class of pydantic's models"))
    except (errors.ReferenceRefused, ValidationError):
        return output


__all__ = ["checks_of", "is_wanted", "typed"]
