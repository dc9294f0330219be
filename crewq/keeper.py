"""The embedded server's keeper: owns it while anybody uses it, and ends with the last user, however that one ended.

    python -I -S keeper.py LOCK COMMAND [ARGUMENT...]        started by `crewq.server` in the server's own directory

Each user holds a shared lock on `users.lock`, which the kernel drops at its death, so the keeper is alone when it can
have that lock for itself. LOCK is an open file that the starter has locked: while it is locked, there is a keeper.
It imports the standard library only, so that it starts in a few milliseconds and takes little memory.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from contextlib import suppress
from ctypes import CDLL
from pathlib import Path

TICK = 0.05  # seconds between two looks at the users and the server
FIRST_PAUSE = 0.05  # seconds before a dead server is started again, doubled at each death ...
LONGEST_PAUSE = 5.0  # ... up to this,
HEALTHY = 10.0  # and forgotten once it has lived for so long
PATIENCE = 10.0  # seconds in which a server has to save its data and end
PR_SET_PDEATHSIG = 1  # from Linux's <sys/prctl.h>


class Child:
    """The server as a child process, started again when it dies."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.pause = FIRST_PAUSE
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Start it, and note in `server.json`, for people, which processes they are."""
        self.starts += 1
        self.status: int | None = None
        self.born = time.monotonic()
        self.pid = _spawn(self.command)
        _note(pid=self.pid, keeper=os.getpid())

    def has_exited(self) -> bool:
        """Whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status, self.died = os.waitstatus_to_exitcode(status), time.monotonic()
        return self.status is not None

    @property
    def never_came_up(self) -> bool:
        """Whether it gave up by itself at its first start: it would do so again, and its log says why."""
        return self.starts == 1 and (self.status or 0) > 0 and self.died - self.born < HEALTHY

    def restart_when_due(self) -> None:
        """Start it again, unless it died so often that it has to wait."""
        if self.died - self.born > HEALTHY:
            self.pause = FIRST_PAUSE
        if time.monotonic() >= self.died + self.pause:
            self.pause = min(2 * self.pause, LONGEST_PAUSE)
            self.start()

    def stop(self) -> None:
        """Let it save its data and end; kill it if it takes too long."""
        if not self.has_exited():
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE
            while not self.has_exited():
                if time.monotonic() > deadline:
                    os.kill(self.pid, signal.SIGKILL)
                time.sleep(TICK / 10)


def keep(command: list[str]) -> None:
    """Run the server until its last user has left, starting it again when it dies."""
    users = os.open("users.lock", os.O_RDWR)
    server = Child(command)
    while not _is_ours(users):
        time.sleep(TICK)
        if server.has_exited():
            if server.never_came_up:
                return
            server.restart_when_due()
    server.stop()
    Path("server.json").unlink(missing_ok=True)


def _is_ours(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _spawn(command: list[str]) -> int:
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _die_with(keeper)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _die_with(parent: int) -> None:
    """Have the kernel end this process when `parent` does; elsewhere than on Linux, the next user's start ends it."""
    if sys.platform == "linux":
        CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


def _note(**facts: object) -> None:
    """Add to what `server.json` says, in one step."""
    new = Path("server.json.new")
    with suppress(OSError, ValueError):  # a full disk, or somebody's hand: no reason to leave the server alone
        new.write_text(json.dumps(json.loads(Path("server.json").read_text()) | facts))
        new.replace("server.json")


def main(lock: str, *command: str) -> None:
    """Leave the starter's process tree, then keep the server."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    os.set_inheritable(int(lock), False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep(list(command))


if __name__ == "__main__":
    main(*sys.argv[1:])

__all__ = ["Child", "keep", "main"]
