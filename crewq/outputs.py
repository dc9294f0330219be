"""What a task and a crew give back, with CrewAI's names, and what it cost."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializeAsAny

from crewq import errors

SUMMARY_WORDS = 10
CONTEXT_DIVIDER = "\n\n----------\n\n"  # between the outputs that a task is given
HALF = re.compile("[\ud800-\udfff]")  # of a pair of surrogates: JSON can say it, and no Unicode text can hold it


def sound(text: str) -> str:
    """A model's or a tool's text as it can be kept and sent: each half of a character becomes the sign for what is none."""
    return text if text.isascii() else HALF.sub("\N{REPLACEMENT CHARACTER}", text)


def sound_json(value: Any) -> Any:
    """Likewise a value of JSON's, with all the texts in it."""
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, list):
        return [sound_json(item) for item in value]
    if isinstance(value, dict):
        return {sound_json(key): sound_json(item) for key, item in value.items()}
    return value


Text: TypeAlias = Annotated[str, AfterValidator(sound)]


class UsageMetrics(BaseModel):
    """Tokens, requests and money. Unlike CrewAI's, each call is counted once, and money is counted at all.

    `cost` is in US dollars. It sums the calls whose price is known; `unpriced_requests` counts the others, so that an
    unknown price is never taken for nothing.
    """

    model_config = ConfigDict(extra="ignore")

    total_tokens: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cache_creation_tokens: int = 0
    successful_requests: int = 0
    cost: float = 0.0
    unpriced_requests: int = 0

    def __add__(self, other: UsageMetrics) -> UsageMetrics:
        return UsageMetrics(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})

    def add_usage_metrics(self, other: UsageMetrics) -> None:
        """Add `other` to this one in place (CrewAI's name for it)."""
        for name, value in (self + other).model_dump().items():
            setattr(self, name, value)

    def delta_since(self, earlier: UsageMetrics) -> UsageMetrics:
        """What was used since `earlier` (CrewAI's name for it)."""
        return UsageMetrics(**{name: getattr(self, name) - getattr(earlier, name) for name in type(self).model_fields})

    @property
    def cost_known(self) -> bool:
        """Whether the price of every call is known."""
        return self.unpriced_requests == 0


FailureReason = Literal[
    "tool_reported", "exception", "mcp_error", "usage_limit", "unknown_tool", "invalid_input", "repeated_call"
]


class ToolFailure(BaseModel):
    """Why a call of a tool came to nothing (CrewAI's names). A tool that returns one has failed, as if it had raised.

    Fields:
        message: what went wrong.
        reason: which kind of failure it is. What a tool raised is an `exception`, and so is what it returned as a failure.
        code: what the system behind the tool calls it, where the tool says so.
        retryable: whether the same call may do better later; likewise.
        details: more about it; likewise.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    message: Text
    reason: FailureReason = "tool_reported"
    code: str | None = None
    retryable: bool = False
    details: dict[str, Any] = Field(default_factory=dict)

    def as_agent_message(self) -> str:
        """The failure in the words that a model is told."""
        return f"{self.message} (code: {self.code})" if self.code else self.message


class ToolFailureRecord(BaseModel):
    """A call of a tool that came to nothing: which one, and whose (CrewAI's names). `tool_args` are as the model wrote them."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    tool_name: Text
    failure: ToolFailure
    tool_args: Text | None = None
    agent_role: str | None = None
    task_name: str | None = None
    task_id: str | None = None

    @property
    def message(self) -> str:
        """What went wrong."""
        return self.failure.message

    def summary(self) -> str:
        """It in one line."""
        during = f" during {self.task_name!r}" if self.task_name else ""
        return f"Tool {self.tool_name!r} failed{during}: {self.failure.as_agent_message()}"


class Effort(BaseModel):
    """What an agent did on the way to an output.

    Fields:
        used_tools: how often it called each of its tools, by name.
        refusals: how many of its answers guardrails refused.
        coworkers: the roles of those who did a piece of the work for it, one for each piece.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    used_tools: dict[str, int] = Field(default_factory=dict)
    refusals: int = 0
    coworkers: tuple[str, ...] = ()


OutputFormat = Literal["raw", "json", "pydantic"]


class TaskOutput(BaseModel):
    """The output of one task. `str()` of it is its pydantic object, else its JSON, else its text, as in CrewAI.

    Fields, beside CrewAI's own meaning:
        tool_failures: the calls of its agent's tools that came to nothing, the first fifty of them.
        effort: what its agent did on the way to it. This field is crewq's own.
    """

    model_config = ConfigDict(extra="ignore")

    description: str = ""
    name: str | None = None
    expected_output: str | None = None
    summary: str | None = None
    raw: Text = ""
    pydantic: SerializeAsAny[BaseModel] | None = None
    json_dict: Annotated[dict[str, Any] | None, AfterValidator(sound_json)] = None
    agent: str = ""
    output_format: OutputFormat = "raw"
    messages: list[dict[str, Any]] = Field(default_factory=list)
    tool_failures: list[ToolFailureRecord] = Field(default_factory=list)
    effort: Effort = Field(default_factory=Effort, repr=False)

    @property
    def has_tool_failures(self) -> bool:
        """Whether a call of a tool came to nothing."""
        return bool(self.tool_failures)

    def digest(self, *before: str) -> str:
        """What identifies an output that somebody is asked about, and the texts `before` it: not how it came about, so that
        who was asked by an earlier version is not asked again."""
        text = self.model_dump_json(exclude={"tool_failures", "effort"})
        return hashlib.sha256("\0".join((*before, text)).encode()).hexdigest()[:32]

    def model_post_init(self, context: Any) -> None:
        """Fill the summary with the first words of the description, as CrewAI does."""
        if self.summary is None:
            self.summary = " ".join(self.description.split()[:SUMMARY_WORDS]) + "..."

    @property
    def json(self) -> str | None:  # type: ignore[override]  # CrewAI's name; pydantic's own `json()` is deprecated
        """The JSON text of an `output_json` task.

        Raises:
            ValueError: the task was not one.
        """
        if self.output_format != "json":
            raise errors.UsageError(
                reason="This task has no JSON output: give it one with Task(output_json=YourModel)."
            )
        return json.dumps(self.json_dict, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """The structured output as a dict; empty for plain text."""
        if self.json_dict:
            return dict(self.json_dict)
        return self.pydantic.model_dump() if self.pydantic else {}

    def typed(self, model: type[BaseModel]) -> Self:
        """This output with its JSON as an instance of the caller's own class.

        Raises:
            pydantic.ValidationError: the class holds a rule that its JSON schema could not carry to the worker.
        """
        return self.model_copy(update={"pydantic": model.model_validate(self.json_dict), "json_dict": None})

    def __str__(self) -> str:
        if self.pydantic is not None:
            return str(self.pydantic)
        return json.dumps(self.json_dict, ensure_ascii=False) if self.json_dict is not None else self.raw


class CrewOutput(BaseModel):
    """The output of a crew: that of its last task, all its tasks' outputs, and what the run used."""

    model_config = ConfigDict(extra="ignore")

    raw: str = ""
    pydantic: SerializeAsAny[BaseModel] | None = None
    json_dict: dict[str, Any] | None = None
    tasks_output: list[TaskOutput] = Field(default_factory=list)
    token_usage: UsageMetrics = Field(default_factory=UsageMetrics)
    run_id: str = ""

    @classmethod
    def of(cls, outputs: list[TaskOutput], usage: UsageMetrics, run_id: str) -> CrewOutput:
        """The crew's output from its tasks': the last one with any text is the result, as in CrewAI."""
        last = next((output for output in reversed(outputs) if output.raw), outputs[-1])
        return cls(
            raw=last.raw,
            pydantic=last.pydantic,
            json_dict=last.json_dict,
            tasks_output=outputs,
            token_usage=usage,
            run_id=run_id,
        )

    @property
    def json(self) -> str | None:  # type: ignore[override]
        """The JSON text of the last task, if it was an `output_json` task.

        Raises:
            ValueError: it was not.
        """
        if not self.tasks_output or self.tasks_output[-1].output_format != "json":
            raise errors.UsageError(
                reason="The last task has no JSON output: give it one with Task(output_json=YourModel)."
            )
        return json.dumps(self.json_dict, ensure_ascii=False)

    @property
    def tool_failures(self) -> list[ToolFailureRecord]:
        """The calls of tools that came to nothing, of all tasks."""
        return [failure for task in self.tasks_output for failure in task.tool_failures]

    @property
    def has_tool_failures(self) -> bool:
        """Whether there is one."""
        return bool(self.tool_failures)

    @property
    def usage_metrics(self) -> dict[str, Any]:
        """`token_usage` as a dict."""
        return self.token_usage.model_dump()

    def to_dict(self) -> dict[str, Any]:
        """The structured output as a dict; empty for plain text."""
        if self.json_dict:
            return dict(self.json_dict)
        return self.pydantic.model_dump() if self.pydantic else {}

    def __getitem__(self, key: str) -> Any:
        found = self.to_dict()
        if key not in found:
            raise KeyError(f"The crew's output has no {key!r}; it has: {', '.join(found) or 'only text (use .raw)'}.")
        return found[key]

    def __str__(self) -> str:
        if self.pydantic is not None:
            return str(self.pydantic)
        return json.dumps(self.json_dict, ensure_ascii=False) if self.json_dict is not None else self.raw


class LiteAgentOutput(BaseModel):
    """The answer of an agent that was kicked off by itself, and what that used."""

    model_config = ConfigDict(extra="ignore")

    raw: str = ""
    pydantic: SerializeAsAny[BaseModel] | None = None
    agent_role: str = ""
    usage_metrics: dict[str, Any] | None = None
    messages: list[dict[str, Any]] = Field(default_factory=list)
    tool_failures: list[ToolFailureRecord] = Field(default_factory=list)
    run_id: str = ""

    @property
    def has_tool_failures(self) -> bool:
        """Whether a call of a tool came to nothing."""
        return bool(self.tool_failures)

    @property
    def token_usage(self) -> UsageMetrics:
        """`usage_metrics`, with names."""
        return UsageMetrics(**self.usage_metrics or {})

    def to_dict(self) -> dict[str, Any]:
        """The structured answer as a dict; empty for plain text."""
        return self.pydantic.model_dump() if self.pydantic else {}

    def __str__(self) -> str:
        return self.raw


__all__ = [
    "CONTEXT_DIVIDER",
    "CrewOutput",
    "Effort",
    "FailureReason",
    "LiteAgentOutput",
    "OutputFormat",
    "TaskOutput",
    "Text",
    "ToolFailure",
    "ToolFailureRecord",
    "UsageMetrics",
    "sound",
    "sound_json",
]
