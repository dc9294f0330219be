"""What is a container's alone: that it is held as tightly as it can be, and that it is gone in the end, whatever dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crewq import docker, errors
from crewq.agent.sandbox import Names, Sandbox, Session, container, open_sandbox
from crewq.agent.sandbox.code_tool import UNCHANGED, CodeTool
from crewq.sandboxes import check
from tests.sandboxes import IMAGE, LIMITS, need
from tests.waiting import until

ID = "import socket\nprint(socket.gethostname())"  # what Docker calls the container
pytestmark = pytest.mark.slow


@pytest.fixture
def engine() -> None:
    need("container")


@pytest.fixture
def sandbox(engine: None) -> Iterator[Sandbox]:
    with closing(open_sandbox("container", IMAGE, LIMITS["container"])) as opened:
        yield opened


@pytest.fixture
def session(sandbox: Sandbox) -> Iterator[Session]:
    with sandbox.session() as opened:
        yield opened


def ask_docker(*words: str, stdin: bytes = b"") -> str:
    return subprocess.run(["docker", *words], input=stdin, check=True, capture_output=True).stdout.decode().strip()


def exists(container_id: str) -> bool:
    return bool(ask_docker("ps", "--all", "--quiet", "--filter", f"id={container_id}"))


def states(container_id: str) -> list[str]:
    """What its processes do: R run, S sleep, T stopped."""
    return [line.split()[1][0] for line in ask_docker("top", container_id, "-eo", "pid,stat").splitlines()[1:]]


# -- how tightly it is held --------------------------------------------------------------------------------


def test_the_engine_was_asked_for_everything(session: Session) -> None:
    about: dict[str, Any] = json.loads(ask_docker("inspect", session.run(ID).output.strip()))[0]
    host = about["HostConfig"]
    assert about["Config"]["User"] == "65534:65534"
    assert about["Mounts"] == []
    assert host["Binds"] is None
    assert list(host["Tmpfs"]) == ["/tmp"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["Privileged"]) == ("none", True, False)
    assert (host["CapAdd"], host["CapDrop"], host["SecurityOpt"]) == (None, ["ALL"], ["no-new-privileges"])
    assert (host["Memory"], host["MemorySwap"]) == (LIMITS["container"].memory_bytes,) * 2
    assert (host["PidsLimit"], host["NanoCpus"]) == (64, 10**9)
    assert (host["AutoRemove"], host["LogConfig"]["Type"]) == (True, "none")


def test_the_kernel_was_told_all_of_it(session: Session) -> None:
    shown = session.run("for line in open('/proc/self/status'): print(line, end='')").output
    status = dict(line.split(":\t", 1) for line in shown.splitlines())
    assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert session.run("import os\nos.listdir('/sys/class/net')").output == "['lo']\n"
    assert session.run("os.listdir('/tmp')").output == "[]\n"


def test_no_address_of_a_proxy_gets_in(engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = {"default": {f"{kind}Proxy": "http://me:hunter2@proxy" for kind in ("http", "https", "ftp", "all", "no")}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    shown = "for name in ('self', '1'):\n  print(open(f'/proc/{name}/environ').read())"
    assert "hunter2" in ask_docker("run", "--rm", "--entrypoint=python3", IMAGE, "-c", shown), (
        "or else this shows nothing"
    )
    with closing(open_sandbox("container", IMAGE)) as opened, opened.session() as session:
        told = session.run("import os\nprint(dict(os.environ))\nprint(open('/proc/self/environ').read())").output
    assert "HOME" in told
    assert "hunter2" not in told


def test_a_fork_bomb_meets_the_limit_of_processes(session: Session) -> None:
    fork = "if os.fork() == 0: time.sleep(9)"
    told = session.run(
        f"import os, time\nn = 0\ntry:\n  while True:\n    {fork}\n    n += 1\nexcept OSError: print(n)"
    ).output
    assert 0 < int(told) <= 64


def test_nothing_runs_between_calls(session: Session) -> None:
    count = "import threading, time\nn = 0\ndef run():\n  global n\n  while True: n += 1; time.sleep(0.001)\n"
    session.run(f"{count}threading.Thread(target=run, daemon=True).start()\ntime.sleep(0.1)")
    assert int(session.run("n").output) > 0, "or else this shows nothing"
    session.run("import os\nfor i in range(9):\n  if os.fork() == 0:\n    while True: pass")
    here = session.run(f"{ID}\ntry:\n  while True: os.wait()\nexcept OSError: pass").output.strip()
    assert sorted(states(here)) == ["S", "T"]  # the guard sleeps, and the interpreter is stopped with all its threads


def test_the_limit_of_memory_is_one_for_all_processes(session: Session) -> None:
    use = "if os.fork() == 0:\n    x = bytearray(50 * 2**20)\n    time.sleep(0.5)\n    os._exit(0)"
    ends = "[os.wait()[1] for i in range(4)]"
    execution = session.run(f"import os, time\nfor i in range(4):\n  {use}\n{ends}")
    assert execution.output != "[0, 0, 0, 0]\n"
    assert execution.error is None or execution.names is Names.GONE


def test_a_child_that_runs_on_is_not_taken_for_the_interpreter(session: Session) -> None:
    session.run("import os\nwho = os.getpid()\nos.fork()")
    assert session.run("who == os.getpid()").output == "True\n"
    assert session.run("1").output == "1\n"


def test_no_more_than_a_few_run_at_once(engine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "RUNNING_AT_ONCE", 1)
    monkeypatch.setattr(container, "WAIT_FOR_TURN", 0.1)
    with closing(open_sandbox("container", IMAGE, LIMITS["container"])) as sandbox, sandbox.session() as busy:
        busy.run("import time")
        with sandbox.session() as other, ThreadPoolExecutor(1) as thread:
            running = thread.submit(busy.run, "print('first')\ntime.sleep(1)")
            told = until(lambda: other.run("1").error)
            assert "busy" in told
            assert running.result().output == "first\n"
            assert other.run("1").output == "1\n"


# -- that it ends ------------------------------------------------------------------------------------------


def test_it_is_gone_with_its_session(sandbox: Sandbox) -> None:
    session = sandbox.session()
    here = session.run(ID).output.strip()
    assert exists(here)
    session.close()
    assert not exists(here)


def test_it_is_gone_with_its_sandbox_even_while_it_runs(sandbox: Sandbox) -> None:
    session = sandbox.session()
    here = session.run(ID).output.strip()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(session.run, "while True: pass")
        sandbox.close()
        assert running.result(10).names is Names.GONE
    assert not exists(here)


def test_a_tool_that_is_closed_ends_what_runs(engine: None) -> None:
    patient = replace(LIMITS["container"], seconds=600)
    with closing(open_sandbox("container", IMAGE, patient)) as sandbox, ThreadPoolExecutor(1) as thread:
        tool = CodeTool(sandbox=sandbox)
        here = tool.run(code=ID).strip()
        running = thread.submit(tool.run, code="while True: pass")
        until(lambda: "R" in states(here))
        tool.close()
        assert UNCHANGED in running.result(10)
        assert not exists(here)


@pytest.mark.parametrize("code", ["while True: pass", "while True: print('x' * 1000)", "import os\nos._exit(3)"])
def test_it_is_gone_when_it_was_stopped(session: Session, code: str) -> None:
    here = session.run(ID).output.strip()
    assert session.run(code).names is Names.GONE
    assert not exists(here)
    assert session.run(ID).output.strip() != here


WORKER = """
import sys
from crewq.agent.sandbox import Limits, open_sandbox
session = open_sandbox("container", sys.argv[1], Limits(seconds=2)).session()
print(session.run(sys.argv[2]).output, end="", flush=True)
session.run(sys.argv[3])
sys.stdin.read()
"""


@pytest.mark.parametrize("then", ["x = 1", "import time\nwhile True: time.sleep(1)", "while True: pass"])
def test_it_is_gone_when_its_worker_was_killed(engine: None, then: str) -> None:
    command = [sys.executable, "-c", WORKER, IMAGE, ID, then]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout
        here = worker.stdout.readline().strip()
        assert exists(here)
        worker.kill()
    until(lambda: not exists(here), seconds=20)


def test_it_is_gone_when_the_command_line_was_killed(session: Session) -> None:
    here = session.run(ID).output.strip()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError):  # it has ended since
            ours = process.joinpath("stat").read_text().split(") ")[1].split()[1] == str(os.getpid())
            if ours and b"crewq-sandbox-" in process.joinpath("cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
    until(lambda: not exists(here), seconds=20)
    assert session.run("1").names is Names.GONE
    assert session.run("1").output == "1\n"


def test_it_ends_by_itself_when_its_life_is_over(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "LIFETIME", 1)
    with closing(open_sandbox("container", IMAGE, LIMITS["container"])) as opened, opened.session() as short:
        here = short.run(ID).output.strip()
        until(lambda: not exists(here))
        assert short.run("1").names is Names.GONE
        assert short.run("1").output == "1\n"


def test_what_should_be_gone_by_now_is_removed_by_whoever_comes_next(sandbox: Sandbox) -> None:
    def left(removable_from: float) -> str:
        return ask_docker("create", f"--label=crewq.sandbox={int(removable_from)}", IMAGE)

    old, young = left(time.time() - 1), left(time.time() + 60)
    try:
        with sandbox.session():
            assert not exists(old)
            assert exists(young)
    finally:
        ask_docker("rm", "--force", old, young)


# -- what it needs -----------------------------------------------------------------------------------------


def test_an_image_that_is_not_there_is_an_error_that_says_how_to_get_it(engine: None) -> None:
    with pytest.raises(errors.SandboxUnavailable, match=r"docker pull crewq/no-such-image:1 .*CREWQ_SANDBOX_IMAGE"):
        open_sandbox("container", "crewq/no-such-image:1")


def test_an_image_with_volumes_is_refused(engine: None) -> None:
    name = f"crewq-test-volumes:{os.getpid()}"
    base = ask_docker("create", IMAGE)
    try:
        ask_docker("commit", "--change=VOLUME /data", base, name)
        with pytest.raises(errors.SandboxUnavailable, match=r"volumes.*/data"):
            check("container", name)
    finally:
        ask_docker("rm", base)
        ask_docker("rmi", "--force", name)


def test_an_image_without_python_is_an_error_that_says_so(engine: None) -> None:
    name = f"crewq-test-empty:{os.getpid()}"
    ask_docker("import", "-", name, stdin=bytes(1024))  # an empty archive
    try:
        with (
            closing(open_sandbox("container", name)) as opened,
            opened.session() as session,
            pytest.raises(errors.SandboxUnavailable, match=r"(?s)did not start.*not found.*must have a python3"),
        ):
            session.run("1")
    finally:
        ask_docker("rmi", "--force", name)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command `docker` in the place of the real one: for engines that this machine does not have."""
    command = tmp_path / "docker"
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return command


def test_without_docker_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.SandboxUnavailable, match=r"'container'.*docker is not on PATH.*Install Docker"):
        open_sandbox("container", IMAGE)


def test_without_an_engine_the_error_says_how_to_find_one(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("docker") is None:
        pytest.skip("the command docker is not on PATH")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(
        errors.SandboxUnavailable, match=r"(?s)no Docker engine answers.*/nowhere.*Start it.*DOCKER_HOST"
    ):
        check("container", IMAGE)
    with pytest.raises(errors.SandboxUnavailable, match="no Docker engine answers"):
        docker.check_limits()


@pytest.mark.parametrize("lacking", ["MemoryLimit", "SwapLimit", "PidsLimit", "CpuCfsQuota"])
def test_an_engine_that_cannot_hold_limits_is_refused(fake: Path, lacking: str) -> None:
    about = dict.fromkeys(["MemoryLimit", "SwapLimit", "PidsLimit", "CpuCfsQuota"], True)
    script = "#!/bin/sh\n[ $1 = image ] && echo null && exit\necho '{}'\n"
    fake.write_text(script.format(json.dumps(about)))
    open_sandbox("container", IMAGE)
    fake.write_text(script.format(json.dumps(about | {lacking: False})))
    with pytest.raises(errors.SandboxUnavailable, match="this Docker engine cannot limit"):
        open_sandbox("container", IMAGE)


def test_an_engine_that_hangs_is_an_error_and_does_not_hang_the_worker(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(docker, "PATIENCE", 0.2)
    with pytest.raises(errors.SandboxUnavailable, match=r"nothing within 0\.2 s"):
        check("container", IMAGE)


def test_a_container_that_does_not_start_in_time_is_an_error(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = json.dumps(dict.fromkeys(["MemoryLimit", "SwapLimit", "PidsLimit", "CpuCfsQuota"], True))
    fake.write_text(
        f"#!/bin/sh\ncase $1 in image) echo null;; info) echo '{about}';; ps) ;; rm) ;; *) exec sleep 60;; esac\n"
    )
    monkeypatch.setattr(container, "WAIT_FOR_START", 0.2)
    limits = replace(LIMITS["container"], seconds=60)
    with (
        closing(open_sandbox("container", IMAGE, limits)) as opened,
        opened.session() as session,
        pytest.raises(errors.SandboxUnavailable, match=r"did not start within 0\.2 s"),
    ):
        session.run("1")
