"""What all handlers share: the way to the runs, and threads to go it, as Flower's one event loop must never wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from crewq.producer import Producer

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

THREADS = 8  # questions to the store at once; each takes milliseconds


class Desk:
    """Answers questions about runs, and does what people ask for.

    Args:
        producer: the way to the runs.
    """

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="crewq-pages")

    async def ask(
        self,
        question: Callable[Concatenate[Producer, Arguments], Answer],
        *arguments: Arguments.args,
        **more: Arguments.kwargs,
    ) -> Answer:
        """What a function answers that is given the producer; it runs in a thread."""
        loop = asyncio.get_running_loop()

        def answer() -> Any:
            return question(self.producer, *arguments, **more)

        found: Answer = await loop.run_in_executor(self._threads, answer)
        return found


__all__ = ["Desk"]
