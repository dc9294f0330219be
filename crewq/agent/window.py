"""Keeping a conversation within what its model can read: the middle is summarised, then what is overlong is cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from crewq.agent import prompts
from crewq.agent.dialect import in_words
from crewq.model import Message, Model, ModelRequest

# What a token is worth in bytes of UTF-8, on the safe side for text in European and Asian languages alike.
BYTES_PER_TOKEN = 3.5
# The part of the window that a conversation may fill; the rest is for the answer, and for the error of the estimate.
FILL = 0.85
# The part of the window that one piece of the record fills when it is summarised.
PIECE = 0.7
# Where nobody knows the window: what has become so much shorter is tried before anything of it is cut.
SHORTER = 0.8


def estimate(messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> int:
    """About how many tokens a request has, without asking anyone."""
    return int(len(json.dumps([*messages, *tools], ensure_ascii=False).encode()) / BYTES_PER_TOKEN)


def too_long(messages: Sequence[Message], tools: Sequence[dict[str, Any]], window: int | None) -> bool:
    """Whether a request would not leave a model with this window room to answer."""
    return window is not None and estimate(messages, tools) > FILL * window


async def shortened(
    messages: list[Message], opening: int, window: int | None, model: Model, asked: ModelRequest
) -> list[Message] | None:
    """`messages` with the middle summarised by the model, and overlong results cut; None if nothing can be shortened.

    Args:
        messages: the conversation.
        opening: how many messages at its beginning stay as they are.
        window: what the model can read, in tokens; None: not known, only that it is less than this.
        model: who summarises.
        asked: the request that was too long; its model and options are used.
    """
    room = window or estimate(messages) // 2
    latest = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=len(messages))
    kept = messages[:opening]
    if middle := messages[opening:latest]:
        kept = [*kept, prompts.earlier(await _summary(middle, room, model, asked))]
    kept += messages[latest:]
    if window or estimate(kept) > SHORTER * estimate(messages):
        kept = _cut(kept, opening, room)
    return kept if estimate(kept) < estimate(messages) else None


async def _summary(middle: Sequence[Message], room: int, model: Model, asked: ModelRequest) -> str:
    record = "\n\n".join(f"{message['role']}: {message['content']}" for message in in_words(middle))
    size = _characters(record, room * PIECE)
    summaries = []
    for start in range(0, len(record), size):
        messages = (
            {"role": "system", "content": prompts.SUMMARISE},
            {"role": "user", "content": record[start : start + size]},
        )
        answer = await model.complete(ModelRequest(model=asked.model, messages=messages, options=asked.options))
        summaries.append(answer.text.strip())
    return "\n\n".join(summaries)


def _cut(messages: list[Message], opening: int, room: int) -> list[Message]:
    """The messages with each one after the opening held to an equal share of the room that is left."""
    left = FILL * room - estimate(messages[:opening])
    if estimate(messages) <= FILL * room or left <= 0:
        return messages
    share = left / max(1, len(messages) - opening)
    return [*messages[:opening], *(_held_to(message, share) for message in messages[opening:])]


def _held_to(message: Message, tokens: float) -> Message:
    content = message["content"] or ""
    length = _characters(content, tokens)
    if len(content) <= length:
        return message
    return message | {"content": f"{content[:length]}\n[cut: too long for the model]"}


def _characters(text: str, tokens: float) -> int:
    """How many characters of `text` are worth so many tokens."""
    bytes_each = len(text.encode()) / max(1, len(text))
    return max(1, int(tokens * BYTES_PER_TOKEN / max(1, bytes_each)))


__all__ = ["BYTES_PER_TOKEN", "FILL", "estimate", "shortened", "too_long"]
