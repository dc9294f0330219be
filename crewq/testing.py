"""A model that says what it was told to say: for tests and demos, without network, key or price.

    from crewq.testing import ScriptedModel, call

    model = ScriptedModel([call("search", query="crews"), "There are many."])
    agent = Agent(role="Researcher", goal="...", backstory="...", tools=[search], llm=model)

Which answer comes next is read off the conversation, from how often the model has spoken in it. So the model keeps no
state: it answers the same in any worker, after a crash and in a retry, and one object serves any number of runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from crewq.errors import ModelRefused
from crewq.model import BaseLLM, Features, Message, ModelAnswer, ModelRequest, OnToken, ToolCall
from crewq.outputs import UsageMetrics
from crewq.recording import RecordedModel


class ScriptedCall(BaseModel):
    """A tool call that a scripted model makes; `call()` is the short way to write one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    arguments: dict[str, Any] = Field(default_factory=dict)


def call(tool: str, /, **arguments: Any) -> ScriptedCall:
    """An answer that calls `tool`: `call("search", query="crews")`."""
    return ScriptedCall(tool=tool, arguments=arguments)


# A text, a tool call, or several tool calls in one reply.
Scripted: TypeAlias = str | ScriptedCall | list[ScriptedCall]


class Script(BaseModel):
    """The answers to every conversation whose first messages contain `match`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: str
    answers: list[Scripted]


class ScriptedModel(BaseLLM):
    """A model that gives scripted answers, in their order within each conversation.

    Fields:
        answers: what it says, in any conversation that no entry of `keyed` matches.
        keyed: answers for some conversations only, `{"match": "words of the prompt", "answers": [...]}`; the first match
            counts. So one model can serve all tasks of a crew.
        latency_seconds: how long each answer takes.
        native_tools: False to have its tool calls written out, as models without function calling do.
        context_window: the tokens that it claims to read.

    Words are counted as tokens, and cost nothing. A conversation that goes on after the last answer fails with
    ModelRefused, so a test sees that the script is too short.
    """

    model: str = "scripted"
    answers: list[Scripted] = Field(default_factory=list)
    keyed: list[Script] = Field(default_factory=list)
    latency_seconds: float = Field(default=0.0, ge=0)
    native_tools: bool = True
    context_window: int | None = None

    def __init__(self, answers: Sequence[Scripted] | None = None, **fields: Any) -> None:
        super().__init__(**fields if answers is None else {"answers": answers, **fields})

    def features(self) -> Features:
        """What it claims to be able to do."""
        return Features(native_tools=self.native_tools, context_window=self.context_window)

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """The next answer of the script.

        Raises:
            ModelRefused: the script is at its end.
        """
        await asyncio.sleep(self.latency_seconds)
        answer = self._next(request)
        if on_token:
            for piece in answer.text.splitlines(keepends=True):
                on_token(piece)
        return answer

    def _next(self, request: ModelRequest) -> ModelAnswer:
        script = self._script(request.messages)
        spoken = sum(message["role"] == "assistant" for message in request.messages)
        if spoken >= len(script):
            raise ModelRefused(
                model=self.model,
                status="none",
                reason=f"the script has {len(script)} answers for this conversation, which asks for number {spoken + 1}.",
            )
        scripted = script[spoken]
        text = scripted if isinstance(scripted, str) else ""
        calls = [] if isinstance(scripted, str) else scripted if isinstance(scripted, list) else [scripted]
        if calls and not self.native_tools:
            text, calls = _written_out(calls[0]), []
        return ModelAnswer(
            text=text,
            tool_calls=tuple(_tool_call(scripted, spoken, at) for at, scripted in enumerate(calls)),
            finish_reason="tool_calls" if calls else "stop",
            usage=_usage(request, text, calls),
        )

    def _script(self, messages: tuple[Message, ...]) -> list[Scripted]:
        # Not beyond the first reply: what is found there depends on the answers themselves.
        opening = next((at for at, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
        prompt = "\n".join(str(message["content"]) for message in messages[:opening])
        return next((script.answers for script in self.keyed if script.match in prompt), self.answers)


def _written_out(scripted: ScriptedCall) -> str:
    arguments = json.dumps(scripted.arguments, ensure_ascii=False)
    return f"Thought: The next step.\nAction: {scripted.tool}\nAction Input: {arguments}"


def _tool_call(scripted: ScriptedCall, spoken: int, at: int) -> ToolCall:
    arguments = json.dumps(scripted.arguments, ensure_ascii=False)
    return ToolCall(id=f"call_{spoken}_{at}", name=scripted.tool, arguments=arguments)


def _usage(request: ModelRequest, text: str, calls: list[ScriptedCall]) -> UsageMetrics:
    prompt = sum(len(str(message["content"]).split()) for message in request.messages)
    completion = len(text.split()) + sum(1 + len(scripted.arguments) for scripted in calls)
    return UsageMetrics(
        total_tokens=prompt + completion, prompt_tokens=prompt, completion_tokens=completion, successful_requests=1
    )


__all__ = ["RecordedModel", "Script", "Scripted", "ScriptedCall", "ScriptedModel", "call"]
