"""What the handles of runs and batches have in common: they are awaitable in every way that asyncio knows."""

from __future__ import annotations

import asyncio
import sys
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from threading import TIMEOUT_MAX
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from crewq import errors
from crewq.producer import Producer, connect

Result = TypeVar("Result")
Value = TypeVar("Value")

WHOLE_ID = 36  # letters of a UUID


class Handle(Coroutine[Any, Any, Result], Generic[Result]):
    """Something that goes on elsewhere, whether anybody holds this or not.

    It can be awaited any number of times, by any number of tasks, and is accepted wherever asyncio wants a coroutine.
    Cancelling whoever awaits it cancels nothing else.
    """

    kind: str

    def __init__(self, name: str, producer: Producer | None) -> None:
        self._producer = producer or connect()
        # Whoever brings a producer has a whole id from its store. Any other is looked up, so that a slip of the pen is an
        # error here, and not with the first thing that is asked of the handle.
        known = producer is not None and len(name) == WHOLE_ID
        self.id = name if known else find(self._producer, name, self.kind)
        self._driven: WeakKeyDictionary[asyncio.Task[Any], Coroutine[Any, Any, Result]] = WeakKeyDictionary()

    @abstractmethod
    def _outcome(self) -> Result:
        """What came of it, once it has ended; or its error, raised."""

    def _wait(self, timeout: float | None) -> None:
        """Block until it has ended.

        Raises:
            ResultTimeout: it has not within `timeout` seconds.
        """
        ended = self._producer.waiter.ended(self.id, self._has_ended)
        try:
            ended.result(None if timeout is None else min(timeout, TIMEOUT_MAX))
        except TimeoutError:
            ended.cancel()
            raise self._late(timeout) from None
        except CancelledError:
            raise self._closed() from None

    def _late(self, seconds: float | None) -> errors.ResultTimeout:
        """The error for whoever has waited long enough."""
        return errors.ResultTimeout(kind=self.kind, id=self.id, seconds=seconds)

    def _closed(self) -> errors.StoreUnreachable:
        """The error for whoever waits while this process gives up its connections."""
        return errors.StoreUnreachable(url=self._producer.store.where, reason="the connection was closed.")

    async def _result(self) -> Result:
        if not await self._end():
            raise self._closed()
        return await self._in_a_thread(self._outcome)

    async def _end(self) -> bool:
        """Wait until it has ended. Not by a future of a thread: ten thousand of these take 50 MB."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def tell(how: bool) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(_settle, ended, how)

        waiter = self._producer.waiter
        try:
            await self._in_a_thread(lambda: waiter.tell_end(self.id, self._has_ended, tell))
            return bool(await ended)
        finally:
            waiter.forget(self.id, tell)

    async def _in_a_thread(self, work: Callable[[], Value]) -> Value:
        async with self._producer.turn(asyncio.get_running_loop()):
            return await asyncio.to_thread(work)

    def _has_ended(self) -> bool:
        """Whether it has; whoever begins to wait for something that is paused is told so."""
        return self._producer.store.has_ended(self.id)

    def __await__(self) -> Generator[Any, Any, Result]:
        return self._result().__await__()

    def send(self, value: Any) -> Any:
        """Drive it one step, as an asyncio task does; each task that does has its own way through it."""
        task = asyncio.current_task()
        assert task is not None, "only an asyncio task drives a coroutine"
        if task not in self._driven:
            self._driven[task] = self._result()
        return self._driven[task].send(value)

    def throw(self, *error: Any) -> Any:
        """Raise within whoever drives it."""
        task = asyncio.current_task()
        if task is None or task not in self._driven:
            raise error[0]
        return self._driven[task].throw(*error)

    def close(self) -> None:
        """Nothing: what it stands for goes on without it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


def _settle(ended: asyncio.Future[bool], how: bool) -> None:
    if not ended.done():
        ended.set_result(how)


@contextmanager
def told_where(kind: str, name: str) -> Iterator[None]:
    """Around the start of something: a person who interrupts it is told where it is, if it was accepted before.

    Args:
        kind: run or batch.
        name: the id that it has if it was.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nThe {kind} may have been accepted before this. Back to it, if so: crewq watch {name}\n")
        raise


def find(producer: Producer, prefix: str, *kinds: str) -> str:
    """The one id, of one of these kinds, that begins with `prefix`.

    Raises:
        UnknownId, AmbiguousId: none does, or several do.
    """
    found = producer.store.runs.find(prefix, kinds) if prefix else []
    if not found:
        raise errors.UnknownId(kind=" or ".join(kinds), id=prefix, where=producer.store.where)
    if len(found) > 1:
        raise errors.AmbiguousId(id=prefix, candidates=", ".join(name for name, _, _ in found))
    return found[0][0]


__all__ = ["Handle", "find", "told_where"]
