"""The default sandbox: pydantic-monty, an interpreter of a subset of Python that has no way out of itself.

Each run has a worker process of its own, with an empty environment, which starts in a few milliseconds and ends with the
run. Between runs a session is a snapshot that the worker made, so that no process is held while a model thinks, and a run
that is stopped leaves the session as it was before.
"""

from __future__ import annotations

import ast
import os
import signal
import time
from contextlib import suppress
from threading import Lock
from typing import Final

import pydantic_monty

from crewq import errors
from crewq.agent.sandbox import Execution, Limits, Sandbox, Session

MAX_PROCESSES = 4  # at once; runs are short, and each process may use the whole memory limit
WAIT_FOR_PROCESS = 120.0  # seconds; with the limits kept, that is many runs ahead in the queue
GRACE = 1.0  # seconds past the time limit in which the interpreter may stop by itself before it is killed

UNCHANGED = "The run was stopped. Names are as they were before it."
RESTARTED = "The interpreter was restarted. All names are gone: define again what you need."
STOPPING = (TimeoutError, MemoryError)  # of a limit: the interpreter promises nothing of its names after these


class MontySandbox(Sandbox):
    """Runs code in monty's worker processes, a few at a time."""

    name: Final = "monty"

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._starting = Lock()
        self._pool: pydantic_monty.Monty | None = None

    def session(self) -> Session:
        return MontySession(self._started(), self._limits)

    def close(self) -> None:
        with self._starting:
            pool, self._pool = self._pool, None
        if pool:
            pool.__exit__(None, None, None)

    def _started(self) -> pydantic_monty.Monty:
        with self._starting:
            if self._pool is None:
                self._pool = _start(self._limits)
            return self._pool


def _start(limits: Limits) -> pydantic_monty.Monty:
    pool = pydantic_monty.Monty(
        min_processes=1,
        max_processes=MAX_PROCESSES,
        checkout_timeout=WAIT_FOR_PROCESS,
        request_timeout=limits.seconds + 2 * GRACE,
        max_checkouts_per_worker=1,
        feed_duration_limit_grace=GRACE,
    )
    try:
        return pool.__enter__()
    except (OSError, RuntimeError) as error:
        raise _unavailable(error) from error


class MontySession(Session):
    """One interpreter's names, kept as the snapshot that its last run left."""

    def __init__(self, pool: pydantic_monty.Monty, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits
        self._snapshot: bytes | None = None

    def run(self, code: str) -> Execution:
        started = time.monotonic()
        printed = _Printed(self._limits.output_bytes)
        error = self._attempt(code, printed)
        return Execution(
            output=printed.text(),
            error=error and _clipped(error.encode(errors="replace"), self._limits.output_bytes),
            seconds=time.monotonic() - started,
            truncated=printed.full,
        )

    def close(self) -> None:
        self._snapshot = None

    def _attempt(self, code: str, printed: _Printed) -> str | None:
        code = code.encode(errors="replace").decode()
        if len(code.encode()) > self._limits.code_bytes:
            return f"The code is longer than {self._limits.code_bytes} bytes, so it was not run. Split it up."
        before = self._snapshot
        try:
            return self._in_worker(code, printed)
        except pydantic_monty.MontyError as error:
            return f"{self._why_stopped(error, printed)}\n{UNCHANGED if self._snapshot is before else RESTARTED}"
        except TimeoutError:
            return f"The sandbox was busy for {WAIT_FOR_PROCESS:g} s, so the code was not run. Try again."
        except RuntimeError as error:
            raise _unavailable(error) from error

    def _in_worker(self, code: str, printed: _Printed) -> str | None:
        limits = pydantic_monty.ResourceLimits(
            max_feed_duration_secs=self._limits.seconds, max_memory=self._limits.memory_bytes
        )
        with self._pool.checkout(limits=limits, os_policy={"sleep": "zero"}) as worker:
            if before := self._snapshot:
                self._snapshot = None  # one that cannot be loaded would fail every run after this one too
                worker.load_session(before)
                self._snapshot = before
            error = _feed(worker, code, printed)
            self._snapshot = worker.dump()
            return error

    def _why_stopped(self, error: pydantic_monty.MontyError, printed: _Printed) -> str:
        if printed.full:
            return f"The code printed more than {self._limits.output_bytes} bytes. Print less of it."
        if isinstance(error, pydantic_monty.MontyCrashedError):
            return f"The interpreter died: {error}"
        return _shown(error)


def _feed(worker: pydantic_monty.MontySession, code: str, printed: _Printed) -> str | None:
    """The traceback of what the code itself raised, which leaves the interpreter in order; None: it ended well."""
    printed.worker = worker.worker_pid
    try:
        worker.feed_run(_echoing(code), print_callback=printed)
    except (pydantic_monty.MontySyntaxError, pydantic_monty.MontyRuntimeError) as error:
        if isinstance(error.exception(), STOPPING):
            raise
        return _shown(error)
    return None


class _Printed:
    """What the code prints; when that is too much, its process is ended, for it heeds nothing less at once."""

    def __init__(self, limit: int) -> None:
        self.full = False
        self.worker: int | None = None
        self._limit = limit
        self._kept = bytearray()

    def __call__(self, stream: str, text: str) -> None:
        if self.full:
            return
        self._kept += text.encode(errors="replace")[: self._limit + 1]
        if len(self._kept) > self._limit:
            self.full = True
            self._end_worker()

    def text(self) -> str:
        return _clipped(bytes(self._kept), self._limit)

    def _end_worker(self) -> None:
        if self.worker is not None:
            with suppress(ProcessLookupError):
                os.kill(self.worker, signal.SIGKILL)


def _echoing(code: str) -> str:
    """`code`, made to print the value of its last statement if that is an expression, as an interactive Python does.

    The value is shown inside the sandbox, so that none of its size comes out of there.
    """
    try:
        last = ast.parse(code).body[-1:]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code  # the sandbox's own message is the one that counts
    if not last or not isinstance(last[0], ast.Expr):
        return code
    source, end = code.encode(), last[0].end_lineno or 0
    lines = source.splitlines(keepends=True)
    start_at = sum(map(len, lines[: last[0].lineno - 1])) + last[0].col_offset
    end_at = sum(map(len, lines[: end - 1])) + (last[0].end_col_offset or 0)
    expression = source[start_at:end_at].decode()
    return f"{source[:start_at].decode()}_ = ({expression})\nif _ is not None: print(repr(_))"


def _shown(error: pydantic_monty.MontyError) -> str:
    if isinstance(error, (pydantic_monty.MontySyntaxError, pydantic_monty.MontyRuntimeError)):
        return error.display()
    return str(error)


def _clipped(text: bytes, limit: int) -> str:
    return text[:limit].decode(errors="ignore")


def _unavailable(error: Exception) -> errors.SandboxUnavailable:
    return errors.SandboxUnavailable(
        sandbox=MontySandbox.name,
        reason=f"its interpreter did not start ({error}).",
        advice="Check that pydantic-monty is installed whole, and that this machine has memory and processes left.",
    )


__all__ = ["MontySandbox", "MontySession"]
