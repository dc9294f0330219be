"""What must hold of an answer beyond its form: what the user's functions say of it, and what the model itself does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict

from crewq import errors
from crewq.agent import prompts
from crewq.agent.brief import Brief
from crewq.agent.loop import perform
from crewq.agent.review import Refused, fitting
from crewq.agent.toolbox import Toolbox
from crewq.model import Model
from crewq.outputs import TaskOutput
from crewq.spec import AgentSpec, TaskSpec
from crewq.tools import BaseTool


class Verdict(BaseModel):
    """What a guardrail says of an answer.

    Fields:
        accepted: whether the answer may stand.
        feedback: what is wrong with it, if it may not.
        raw: a text in the place of the answer's.
        output: an output in the place of the whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: bool
    feedback: str = ""
    raw: str | None = None
    output: TaskOutput | None = None


Judge: TypeAlias = Callable[[TaskOutput], Awaitable[Verdict]]

VERDICT: Final[dict[str, Any]] = {
    "title": "Verdict",
    "type": "object",
    "properties": {"accepted": {"type": "boolean"}, "feedback": {"type": "string"}},
    "required": ["accepted", "feedback"],
    "additionalProperties": False,
}


class Guardrails:
    """The guardrails of one task, as one check: each answer goes through all of them, in order.

    Each refuses up to `guardrail_max_retries` answers in a row; an answer that all accept sets the counts back.

    Args:
        brief: the task.
        judges: who speaks for each guardrail, by what a person knows it by.
    """

    def __init__(self, brief: Brief, judges: Mapping[str, Judge]) -> None:
        self._brief = brief
        self._judges = judges
        self._refusals: Counter[str] = Counter()

    async def __call__(self, output: TaskOutput) -> TaskOutput:
        """The output that all accept: as it was, or as they changed it.

        Raises:
            Refused: one refuses it, and the agent may try again.
            GuardrailFailed: one refuses it once too often.
            FunctionBroken: one failed itself.
            ModelError: the model could not judge it.
        """
        for name, judge in self._judges.items():
            verdict = await judge(output)
            if not verdict.accepted:
                raise self._refusal(name, verdict.feedback)
            output = self._changed(name, output, verdict)
        self._refusals.clear()
        return output

    def _refusal(self, name: str, feedback: str) -> Exception:
        self._refusals[name] += 1
        if self._refusals[name] <= self._brief.task.guardrail_max_retries:
            return Refused(prompts.refused(feedback))
        return errors.GuardrailFailed(guardrail=name, tries=self._refusals[name], message=feedback)

    def _changed(self, name: str, output: TaskOutput, verdict: Verdict) -> TaskOutput:
        if verdict.output is not None:
            return verdict.output
        if verdict.raw is None:
            return output
        return output.model_copy(update={"raw": verdict.raw, "json_dict": self._value(name, verdict.raw)})

    def _value(self, name: str, text: str) -> Any:
        schema = self._brief.task.output_schema
        if schema is None:
            return None
        value, problems = fitting(text, schema)
        if problems:
            reason = f"the text that it returned does not fit the schema of the task: {'; '.join(problems)}"
            raise errors.FunctionBroken(kind="guardrail", function=name, reason=reason)
        return value


def judged_by(model: Model, criterion: str, brief: Brief) -> Judge:
    """The agent's own model as a judge of its answers: a small task of its own, whose answer is the verdict."""
    own = brief.agent
    judge = AgentSpec(
        role="a strict and fair judge of other people's work",
        goal="a verdict that holds, and feedback that helps",
        backstory="You look only at what is there, and you judge by the criterion that you are given and by no other.",
        llm=own.llm,
        use_system_prompt=own.use_system_prompt,
        respect_context_window=own.respect_context_window,
    )

    async def judged(output: TaskOutput) -> Verdict:
        words = prompts.judging(criterion, brief.task.description, output.raw)
        task = TaskSpec(key="guardrail", description=words, agent=0, output_schema=VERDICT)
        answer = await perform(Brief(agent=judge, task=task), model, Toolbox((), _no_tool))
        return Verdict.model_validate(answer.output.json_dict)

    return judged


async def _no_tool(tool: BaseTool, arguments: dict[str, Any]) -> str:
    raise NotImplementedError(tool.public_name)  # a judge has none


__all__ = ["VERDICT", "Guardrails", "Judge", "Verdict", "judged_by"]
