"""Where the Python that a model writes is run: denied files, network and environment, and held to limits.

There is no fallback to something weaker: where the sandbox asked for cannot be used, that is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol, Self

from crewq import errors

DEFAULT = "monty"


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


@dataclass(frozen=True)
class Execution:
    """How one run of code went.

    Fields:
        output: what it printed, and the value of a last expression as an interactive Python shows it.
        error: the traceback, or what limit stopped it; None: it ended well.
        seconds: how long it took, from outside.
        truncated: whether it was stopped because it printed too much.
    """

    output: str
    error: str | None
    seconds: float
    truncated: bool


class Session(Protocol):
    """An interpreter whose names persist from one run to the next; used by one thread at a time."""

    def run(self, code: str) -> Execution:
        """Run `code`, and block until it ends or a limit stops it; what goes wrong in it is in the Execution.

        Raises:
            SandboxUnavailable: no interpreter could be started.
        """

    def close(self) -> None:
        """Forget its names."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Sandbox(Protocol):
    """A way to run code safely; one object serves all tasks of a process, from any thread."""

    name: str

    def session(self) -> Session:
        """A new interpreter without names.

        Raises:
            SandboxUnavailable: it cannot be started here.
        """

    def close(self) -> None:
        """End its processes; no session may be in use."""


def check(name: str) -> None:
    """Make sure, without starting anything, that the sandbox `name` can be used in this installation.

    Raises:
        SandboxUnavailable: it cannot, or there is none of that name.
    """
    if name != "monty":
        raise errors.SandboxUnavailable(
            sandbox=name, reason="crewq has no sandbox of that name.", advice=f"Use {DEFAULT!r}, or leave it out."
        )
    if find_spec("pydantic_monty") is None:
        raise errors.SandboxUnavailable(
            sandbox=name,
            reason="the package pydantic-monty is not installed.",
            advice="Run: pip install pydantic-monty",
        )


def open_sandbox(name: str = DEFAULT, limits: Limits | None = None) -> Sandbox:
    """The sandbox `name`; its processes start with the first session.

    Raises:
        SandboxUnavailable: it cannot be used here.
    """
    check(name)
    from crewq.agent.sandbox.monty import MontySandbox  # its package need not be there for `check` to say so

    return MontySandbox(limits or Limits())


__all__ = ["DEFAULT", "Execution", "Limits", "Sandbox", "Session", "check", "open_sandbox"]
