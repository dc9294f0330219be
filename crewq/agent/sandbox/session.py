"""What a sandbox is to those who use one: sessions, which run code within limits and tell how it went."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, Protocol, Self


@dataclass(frozen=True)
class Limits:
    """What one run of a model's code may use.

    Fields:
        seconds: of computing; a model waits for an answer, and what takes longer than this is a loop without an end.
        memory_bytes: for everything that the session holds; room for some millions of numbers, and small enough that
            many sessions fit beside each other.
        output_bytes: of printed text, after which the code is stopped; far more than a model is shown.
        code_bytes: of the code itself; far more than a model writes in one answer.
    """

    seconds: float = 10.0
    memory_bytes: int = 64 * 2**20
    output_bytes: int = 64 * 2**10
    code_bytes: int = 100 * 2**10

    def with_(self, seconds: float | None, memory_mb: int | None) -> Limits:
        """These limits with other ones in the place of some; None: as they are."""
        memory = self.memory_bytes if memory_mb is None else memory_mb * 2**20
        return replace(self, seconds=self.seconds if seconds is None else seconds, memory_bytes=memory)


class Names(Enum):
    """What a run has left of the names that the session knows."""

    KEPT = "as the code left them"
    UNCHANGED = "as they were before it, for it was stopped or not run at all"
    GONE = "none: the session begins anew"


class Outcome(NamedTuple):
    """How a run ended: the traceback or what limit stopped it, if it did not end well, and what became of the names."""

    error: str | None
    names: Names


@dataclass(frozen=True)
class Execution:
    """How one run of code went.

    Fields:
        output: what it printed, and the value of a last expression as an interactive Python shows it.
        error: the traceback, or what limit stopped it; None: it ended well.
        seconds: how long it took, from outside.
        truncated: whether it was stopped because it printed too much.
        names: what became of the names that the session knows.
    """

    output: str
    error: str | None
    seconds: float
    truncated: bool
    names: Names


class Printed:
    """What code prints, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept = bytearray()

    def add(self, text: bytes) -> None:
        """Take in more of it."""
        self._kept += text[: self.limit + 1 - len(self._kept)]

    @property
    def full(self) -> bool:
        """Whether it was more than the limit."""
        return len(self._kept) > self.limit

    def text(self) -> str:
        """What was kept of it."""
        return _clipped(bytes(self._kept), self.limit)


class Session(ABC):
    """An interpreter whose names persist from one run to the next; used by one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._closed = False

    def run(self, code: str) -> Execution:
        """Run `code`, and block until it ends or a limit stops it; what goes wrong in it is in the Execution.

        Raises:
            SandboxUnavailable: no interpreter could be started.
        """
        began = time.monotonic()
        printed = Printed(self.limits.output_bytes)
        error, names = self._checked(code.encode(errors="replace").decode(), printed)
        if printed.full:
            error = f"The code printed more than {printed.limit} bytes. Print less of it."
        return Execution(
            output=printed.text(),
            error=error and _clipped(error.encode(errors="replace"), self.limits.output_bytes),
            seconds=time.monotonic() - began,
            truncated=printed.full,
            names=names,
        )

    def _checked(self, code: str, printed: Printed) -> Outcome:
        if len(code.encode()) > self.limits.code_bytes:
            error = f"The code is longer than {self.limits.code_bytes} bytes, so it was not run. Split it up."
            return Outcome(error, Names.UNCHANGED)
        if self._closed:
            return Outcome("The session was closed, so the code was not run.", Names.GONE)
        return self._attempt(code, printed)

    @abstractmethod
    def _attempt(self, code: str, printed: Printed) -> Outcome:
        """Run `code`, and stop it once `printed` is full."""

    def close(self) -> None:
        """Forget its names, and end what still runs, if that is possible; from any thread. It runs nothing any more."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Sandbox(Protocol):
    """A way to run code safely; one object serves all tasks of a process, from any thread.

    Fields:
        name: what settings and crews call it.
        python: what of Python there is in it, as a model is told.
    """

    name: str
    python: str

    def session(self) -> Session:
        """A new interpreter without names.

        Raises:
            SandboxUnavailable: it cannot be started here.
        """

    def close(self) -> None:
        """End its processes."""


def _clipped(text: bytes, limit: int) -> str:
    return text[:limit].decode(errors="ignore")


__all__ = ["Execution", "Limits", "Names", "Outcome", "Printed", "Sandbox", "Session"]
