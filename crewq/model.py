"""What is asked of a model and what it answers: the seam between the agent loop and whoever answers it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from abc import ABC
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from crewq.outputs import Text, UsageMetrics

Message: TypeAlias = dict[str, Any]  # a message in the form of OpenAI's chat API
OnToken: TypeAlias = Callable[[str], None]

# The options that say how long to wait, and nothing of what is asked: seconds in all, until the provider is reached, until
# the answer begins, and between two pieces of it.
DEADLINES = ("timeout", "connect_timeout", "first_byte_timeout", "idle_timeout")


class ToolCall(BaseModel):
    """A tool that the model asks for; `arguments` is the JSON text as the model wrote it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Text
    name: Text
    arguments: Text = "{}"


class ModelRequest(BaseModel):
    """One question to a model.

    Fields:
        model: the model's name, as litellm takes it.
        messages: the conversation so far, in the form of OpenAI's chat API.
        tools: the tools it may call, likewise.
        options: temperature, max_tokens and the like; passed on as they are.
        answer_schema: a JSON schema that the answer must fit, for models that can be held to one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    answer_schema: dict[str, Any] | None = None

    def digest(self) -> str:
        """What identifies this question: the same one asked again, with however much patience, has the same digest."""
        asked = self.model_dump()
        asked["options"] = {name: value for name, value in self.options.items() if name not in DEADLINES}
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class ModelAnswer(BaseModel):
    """What a model said: a text, tool calls, or both; and what that used. `answered_by` names the model where it is another
    than the one that was asked: a fallback behind a recording."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    text: Text = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    usage: UsageMetrics = Field(default_factory=UsageMetrics)
    answered_by: str = ""


class Features(BaseModel):
    """What a model can do."""

    model_config = ConfigDict(frozen=True)

    native_tools: bool = True
    answer_schema: bool = False
    context_window: int | None = None  # tokens; None: not known


class Model(Protocol):
    """Whoever answers: litellm, a scripted stand-in, or one of these wrapped in a journal."""

    def features(self) -> Features:
        """What it can do."""
        ...

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """Answer `request`.

        Args:
            request: the question.
            on_token: called with each piece of the answer's text as it comes, if the model streams.

        Raises:
            ModelError: it did not answer; says of which kind the failure is, and whether to try again.
        """
        ...


class BaseLLM(BaseModel, ABC):
    """A model of your own, with CrewAI's name for it: subclass it at the top level of a module and give it a `call`.

    It travels to a worker as a reference to its class together with its fields, which must be plain values.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = "custom"

    def features(self) -> Features:
        """What it can do; override it to say otherwise."""
        return Features()

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What a call costs in US dollars; None: nobody knows. Override it for runs with a budget of dollars."""
        return None

    def call(self, messages: list[Message], tools: list[dict[str, Any]] | None = None) -> str | ModelAnswer:
        """Answer the conversation: a text, or a `ModelAnswer` with tool calls and usage. Runs in a thread."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a method `call(messages, tools)` or `complete(request)`."
        )

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """Answer `request`; override it instead of `call` for a model that is asynchronous itself."""
        answer = await asyncio.to_thread(self.call, list(request.messages), list(request.tools) or None)
        return answer if isinstance(answer, ModelAnswer) else ModelAnswer(text=answer)


class Front(BaseLLM):
    """A model that stands before another one, which it asks what it cannot answer itself.

    Fields:
        of: the model behind it, as a crew's spec has it. It travels beside the other fields, for the worker to build it.
    """

    of: Any = Field(exclude=True)

    _build: Callable[[], Model] | None = PrivateAttr(default=None)

    def stand_before(self, build: Callable[[], Model]) -> None:
        """Be told, in a worker, how to build the model behind it: once it is needed, as that may take seconds."""
        self._build = build


__all__ = [
    "DEADLINES",
    "BaseLLM",
    "Features",
    "Front",
    "Message",
    "Model",
    "ModelAnswer",
    "ModelRequest",
    "OnToken",
    "ToolCall",
]
