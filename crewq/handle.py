"""What the handles of runs and batches have in common: they are awaitable in every way that asyncio knows."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Coroutine, Generator
from concurrent.futures import CancelledError
from threading import TIMEOUT_MAX
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from crewq import errors
from crewq.producer import Producer, connect

Result = TypeVar("Result")

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
        ended = self._ended()
        try:
            ended.result(None if timeout is None else min(timeout, TIMEOUT_MAX))
        except TimeoutError:
            raise self._late(timeout) from None
        except CancelledError:
            where = self._producer.store.where
            raise errors.StoreUnreachable(url=where, reason="the connection was closed.") from None

    def _late(self, seconds: float | None) -> errors.ResultTimeout:
        """The error for whoever has waited long enough."""
        return errors.ResultTimeout(kind=self.kind, id=self.id, seconds=seconds)

    async def _result(self) -> Result:
        # Shielded: others wait for the same future, and it is not theirs to cancel.
        await asyncio.shield(asyncio.wrap_future(await asyncio.to_thread(self._ended)))
        return await asyncio.to_thread(self._outcome)

    def _ended(self) -> Any:
        return self._producer.waiter.ended(self.id, self._has_ended)

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


__all__ = ["Handle", "find"]
