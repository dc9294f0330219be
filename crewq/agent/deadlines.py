"""How long a model may take for an answer: until it is reached, until it begins, between two pieces, and in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from crewq import errors
from crewq.model import DEADLINES

Chunk = TypeVar("Chunk")

TOTAL = 600.0  # what OpenAI's and litellm's own clients allow one answer
CONNECT = 10.0  # a server that does not even accept a connection by then is down
# Models think before they say the first word, some for minutes; whoever has begun says something every few seconds.
FIRST_BYTE = 300.0
IDLE = 120.0
STOOD_STILL = 0.5  # seconds that a deadline is noticed too late: this process was frozen, or its machine asleep
LEEWAY = 1.0  # seconds then, to read what came meanwhile: it was in time, and is paid for


@dataclass(frozen=True)
class Deadlines:
    """Seconds. An answer that is not streamed comes at once, so that until it begins is until it is there."""

    total: float
    connect: float
    first_byte: float
    idle: float

    @classmethod
    def of(cls, options: Mapping[str, Any], *, streamed: bool) -> Self:
        """Those that the options of a request name, and for the others what is usual."""
        wanted = {name: float(options[name]) for name in DEADLINES if options.get(name)}
        total = wanted.get("timeout", TOTAL)
        return cls(
            total=total,
            connect=min(total, wanted.get("connect_timeout", CONNECT)),
            first_byte=wanted.get("first_byte_timeout", FIRST_BYTE if streamed else total),
            idle=wanted.get("idle_timeout", IDLE),
        )

    async def hold(self, chunks: AsyncIterator[Chunk], model: str) -> AsyncIterator[Chunk]:
        """The pieces of a streamed answer, for as long as they come in time.

        Raises:
            ModelTimeout: the first took too long, or another one.
        """
        patience, problem = self.first_byte, "it did not begin to answer within"
        while True:
            try:
                async with within(patience):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise errors.ModelTimeout(model=model, reason=f"{problem} {patience:g} s.") from None
            yield chunk
            patience, problem = self.idle, "nothing more of its answer came within"


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, but if this process stood still as the time passed, what came meanwhile is read before it is over.

    Raises:
        TimeoutError: it is over.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    async with asyncio.timeout_at(None) as timeout:

        def end() -> None:
            now = loop.time()
            timeout.reschedule(now + LEEWAY if now - due > STOOD_STILL else now)

        alarm = loop.call_at(due, end)
        try:
            yield
        finally:
            alarm.cancel()


__all__ = ["Deadlines", "within"]
