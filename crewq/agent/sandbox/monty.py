"""The default sandbox: pydantic-monty, an interpreter of a subset of Python that has no way out of itself.

Each run has a worker process of its own, with an empty environment, which starts in a few milliseconds and ends with the
run. Between runs a session is a snapshot that the worker made, so that no process is held while a model thinks, and a run
that is stopped leaves the session as it was before.
"""

from __future__ import annotations

import ast
import os
import signal
from contextlib import suppress
from threading import Lock

import pydantic_monty

from crewq import errors
from crewq.agent.sandbox.session import Limits, Names, Outcome, Printed, Sandbox, Session

MAX_PROCESSES = 4  # at once; runs are short, and each process may use the whole memory limit
WAIT_FOR_PROCESS = 120.0  # seconds; with the limits kept, that is many runs ahead in the queue
GRACE = 1.0  # seconds past the time limit in which the interpreter may stop by itself before it is killed

PYTHON = """\
A subset of Python 3 is there: functions, closures, async, plain classes and dataclasses, comprehensions, match, try, f-strings.
Not there: class inheritance, yield, del, method decorators, files, network, environment variables, other processes, packages.
Importable: asyncio base64 bisect collections copy csv dataclasses datetime decimal functools hashlib itertools json math
random re sys time typing unicodedata."""

STOPPING = (TimeoutError, MemoryError)  # of a limit: the interpreter promises nothing of its names after these


class MontySandbox(Sandbox):
    """Runs code in monty's worker processes, a few at a time.

    Args:
        limits: what one run may use.
    """

    name = "monty"
    python = PYTHON

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
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
        super().__init__(limits)
        self._pool = pool
        self._snapshot: bytes | None = None

    def close(self) -> None:
        super().close()
        self._snapshot = None

    def _attempt(self, code: str, printed: Printed) -> Outcome:
        before = self._snapshot
        try:
            return Outcome(self._in_worker(code, printed), Names.KEPT)
        except pydantic_monty.MontyCrashedError as error:
            return Outcome(f"The interpreter died: {error}", self._left(before))
        except pydantic_monty.MontyError as error:
            return Outcome(_shown(error), self._left(before))
        except TimeoutError:
            busy = f"The sandbox was busy for {WAIT_FOR_PROCESS:g} s, so the code was not run. Try again."
            return Outcome(busy, Names.UNCHANGED)
        except RuntimeError as error:
            raise _unavailable(error) from error

    def _left(self, before: bytes | None) -> Names:
        return Names.UNCHANGED if self._snapshot is before else Names.GONE

    def _in_worker(self, code: str, printed: Printed) -> str | None:
        limits = pydantic_monty.ResourceLimits(
            max_feed_duration_secs=self.limits.seconds, max_memory=self.limits.memory_bytes
        )
        with self._pool.checkout(limits=limits, os_policy={"sleep": "zero"}) as worker:
            if before := self._snapshot:
                self._snapshot = None  # one that cannot be loaded would fail every run after this one too
                worker.load_session(before)
                self._snapshot = before
            error = _feed(worker, code, printed)
            self._snapshot = worker.dump()
            return error


def _feed(worker: pydantic_monty.MontySession, code: str, printed: Printed) -> str | None:
    """The traceback of what the code itself raised, which leaves the interpreter in order; None: it ended well."""

    process = worker.worker_pid

    def take(_stream: str, text: str) -> None:
        printed.add(text.encode(errors="replace"))
        if printed.full and process:  # it heeds nothing less at once
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    try:
        worker.feed_run(_echoing(code), print_callback=take)
    except (pydantic_monty.MontySyntaxError, pydantic_monty.MontyRuntimeError) as error:
        if isinstance(error.exception(), STOPPING):
            raise
        return _shown(error)
    return None


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


def _unavailable(error: Exception) -> errors.SandboxUnavailable:
    return errors.SandboxUnavailable(
        sandbox=MontySandbox.name,
        reason=f"its interpreter did not start ({error}).",
        advice="Check that pydantic-monty is installed whole, and that this machine has memory and processes left.",
    )


__all__ = ["MontySandbox", "MontySession"]
