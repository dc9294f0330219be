"""What is asked of a model and what it answers: the seam between the agent loop and whoever answers it."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from crewq.outputs import Text, UsageMetrics

Message: TypeAlias = dict[str, Any]  # a message in the form of OpenAI's chat API
OnToken: TypeAlias = Callable[[str], None]

# The options that say how long to wait, and nothing of what is asked: seconds in all, until the provider is reached, until
# the answer begins, and between two pieces of it.
DEADLINES = ("timeout", "connect_timeout", "first_byte_timeout", "idle_timeout")

# Where a model of one's own keeps what its own constructor was given, and what of it could travel when that was done.
GIVEN, MADE = "_given", "_made"


_beside: ContextVar[list[UsageMetrics] | None] = ContextVar("crewq_asked_beside", default=None)


@contextmanager
def asked_beside() -> Iterator[list[UsageMetrics]]:
    """Around a tool at work: what the models used that its own code asks, by `LLM.call`, in whatever thread it does."""
    used: list[UsageMetrics] = []
    token = _beside.set(used)
    try:
        yield used
    finally:
        _beside.reset(token)


def note_beside(used: UsageMetrics) -> None:
    """Tell the tool that is at work here, if one is, what a model used that its code has asked."""
    noted = _beside.get()
    if noted is not None:
        noted.append(used)


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
        metadata: whose question it is, for who watches the calls: run, task, agent. No provider is told, and it is no part
            of what is asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    answer_schema: dict[str, Any] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict, exclude=True)

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

    It travels to a worker as a reference to its class together with its fields, which must be plain values. A class with a
    constructor of its own, as CrewAI's documentation has it, travels with what that was given, and is called with it again
    in the worker; such a class may keep what it likes on `self`.

    Fields:
        model, temperature, stop: for your `call` to heed. An answer that goes on behind a word of `stop` is not cut.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = "custom"
    temperature: float | None = None
    stop: list[str] = Field(default_factory=list)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Have a constructor of the class's own take note of what it is given."""
        if "__init__" in vars(cls):
            cls.__init__ = _noting(cls.__init__)  # type: ignore[method-assign]

    @property
    def given(self) -> dict[str, Any] | None:
        """What the class's own constructor was given, by name; None: it has none."""
        given: dict[str, Any] | None = vars(self).get(GIVEN)
        return given

    @property
    def changed(self) -> set[str]:
        """Which of its fields, and of what it was given, were set anew after the class's own constructor was done."""
        return {name for name, value in vars(self).get(MADE, {}).items() if getattr(self, name, None) != value}

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given or []

    def features(self) -> Features:
        """What it can do, by the methods below; override those or this one to say otherwise."""
        return Features(native_tools=self.supports_function_calling(), context_window=self.get_context_window_size())

    def supports_function_calling(self) -> bool:
        """Whether it is given tools as data; else it is told of them in words, and answers in words. As in CrewAI, a model
        with a `call` has to say so; one with a `complete` of its own sees all that was asked."""
        return type(self).complete is not BaseLLM.complete

    def supports_stop_words(self) -> bool:
        """CrewAI's; asked by nobody here."""
        return True

    def get_context_window_size(self) -> int | None:
        """The tokens that it can read; None: not known, so nothing is summarised before it refuses (CrewAI: 4096)."""
        return None

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What a call costs in US dollars; None: nobody knows. Override it for runs with a budget of dollars."""
        return None

    def call(
        self, messages: list[Message], tools: list[dict[str, Any]] | None = None
    ) -> str | ModelAnswer | list[dict[str, Any]] | None:
        """Answer the conversation: a text, a `ModelAnswer` with tool calls and usage, or tool calls alone as OpenAI's API has
        them. Runs in a thread."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a method `call(messages, tools)` or `complete(request)`."
        )

    async def acall(self, messages: list[Message], *args: Any, **kwargs: Any) -> Any:
        """As `call`, in a thread. (CrewAI's; agents ask by `call` or `complete`.)"""
        return await asyncio.to_thread(self.call, messages, *args, **kwargs)

    def get_token_usage_summary(self) -> UsageMetrics:
        """Nothing: what a `ModelAnswer` says that it used is in the outputs of runs. Override it to count your own calls."""
        return UsageMetrics()

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """Answer `request`; override it instead of `call` for a model that is asynchronous itself."""
        answer = await asyncio.to_thread(self.call, list(request.messages), tools=list(request.tools) or None)
        if isinstance(answer, ModelAnswer):
            return answer
        if isinstance(answer, list):
            return ModelAnswer(tool_calls=tuple(_tool_call(one) for one in answer), finish_reason="tool_calls")
        return ModelAnswer(text=answer or "")

    if not TYPE_CHECKING:  # a type checker would take any name for one that is there

        def __setattr__(self, name: str, value: Any) -> None:
            known = name.startswith("_") or name in type(self).model_fields
            if known or type(self).__init__ is BaseLLM.__init__:
                super().__setattr__(name, value)
            else:
                object.__setattr__(self, name, value)


def _noting(constructor: Callable[..., None]) -> Callable[..., None]:
    taken = inspect.signature(constructor)
    open_end = next((one.name for one in taken.parameters.values() if one.kind is one.VAR_KEYWORD), "")

    @wraps(constructor)
    def noting(self: BaseLLM, *args: Any, **kwargs: Any) -> None:
        constructor(self, *args, **kwargs)
        given = dict(list(taken.bind(self, *args, **kwargs).arguments.items())[1:])
        given |= given.pop(open_end, {})
        known = {*type(self).model_fields, *given}
        # Not private attributes, which would make models unequal that are equal in all but the way they were written.
        vars(self).update({GIVEN: given, MADE: {name: value for name, value in self if name in known}})

    return noting


def _tool_call(asked: dict[str, Any]) -> ToolCall:
    function = asked["function"]
    return ToolCall(id=asked.get("id") or "", name=function["name"], arguments=function.get("arguments") or "{}")


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
    "asked_beside",
    "note_beside",
]
