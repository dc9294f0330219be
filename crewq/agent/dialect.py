"""How tools are talked about with a model: as data, where the provider knows of tools, or in words (`react.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from crewq.agent.json_text import decoded
from crewq.agent.toolbox import ToolResult
from crewq.model import Message, ModelAnswer, ToolCall
from crewq.tools import tool_name


@dataclass(frozen=True)
class Reply:
    """One reply of a model, understood.

    Fields:
        said: its words as they go into the conversation.
        thought: what it said before calling a tool.
        calls: the tools that it wants to use.
        answer: its answer to the task; empty if it calls tools.
        problem: what is wrong with the form of the reply, in words for the model.
        cut_off: it reached the limit of its length.
    """

    said: str
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    answer: str = ""
    problem: str | None = None
    cut_off: bool = False


class Dialect(Protocol):
    """A way to talk about tools."""

    def protocol(self, schemas: Sequence[dict[str, Any]]) -> str:
        """What the system message has to say about tools."""
        ...

    def tools(self, schemas: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        """What the request itself has to say about tools."""
        ...

    def read(self, answer: ModelAnswer) -> Reply:
        """What a model's answer means."""
        ...

    def said(self, reply: Reply) -> Message:
        """The reply as a message of the conversation."""
        ...

    def results(self, calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> list[Message]:
        """What the tools gave back, as messages of the conversation."""
        ...


class Native:
    """Tools as data: the provider's own function calling."""

    def protocol(self, schemas: Sequence[dict[str, Any]]) -> str:
        """Nothing: the request says it."""
        return ""

    def tools(self, schemas: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        """The schemas as they are."""
        return tuple(schemas)

    def read(self, answer: ModelAnswer) -> Reply:
        """Its calls, or else its text, which then is the answer."""
        calls = _told_apart(answer.tool_calls)
        return Reply(
            said=answer.text,
            thought=answer.text if calls else "",
            calls=calls,
            answer="" if calls else answer.text,
            cut_off=answer.finish_reason == "length",
        )

    def said(self, reply: Reply) -> Message:
        """An assistant's message, with its calls in a form that every provider accepts."""
        message: Message = {"role": "assistant", "content": reply.said or None}
        if reply.calls:
            message["tool_calls"] = [_as_message(call) for call in reply.calls]
        return message

    def results(self, calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> list[Message]:
        """One `tool` message for each call."""
        return [
            {"role": "tool", "tool_call_id": call.id, "name": tool_name(call.name), "content": result.text}
            for call, result in zip(calls, results, strict=True)
        ]


def _told_apart(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    # Some servers leave the id out or give one twice, and a result must name it. In a message the position tells calls apart.
    known = {""}
    told: list[ToolCall] = []
    for at, call in enumerate(calls):
        told.append(call.model_copy(update={"id": f"{call.id or 'call'}_{at}"}) if call.id in known else call)
        known.add(call.id)
    return tuple(told)


def _as_message(call: ToolCall) -> dict[str, Any]:
    # Providers refuse a conversation that holds broken JSON; what was wrong with it is said in the tool's result.
    arguments = call.arguments if _is_object(call.arguments) else "{}"
    return {"id": call.id, "type": "function", "function": {"name": tool_name(call.name), "arguments": arguments}}


def _is_object(text: str) -> bool:
    try:
        return isinstance(decoded(text), dict)
    except ValueError:
        return False


def in_words(messages: Sequence[Message]) -> list[Message]:
    """A conversation with its tool calls and results told in plain text.

    Several providers refuse tool messages in a request that offers no tools.
    """
    return [_told(message) for message in messages]


def _told(message: Message) -> Message:
    if message["role"] == "tool":
        return {"role": "user", "content": f"Result of the tool {message['name']}:\n{message['content']}"}
    if calls := message.get("tool_calls"):
        used = "\n".join(f"Use the tool {call['function']['name']}: {call['function']['arguments']}" for call in calls)
        return {"role": "assistant", "content": f"{message['content'] or ''}\n{used}".strip()}
    return message


__all__ = ["Dialect", "Native", "Reply", "in_words"]
