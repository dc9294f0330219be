"""Telling whoever follows a run what a model says, as it says it: in small batches, so that a fast one costs no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from functools import partial

from crewq import errors
from crewq.model import ModelAnswer
from crewq.outputs import sound

log = logging.getLogger("crewq.narration")

PERIOD = 0.05  # seconds between two pieces: more often than anybody reads, and twenty writes a second at most

# Appends a piece to the run's events: `(text, how much came before it, the name of a tool if it is its arguments)`.
Tell = Callable[[str, int, str], object]


class Narration:
    """One answer, told as it comes. It is what a model takes as its `on_token`.

    Args:
        tell: appends a piece; blocks, and raises StoreError where it cannot: what was not told is told with the next.
        threads: where that is done.
    """

    def __init__(self, tell: Tell, threads: Executor) -> None:
        self._tell = tell
        self._threads = threads
        self._said = ""
        self._told = 0
        self._tools = 0
        self._came = asyncio.Event()
        self._over = asyncio.Event()

    def __call__(self, text: str) -> None:
        """The model says this."""
        self._said += sound(text)
        self._came.set()

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[Narration]:
        """Tell what comes, for as long as the block runs."""
        telling = asyncio.create_task(self._tell_for_ever())
        try:
            yield self
        except Exception:
            await self._end(telling)  # nothing comes late, in the middle of what the next try says
            raise
        else:
            await self._end(telling)
        finally:
            telling.cancel()

    async def _end(self, telling: asyncio.Task[None]) -> None:
        self._over.set()
        self._came.set()
        await telling

    async def complete(self, answer: ModelAnswer) -> None:
        """Tell of a whole answer what was not told, or not so: it came at once, or another one stands."""
        if self._said != answer.text:
            self._said, self._told = answer.text, 0
        going = await self._tell_rest()
        while going and self._tools < len(answer.tool_calls):
            call = answer.tool_calls[self._tools]
            going = await self._told_now(call.arguments, self._tools, call.name)
            self._tools += going

    async def _tell_for_ever(self) -> None:
        while not self._over.is_set():
            await self._came.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), PERIOD)
            self._came.clear()
            await self._tell_rest()

    async def _tell_rest(self) -> bool:
        at, end = self._told, len(self._said)
        told = at == end or await self._told_now(self._said[at:end], at, "")
        if told:
            self._told = end
        return told

    async def _told_now(self, text: str, at: int, tool: str) -> bool:
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, partial(self._tell, text, at, tool))
        except errors.StoreError as error:
            log.debug("a piece of an answer is not told yet: %s", error)
            return False
        return True


__all__ = ["Narration", "Tell"]
