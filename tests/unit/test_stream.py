"""A stream from both its ends: how an answer is told in batches, and how chunks are made of what was told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from crewq import errors
from crewq.events import CallFinished, Event, TaskStarted, Token
from crewq.model import ModelAnswer, ToolCall
from crewq.narration import PERIOD, Narration
from crewq.stream import StreamChunk, Transcript
from tests.waiting import until

TASKS = [("id-a", "a"), ("id-b", "b")]


# -- reading ---------------------------------------------------------------------------------------------------------


def token(text: str, offset: int = 0, **more: Any) -> Token:
    return Token(**{"text": text, "offset": offset, "task": 0, "call": "c", "agent": "R", "attempt": 1} | more)


def started(attempt: int, task: int = 0) -> TaskStarted:
    return TaskStarted(task=task, attempt=attempt, worker="w")


def finished(call: str = "c", task: int = 0) -> CallFinished:
    return CallFinished(task=task, kind="model", name="m", attempt=1, call=call)


def chunks(*events: Event) -> list[StreamChunk]:
    transcript = Transcript(TASKS)
    return [chunk for event in events for chunk in transcript.take(event)]


def shown(*events: Event) -> list[str]:
    """The chunks in short: text as it is, a restart as `!`, a tool as its name in brackets."""
    forms = {"restart": "!", "text": "{0.content}", "tool_call": "[{0.tool_call.tool_name}]"}
    return [forms[chunk.chunk_type.value].format(chunk) for chunk in chunks(*events)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([token("ab"), token("cd", 2)], ["ab", "cd"]),
        ([token("ab"), token("abcd")], ["ab", "cd"]),  # told twice, with more
        ([token("ab"), token("xy"), token("z", 2)], ["ab", "!", "xy", "z"]),  # begun anew within an attempt
        ([started(1), token("ab"), started(2), token("xy", attempt=2)], ["ab", "!", "xy"]),
        ([started(1), token("ab"), finished(), started(2), token("ab", attempt=2)], ["ab"]),  # from the journal
        ([started(1), token("ab"), finished(), started(2), token("abcd", attempt=2)], ["ab", "cd"]),  # its end was lost
        ([token("ab"), started(2, task=1), token("cd", 2)], ["ab", "cd"]),  # another task's attempt
        ([token("ab"), token("xy", call="d"), token("cd", 2)], ["ab", "xy", "cd"]),  # two calls side by side
        ([token("{}", tool="t"), token("{}", 1, tool="u"), token("{}", tool="t")], ["[t]", "[u]"]),
        ([token("cd", 2)], ["cd"]),  # the beginning was trimmed away
        ([started(1), finished(), started(2)], []),
    ],
)
def test_chunks(events: list[Event], expected: list[str]) -> None:
    assert shown(*events) == expected


def test_a_chunk_says_where_it_belongs() -> None:
    chunk = chunks(token("x", task=1, id="5-1"))[0]
    assert (chunk.task_index, chunk.task_id, chunk.task_name, chunk.agent_role, chunk.id) == (
        1,
        "id-b",
        "b",
        "R",
        "5-1",
    )
    assert str(chunk) == "x"


# -- telling ---------------------------------------------------------------------------------------------------------


class Listener:
    """Hears what is told, unless it is away; `gap` is set when it was away."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, str]] = []
        self.away = 0

    def __call__(self, text: str, offset: int, tool: str) -> None:
        if self.away:
            self.away -= 1
            raise errors.StoreUnreachable(url="redis://there", reason="away")
        self.heard.append((text, offset, tool))

    @property
    def chunks(self) -> list[str]:
        return shown(*(token(text, offset, tool=tool) for text, offset, tool in self.heard))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def answer(text: str, *tools: str) -> ModelAnswer:
    return ModelAnswer(text=text, tool_calls=tuple(ToolCall(id=name, name=name) for name in tools))


async def tell(narration: Narration, whole: ModelAnswer, *pieces: str) -> None:
    async with narration.going_on():
        for piece in pieces:
            narration(piece)
            await asyncio.sleep(0)
    await narration.complete(whole)


@pytest.mark.asyncio
async def test_pieces_that_come_fast_are_told_together(threads: ThreadPoolExecutor) -> None:
    listener = Listener()
    began = time.monotonic()
    await tell(Narration(listener, threads), answer("x" * 1000), *"x" * 1000)
    assert len(listener.heard) <= 1 + (time.monotonic() - began) / PERIOD  # a machine may be slow, even at this
    assert listener.chunks == [text for text, *_ in listener.heard]
    assert "".join(listener.chunks) == "x" * 1000


@pytest.mark.asyncio
async def test_what_comes_slowly_is_told_as_it_comes(threads: ThreadPoolExecutor) -> None:
    listener = Listener()
    narration = Narration(listener, threads)
    async with narration.going_on(), asyncio.timeout(10):
        for at, piece in enumerate(("One. ", "Two. ")):
            narration(piece)
            await asyncio.to_thread(until, lambda at=at: len(listener.heard) > at)
    assert listener.heard == [("One. ", 0, ""), ("Two. ", 5, "")]


@pytest.mark.asyncio
async def test_an_answer_that_comes_at_once_is_told_whole_and_once(threads: ThreadPoolExecutor) -> None:
    listener = Listener()
    narration = Narration(listener, threads)
    await narration.complete(answer("All of it.", "search", "add"))
    await narration.complete(answer("All of it.", "search", "add"))
    assert listener.heard == [("All of it.", 0, ""), ("{}", 0, "search"), ("{}", 1, "add")]


@pytest.mark.asyncio
async def test_another_answer_stands_than_the_one_that_was_told(threads: ThreadPoolExecutor) -> None:
    listener = Listener()
    narration = Narration(listener, threads)
    await tell(narration, answer("Mine."), "Mine.")
    await narration.complete(answer("Theirs."))
    assert listener.chunks == ["Mine.", "!", "Theirs."]


@pytest.mark.asyncio
async def test_a_call_that_is_tried_again(threads: ThreadPoolExecutor) -> None:
    listener = Listener()
    narration = Narration(listener, threads)

    async def broken_off() -> None:
        async with narration.going_on():
            narration("Half an")
            await asyncio.to_thread(until, lambda: listener.heard)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await broken_off()
    await tell(Narration(listener, threads), answer("A whole answer."), "A whole answer.")
    assert listener.chunks == ["Half an", "!", "A whole answer."]


@pytest.mark.asyncio
async def test_what_could_not_be_told_is_told_with_the_next(threads: ThreadPoolExecutor) -> None:
    listener = Listener()
    listener.away = 1
    await tell(Narration(listener, threads), answer("Told late.", "add"), "Told late.")
    assert listener.heard == [("Told late.", 0, ""), ("{}", 0, "add")]


@pytest.mark.asyncio
async def test_an_answer_waits_for_nobody_who_is_away(threads: ThreadPoolExecutor) -> None:
    listener = Listener()
    listener.away = 3
    narration = Narration(listener, threads)
    await tell(narration, answer("Never heard.", "add", "search"), "Never heard.")
    assert (listener.heard, listener.away) == ([], 1)


@pytest.mark.asyncio
async def test_a_call_that_fails_leaves_nobody_telling(threads: ThreadPoolExecutor) -> None:
    narration = Narration(Listener(), threads)
    with pytest.raises(errors.RateLimited):
        async with narration.going_on():
            raise errors.RateLimited(model="m", status=429, reason="slow down")
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
