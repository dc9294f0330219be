"""The embedded server, with real processes: it is there while it is used, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from crewq import errors, server
from crewq.server import join
from tests.waiting import until

USER = """
import sys
from pathlib import Path
from crewq.server import join
print(join(Path(sys.argv[1])).url, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "a project" / ".crewq"


@pytest.fixture
def user(directory: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start another process that uses the server until its stdin ends; its first line of output is the URL."""
    with ExitStack() as started:

        def start() -> subprocess.Popen[str]:
            command = [sys.executable, "-c", USER, str(directory)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


def url_of(user: subprocess.Popen[str]) -> str:
    assert user.stdout
    return user.stdout.readline().strip()


def client(url: str) -> Any:
    return redis.Redis.from_url(url, decode_responses=True)


def noted(directory: Path) -> dict[str, Any]:
    """What `server.json` says, once the keeper has added the processes."""

    def facts() -> dict[str, Any]:
        read: dict[str, Any] = json.loads((directory / "server.json").read_text())
        return read if "pid" in read else {}

    return until(facts)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that is dead, and only not yet buried, does not."""
    try:
        os.kill(pid, 0)
        return sys.platform != "linux" or ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def answers(url: str) -> bool:
    try:
        with client(url) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False


def is_gone(directory: Path) -> bool:
    """Whether the server has left, and its keeper with it."""
    lock = server._keeper_lock(directory)
    if lock is not None:
        os.close(lock)
    return lock is not None


def test_it_starts_in_a_directory_with_spaces_and_keeps_runs_safe(directory: Path) -> None:
    with join(directory) as mine:
        config = client(mine.url).config_get("*")
    wanted = {
        "bind": "127.0.0.1",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    assert {name: config[name] for name in wanted} == wanted


def test_a_second_process_joins_the_first_ones_server(
    directory: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    with join(directory) as mine:
        assert url_of(user()) == mine.url


def test_data_survives_the_last_user(directory: Path) -> None:
    with join(directory) as first:
        client(first.url).set("name", "value")
    until(lambda: is_gone(directory))
    with join(directory) as second:
        assert client(second.url).get("name") == "value"


def test_everything_is_gone_after_the_last_user(directory: Path, user: Callable[[], subprocess.Popen[str]]) -> None:
    users = [user(), user()]
    url = url_of(users[0])
    assert url_of(users[1]) == url
    processes = noted(directory)
    users[0].communicate("")
    assert answers(url)
    users[1].communicate("")
    until(lambda: not is_alive(processes["pid"]) and not is_alive(processes["keeper"]))
    assert not (directory / "server.json").exists()


def test_everything_is_gone_after_every_user_was_killed(
    directory: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    users = [user() for _ in range(3)]
    urls = {url_of(each) for each in users}
    assert len(urls) == 1
    client(urls.pop()).set("name", "value")
    processes = noted(directory)
    for each in users:
        each.kill()
    until(lambda: not is_alive(processes["pid"]) and not is_alive(processes["keeper"]))
    with join(directory) as mine:
        assert client(mine.url).get("name") == "value"


def test_users_that_start_at_once_share_one_server(directory: Path, user: Callable[[], subprocess.Popen[str]]) -> None:
    users = [user() for _ in range(5)]
    assert len({url_of(each) for each in users}) == 1


def test_one_who_comes_while_the_last_one_leaves_finds_a_server(directory: Path) -> None:
    for count in range(1, 21):
        with join(directory) as mine:
            assert client(mine.url).incr("count") == count
        if count % 4 == 0:  # let the keeper get as far as shutting down
            until(lambda: not (directory / "server.json").exists() or is_gone(directory))


def test_a_killed_server_comes_back_with_its_data(directory: Path) -> None:
    with join(directory) as mine, client(mine.url) as connection:
        for count in (1, 2, 3):
            assert connection.incr("count") == count
            until(lambda: connection.info("persistence")["aof_pending_bio_fsync"] == 0)
            pid = noted(directory)["pid"]
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: answers(mine.url) and noted(directory)["pid"] != pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_server_does_not_outlive_a_killed_keeper_and_comes_back_at_its_address(directory: Path) -> None:
    with join(directory) as mine:
        client(mine.url).set("name", "value")
        processes = noted(directory)
        os.kill(processes["keeper"], signal.SIGKILL)
        until(lambda: not is_alive(processes["pid"]))
        with join(directory) as other:
            assert other.url == mine.url
            assert client(mine.url).get("name") == "value"


def test_a_forked_child_is_no_user(directory: Path) -> None:
    mine = join(directory)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        mine.close()
        until(lambda: is_gone(directory))
    finally:
        os.close(read)
        os.close(write)
        os.waitpid(child, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_password_is_needed_and_on_no_command_line(directory: Path) -> None:
    with join(directory) as mine:
        facts = noted(directory)
        password = facts["password"]
        assert password in mine.url
        for name in ("pid", "keeper"):
            shown = Path(f"/proc/{facts[name]}/cmdline").read_text()
            assert "server" in shown
            assert password not in shown
        with pytest.raises(redis.AuthenticationError):
            client(mine.url.replace(password, "")).ping()


def test_the_directory_is_private_and_ignored_by_git(directory: Path) -> None:
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    with join(directory):
        noted(directory)
        files = [directory, *directory.rglob("*")]
    open_to_others = [path.name for path in files if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    assert [name for name in open_to_others if name != ".gitignore"] == []
    assert (directory / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize(
    "left_over", ["", "nonsense", '{"port": 1}', '{"port": 1, "password": "x", "kind": "bundled"}']
)
def test_a_stale_note_is_no_hindrance(directory: Path, left_over: str) -> None:
    directory.mkdir(parents=True)
    (directory / "server.json").write_text(left_over)
    with join(directory) as mine:
        assert answers(mine.url)


def test_a_cut_off_log_of_writes_is_read_as_far_as_it_goes(directory: Path) -> None:
    with join(directory) as mine:
        client(mine.url).mset({"name": "value"})
    until(lambda: is_gone(directory))
    with next(directory.glob("appendonlydir/*.incr.aof")).open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nna")
    with join(directory) as mine:
        assert client(mine.url).get("name") == "value"


def test_a_broken_log_of_writes_says_what_to_do(directory: Path) -> None:
    with join(directory) as mine:
        client(mine.url).set("name", "value")
    until(lambda: is_gone(directory))
    with next(directory.glob("appendonlydir/*.incr.aof")).open("r+b") as file:
        file.write(b"nonsense")
    with pytest.raises(errors.ServerBroken, match=r"(?s)Bad file format.*valkey-check-aof --fix"):
        join(directory)
    assert is_gone(directory)


def test_a_directory_that_cannot_be_made_says_where_to_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.ServerBroken, match="CREWQ_DATA_DIR"):
        join(tmp_path / "file" / ".crewq")


def test_without_any_server_it_says_how_to_get_one(directory: Path) -> None:
    with pytest.raises(errors.ServerMissing, match="valkey"):
        join(directory, kinds=())
    with join(directory) as mine:
        assert answers(mine.url)


def test_fakeredis_is_a_last_resort_with_a_warning(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with join(directory, kinds=("fake",)) as mine:
        assert mine.kind == "fake"
        assert client(mine.url).eval("return redis.call('INCR', KEYS[1])", 1, "count") == 1
        pid = noted(directory)["pid"]
        with join(directory) as other:
            assert other.url == mine.url
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "KEEPS NOTHING ON DISK" in caplog.text
    until(lambda: not is_alive(pid))


def test_a_server_on_the_path_is_taken_if_it_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(name: str, says: str) -> str:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
        return str(program)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    new = install("redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=jemalloc bits=64")
    install("valkey-server", "Redis server v=5.0.3 sha=00000000:0")
    assert server._installed() == [new, "server.conf"]
    newer = install("valkey-server", "Valkey server v=8.0.1 sha=00000000:0")
    assert server._installed() == [newer, "server.conf"]


def test_a_port_that_was_taken_since_is_left_to_its_taker(directory: Path) -> None:
    directory.mkdir(parents=True)
    with join(directory.parent / "other") as other:
        note = json.loads((directory.parent / "other" / "server.json").read_text()) | {"password": "unknown"}
        (directory / "server.json").write_text(json.dumps(note))
        with join(directory) as mine:
            assert mine.url.rpartition("@")[2] != other.url.rpartition("@")[2]
