"""The sandbox for all of Python: a container of Docker's for each session, with whatever packages its image has.

A container lives from a session's first run to its end. It is told code through the standard input of `docker run`; if that
closes, because the worker was killed, the container ends by itself, at once or when the time for the run is over.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

from crewq import docker, errors
from crewq.agent.sandbox.inside import READY, REPLY_LIMIT
from crewq.agent.sandbox.session import Limits, Names, Outcome, Printed, Sandbox, Session

STANDARD = Limits(seconds=30.0, memory_bytes=512 * 2**20)  # importing pandas takes seconds and 100 MB
RUNNING_AT_ONCE = 4  # each may use a processor and the whole memory limit; between runs a container does nothing
WAIT_FOR_TURN = 120.0  # seconds; with the limits kept, that is some runs ahead in the queue
WAIT_FOR_START = 60.0  # seconds; it takes half of one when the machine is not busy
WAIT_FOR_END = 10.0  # seconds, for the engine to tell how a container has ended
CHUNK = 2**16
KILLED = 137  # the exit code of what SIGKILL has ended

PYTHON = """\
All of Python 3 and its standard library is there, and packages such as numpy and pandas may be: try to import them.
Not there: network, files (but for a small /tmp, which is empty at first), environment variables. Processes end with the call
that has started them, and threads stand still between calls."""

INSIDE = Path(__file__).with_name("inside.py")


class ContainerSandbox(Sandbox):
    """Runs code in containers of one image.

    Args:
        image: has a `python3` of 3.10 or later.
        limits: what one run may use.

    Raises:
        SandboxUnavailable: the engine cannot hold containers to limits.
    """

    name = "container"
    python = PYTHON

    def __init__(self, image: str, limits: Limits | None = None) -> None:
        docker.check_limits()
        self._image = image
        self._limits = limits or STANDARD
        self._turns = threading.Semaphore(RUNNING_AT_ONCE)
        self._sessions: WeakSet[Session] = WeakSet()

    def session(self) -> Session:
        docker.sweep()
        session = ContainerSession(self._image, self._limits, self._turns)
        self._sessions.add(session)
        return session

    def close(self) -> None:
        sessions = list(self._sessions)
        if sessions:  # side by side: each takes part of a second, and a worker that stops has few
            with ThreadPoolExecutor(len(sessions)) as threads:
                list(threads.map(Session.close, sessions))


class ContainerSession(Session):
    """The names that live in one container, and in the next one if that has ended."""

    def __init__(self, image: str, limits: Limits, turns: threading.Semaphore) -> None:
        super().__init__(limits)
        self._image = image
        self._turns = turns
        self._container = Container(image, limits)

    def close(self) -> None:
        super().close()
        self._container.end()

    def _attempt(self, code: str, printed: Printed) -> Outcome:
        if not self._turns.acquire(timeout=WAIT_FOR_TURN):
            error = f"The sandbox was busy for {WAIT_FOR_TURN:g} s, so the code was not run. Try again."
            return Outcome(error, Names.UNCHANGED)
        try:
            return self._in_container(code, printed)
        finally:
            self._turns.release()

    def _in_container(self, code: str, printed: Printed) -> Outcome:
        container = self._container
        container.start()
        outcome = container.run(code, printed)
        if outcome.names is Names.GONE:
            container.end()
            if not self._closed:
                self._container = Container(self._image, self.limits)
        return outcome


class Container:
    """One container, from its start to its removal. `end` may be called from any thread."""

    def __init__(self, image: str, limits: Limits) -> None:
        self._name = f"crewq-sandbox-{secrets.token_hex(8)}"
        self._limits = limits
        # Python's own limit is somewhat lower, so that it says what is wrong before the kernel kills it.
        arguments = (docker.LIFETIME, int(limits.seconds) + 2, limits.memory_bytes * 7 // 8)
        program = ["-I", "-X", "utf8", "-c", INSIDE.read_text(), *map(str, arguments)]
        self._command = docker.command(self._name, image, limits.memory_bytes, program)
        self._process: subprocess.Popen[bytes] | None = None
        self._changing = threading.Lock()
        self._ended = False

    def start(self) -> None:
        """Start it, unless that was done before.

        Raises:
            SandboxUnavailable: it does not start.
        """
        with self._changing:
            if self._process or self._ended:
                return
            pipe = subprocess.PIPE
            # In a session of its own: a Ctrl-C is for the worker, which ends its containers itself.
            self._process = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        deadline = Deadline(WAIT_FOR_START, self.end)
        ready = _stream(self._process.stdout).readline() == READY
        if not (deadline.met() and ready):
            raise self._not_started(self._process)

    def run(self, code: str, printed: Printed) -> Outcome:
        """Have the interpreter in it run `code`; if the names are gone after that, the container is of no more use."""
        process = self._process
        if process is None:
            return Outcome("The session was closed meanwhile, so the code was not run.", Names.GONE)
        deadline = Deadline(self._limits.seconds, self.end)
        reply = self._reply(process, code, printed, deadline)
        if not deadline.met():
            return Outcome(f"TimeoutError: the code took longer than {self._limits.seconds:g} s.", Names.GONE)
        if reply is None:
            return Outcome(self._why_ended(process), Names.GONE)
        error, fit = json.loads(reply)
        return Outcome(error, Names.KEPT if fit else Names.GONE)

    def end(self) -> None:
        """Kill and remove it; returns when that is done."""
        with self._changing:
            if self._ended:
                return
            self._ended = True
            if self._process:
                docker.remove(self._name)
                self._process.kill()
                self._process.wait()
                for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                    with suppress(OSError):
                        _stream(stream).close()

    def _reply(self, process: subprocess.Popen[bytes], code: str, printed: Printed, deadline: Deadline) -> bytes | None:
        """What the guard says of a run; None: the container has ended, or the code has printed too much.

        It reads on until the container has ended: the engine does not end one whose output nobody takes.
        """
        mark = secrets.token_hex(16).encode()
        out = _stream(process.stdout)
        unsure = b""
        with suppress(OSError, ValueError):  # it is ended by another thread
            asks = _stream(process.stdin)
            asks.write(b"%b %b\n" % (mark, json.dumps(code).encode()))
            asks.flush()
            while chunk := out.read1(CHUNK):
                text, found, reply = (unsure + chunk).partition(mark)
                sure = max(0, len(text) if found else len(text) - len(mark) + 1)  # the rest may be the mark's beginning
                unsure = text[sure:]
                printed.add(text[:sure])
                if printed.full:
                    deadline.miss()
                elif found:
                    return bytes(reply) if reply.endswith(b"\n") else reply + out.readline(REPLY_LIMIT)
        printed.add(unsure)
        return None

    def _not_started(self, process: subprocess.Popen[bytes]) -> errors.SandboxUnavailable:
        process.kill()
        with suppress(ValueError):  # it was ended meanwhile
            said = _stream(process.stderr).read(CHUNK).decode(errors="replace").strip()
        self.end()
        return docker.unavailable(
            f"its container did not start within {WAIT_FOR_START:g} s ({said[-1000:] or 'it said nothing'}).",
            "Look for the cause with `crewq doctor`; the image must have a python3 of 3.10 or later.",
        )

    def _why_ended(self, process: subprocess.Popen[bytes]) -> str:
        with suppress(subprocess.TimeoutExpired):
            process.wait(WAIT_FOR_END)
        if process.returncode == KILLED:
            megabytes = self._limits.memory_bytes // 2**20
            return f"MemoryError: the interpreter was killed, most likely as it used more than {megabytes} MB."
        return f"The interpreter died (exit code {process.returncode})."


class Deadline:
    """Has something done, in another thread, after some seconds, unless the deadline is met before that."""

    def __init__(self, seconds: float, missed: Callable[[], None]) -> None:
        self._first = threading.Lock()  # belongs to whoever is first, and is never released
        self._missed = missed
        self._timer = threading.Timer(seconds, self.miss)
        self._timer.daemon = True
        self._timer.start()

    def met(self) -> bool:
        """Whether this was called in time."""
        self._timer.cancel()
        return self._first.acquire(blocking=False)

    def miss(self) -> None:
        """Have it done now."""
        if self._first.acquire(blocking=False):
            threading.Thread(target=self._missed, daemon=True).start()


def _stream(stream: IO[bytes] | None) -> Any:
    assert stream is not None  # a pipe was asked for; only buffered ones, which these are, have `read1`
    return stream


__all__ = ["STANDARD", "Container", "ContainerSandbox", "ContainerSession", "Deadline"]
