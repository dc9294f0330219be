"""Streaming: what the models of a run say, as they say it, with CrewAI's names. Any process can follow any run so."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from crewq import errors
from crewq.events import CallFinished, Event, TaskStarted, Token
from crewq.outputs import CrewOutput
from crewq.run import Run


class StreamChunkType(StrEnum):
    """What a chunk is: a piece of text, a tool that the model calls, or word that what came of a call does not count."""

    TEXT = "text"
    TOOL_CALL = "tool_call"
    RESTART = "restart"


class ToolCallChunk(BaseModel):
    """A tool that a model calls; `arguments` is the JSON text as the model wrote it."""

    model_config = ConfigDict(frozen=True)

    tool_name: str
    arguments: str
    index: int = 0


class StreamChunk(BaseModel):
    """A piece of what is said in a run.

    Fields:
        content: the text; of a tool call, its arguments.
        chunk_type: `text`, `tool_call`, or `restart`: forget the text of this `call`, it begins anew. That is so after a
            worker died in the middle of it, or a connection broke off.
        task_index: the position of the task in the run, as in `run.tasks`.
        task_name: what the task is called.
        task_id: its id in the run, which is the one that `replay` takes.
        agent_role: who speaks: the task's agent, or a coworker.
        tool_call: the tool, if it is one.
        call: which call to a model it is of.
        id: its place in the run: give it to `CrewStreamingOutput(run, after=...)` to go on from there.
    """

    model_config = ConfigDict(frozen=True)

    content: str = ""
    chunk_type: StreamChunkType = StreamChunkType.TEXT
    task_index: int = 0
    task_name: str = ""
    task_id: str = ""
    agent_role: str = ""
    tool_call: ToolCallChunk | None = None
    call: str = ""
    id: str = "0-0"

    @property
    def agent_id(self) -> str:
        """Who speaks, in CrewAI's words: there an object's id, and here, where agents travel, the role."""
        return self.agent_role

    def __str__(self) -> str:
        return self.content


@dataclass
class Heard:
    """What was heard of one call."""

    role: str = ""
    text: str = ""
    tools: int = 0
    finished: bool = False


class Transcript:
    """Makes chunks of a run's events, each piece once, whatever is told twice or begins anew.

    Args:
        tasks: the id and the name of each task.
    """

    def __init__(self, tasks: list[tuple[str, str]]) -> None:
        self._tasks = tasks
        self._calls: dict[tuple[int, str], Heard] = {}

    def take(self, event: Event) -> Iterator[StreamChunk]:
        """What is new with this event."""
        if isinstance(event, TaskStarted):
            yield from self._broken_off(event)
        elif isinstance(event, CallFinished) and (heard := self._calls.get((event.task or 0, event.call))):
            heard.finished = True
        elif isinstance(event, Token):
            heard = self._calls.setdefault((event.task or 0, event.call), Heard(event.agent))
            yield from self._tool(event, heard) if event.tool else self._text(event, heard)

    def _broken_off(self, event: TaskStarted) -> Iterator[StreamChunk]:
        """An attempt begins: what an earlier one left unfinished is over."""
        for (task, call), heard in list(self._calls.items()):
            if task == event.task and not heard.finished:
                del self._calls[task, call]
                yield self._chunk(event, heard, call, chunk_type=StreamChunkType.RESTART)

    def _text(self, token: Token, heard: Heard) -> Iterator[StreamChunk]:
        known = heard.text
        if token.offset == 0 and not token.text.startswith(known):
            yield self._chunk(token, heard, token.call, chunk_type=StreamChunkType.RESTART)
            known = ""
        new = token.text[max(0, len(known) - token.offset) :]
        heard.text = known + new
        if new:
            yield self._chunk(token, heard, token.call, content=new)

    def _tool(self, token: Token, heard: Heard) -> Iterator[StreamChunk]:
        if token.offset >= heard.tools:
            heard.tools = token.offset + 1
            tool = ToolCallChunk(tool_name=token.tool, arguments=token.text, index=token.offset)
            yield self._chunk(
                token, heard, token.call, chunk_type=StreamChunkType.TOOL_CALL, content=token.text, tool_call=tool
            )

    def _chunk(self, event: Event, heard: Heard, call: str, **more: Any) -> StreamChunk:
        at = event.task or 0
        task_id, name = self._tasks[at]
        about = {"task_index": at, "task_name": name, "task_id": task_id, "agent_role": heard.role}
        return StreamChunk(**about, call=call, id=event.id, **more)


class CrewStreamingOutput:
    """What is said in a run, for `for` and `async for`; then its output. It ends as the run does, with the run's error too.

    Whether somebody listens makes no difference to the run. Who stops may go on later, and so may another process.

    Args:
        run: a run of a crew with `stream=True`; others tell no text.
        after: the `id` of the last chunk that was read; default: from the beginning.
    """

    def __init__(self, run: Run, after: str = "0-0") -> None:
        self.run = run
        self.chunks: list[StreamChunk] = []
        self.is_completed = False
        self.is_cancelled = False
        self._seen = _place(after)
        self._after = "0-0"  # from the beginning, as a later piece says what an earlier one was worth
        self._waiting: deque[StreamChunk] = deque()  # those of an event after which somebody stopped to read
        self._transcript: Transcript | None = None

    def __iter__(self) -> Iterator[StreamChunk]:
        self._listen()
        for event in self.run.events(self._after):
            self._take(event)
            while self._waiting and not self.is_cancelled:
                yield self._next()
            if self.is_cancelled:
                return
        self.is_completed = True
        self.run.result()

    async def __aiter__(self) -> AsyncIterator[StreamChunk]:
        await asyncio.to_thread(self._listen)
        async for event in self.run.events(self._after):
            self._take(event)
            while self._waiting and not self.is_cancelled:
                yield self._next()
            if self.is_cancelled:
                return
        self.is_completed = True
        await self.run

    def __await__(self) -> Generator[Any, Any, CrewStreamingOutput]:
        return self._itself().__await__()

    async def _itself(self) -> CrewStreamingOutput:
        """At once: CrewAI's code awaits `kickoff_async` before it iterates."""
        return self

    @property
    def result(self) -> CrewOutput:
        """The crew's output, once the end was reached.

        Raises:
            StreamUnread: it was not reached.
            RunFailed, RunCancelled: that is how it ended.
        """
        if not self.is_completed:
            raise errors.StreamUnread(run=self.run.id)
        return self.run.result()

    @property
    def results(self) -> list[CrewOutput]:
        """Likewise, as a list of the one: of a batch, each run has a stream of its own."""
        return [self.result]

    def get_full_text(self) -> str:
        """All text that was read and counts, in the order in which it came."""
        kept: list[StreamChunk] = []
        for chunk in self.chunks:
            if chunk.chunk_type is StreamChunkType.TEXT:
                kept.append(chunk)
            elif chunk.chunk_type is StreamChunkType.RESTART:
                kept = [one for one in kept if (one.task_index, one.call) != (chunk.task_index, chunk.call)]
        return "".join(chunk.content for chunk in kept)

    def close(self) -> None:
        """Stop to listen. The run goes on: `run.cancel()` ends it."""
        self.is_cancelled = not self.is_completed

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    def _listen(self) -> None:
        self._transcript = self._transcript or Transcript([(task.id, task.name) for task in self.run.tasks])

    def _take(self, event: Event) -> None:
        assert self._transcript is not None
        chunks = self._transcript.take(event)
        self._waiting.extend(chunk for chunk in chunks if _place(event.id) > self._seen)
        self._after = event.id

    def _next(self) -> StreamChunk:
        self.chunks.append(self._waiting.popleft())
        return self.chunks[-1]


def _place(event_id: str) -> tuple[int, int]:
    ms, _, at = event_id.partition("-")
    return int(ms), int(at or 0)


__all__ = ["CrewStreamingOutput", "Heard", "StreamChunk", "StreamChunkType", "ToolCallChunk", "Transcript"]
