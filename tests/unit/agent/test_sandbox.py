"""The sandboxes run real code here, and real attacks; what an attack reached is looked at from outside of it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from crewq import errors
from crewq.agent import sandbox as sandboxes
from crewq.agent.sandbox import Limits, Sandbox, Session, check, open_sandbox

NAMES = ["monty"]
LIMITS = Limits(seconds=0.5, memory_bytes=32 * 2**20, output_bytes=10_000)
SECRET = "sk-do-not-show-this"


@pytest.fixture(scope="module", params=NAMES)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with closing(open_sandbox(request.param, LIMITS)) as opened:
        yield opened


@pytest.fixture
def session(sandbox: Sandbox) -> Iterator[Session]:
    with sandbox.session() as opened:
        yield opened


# -- what it is for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("print('a'); print('b')", "a\nb\n"),
        ("sum([1, 2])", "3\n"),
        ("x = 2\nx * 21  # the answer", "42\n"),
        ("'€' + \\\n  'ü'", "'€ü'\n"),
        ("(\n  1 +\n  2\n)", "3\n"),
        ("x = '€€'; (x)  ;", "'€€'\n"),
        ("class A:\n    def __repr__(self): return 'an A'\nA()", "an A\n"),
        ("async def f(): return 7\nawait f()", "7\n"),
        ("print(1)\nNone", "1\n"),
        ("x = 1", ""),
        ("", ""),
        ("'\ud800'", "'?'\n"),
    ],
)
def test_output_is_what_is_printed_and_the_value_of_a_last_expression(session: Session, code: str, output: str) -> None:
    execution = session.run(code)
    assert (execution.output, execution.error, execution.truncated) == (output, None, False)


def test_state_persists_within_a_session_and_not_between_sessions(sandbox: Sandbox, session: Session) -> None:
    session.run("import math\ndef area(r): return math.pi * r * r\nrest = iter([1, 2, 3])\nnext(rest)")
    assert session.run("round(area(2), 2), list(rest)").output == "(12.57, [2, 3])\n"
    with sandbox.session() as other:
        assert "NameError" in (other.run("area(2)").error or "")


def test_an_error_is_a_traceback_and_keeps_what_was_done_before_it(session: Session) -> None:
    execution = session.run("x = 5\nprint('so far')\n1 / 0")
    assert execution.output == "so far\n"
    assert execution.error is not None
    assert "line 3" in execution.error
    assert execution.error.endswith("ZeroDivisionError: division by zero")
    assert session.run("x").output == "5\n"


def test_a_syntax_error_is_reported_and_harms_nothing(session: Session) -> None:
    session.run("x = 5")
    assert "SyntaxError" in (session.run("def f(").error or "")
    assert session.run("x").output == "5\n"


def test_many_threads_run_at_once_each_in_its_own_session(sandbox: Sandbox) -> None:
    def one(number: int) -> str:
        with sandbox.session() as own:
            own.run(f"n = {number}")
            return own.run("n").output

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(one, range(48))) == [f"{number}\n" for number in range(48)]


# -- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("while True: pass", "TimeoutError"),
        (
            "def f():\n  while True:\n    try:\n      while True: pass\n    except BaseException: pass\nf()",
            "TimeoutError",
        ),
        ("x = 'a' * 10**10", "MemoryError"),
        ("x = [0] * 10**9", "MemoryError"),
        ("x = []\nwhile True: x.append('a' * 1000)", "MemoryError"),
        ("10 ** 10 ** 8", "MemoryError"),
    ],
)
def test_what_passes_a_limit_is_stopped_and_leaves_the_session_as_it_was(
    session: Session, code: str, says: str
) -> None:
    session.run("kept = 1")
    execution = session.run("kept = 2\n" + code)
    assert says in (execution.error or "")
    assert execution.seconds < LIMITS.seconds + 2
    assert session.run("kept").output == "1\n"


@pytest.mark.parametrize("code", ["while True: print('x' * 1000)", "print('x' * 10**7)", "list(range(10**5))"])
def test_output_past_the_limit_stops_the_code_at_once(session: Session, code: str) -> None:
    execution = session.run(code)
    assert execution.truncated
    assert len(execution.output) == LIMITS.output_bytes
    assert "printed more than 10000 bytes" in (execution.error or "")
    assert execution.seconds < LIMITS.seconds
    assert session.run("1").output == "1\n"


def test_a_huge_error_message_is_cut(session: Session) -> None:
    assert len(session.run("raise ValueError('x' * 10**6)").error or "") <= LIMITS.output_bytes


def test_code_that_is_itself_too_long_is_not_run(session: Session) -> None:
    assert "longer than" in (session.run("print(1)\n" + "#" * LIMITS.code_bytes).error or "")


@pytest.mark.parametrize("code", ["-" * 90_000 + "1", "(" * 90_000, "a" + ".b" * 40_000, "not " * 20_000 + "1"])
def test_code_made_to_break_parsers_is_an_error(session: Session, code: str) -> None:
    assert session.run(code).error
    assert session.run("1").output == "1\n"


def test_sleeping_costs_no_time(session: Session) -> None:
    assert session.run("import time\ntime.sleep(60)").seconds < LIMITS.seconds


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_an_interpreter_that_dies_or_freezes_is_an_error_and_then_replaced(sent: int) -> None:
    limits = replace(LIMITS, seconds=2)  # the signal comes long before the limit, even on a busy machine
    others = children()  # servers and workers of other tests, which use the processor too
    with closing(open_sandbox("monty", limits)) as opened, opened.session() as session:
        session.run("kept = 1")
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(session.run, "while True: pass")
            wait_until(lambda: children(at_least_ticks=5) - others)
            (interpreter,) = children(at_least_ticks=5) - others
            os.kill(interpreter, sent)
            assert "The interpreter died" in (running.result(10).error or "")
        assert session.run("kept").output == "1\n"


# -- attacks ------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


@pytest.mark.parametrize(
    "path", ["secret", "/etc/passwd", "/proc/self/environ", "/proc/1/environ", "/proc/{parent}/environ"]
)
@pytest.mark.parametrize(
    "code",
    [
        "print(open({path!r}).read())",
        "print(open('../../../..' + {path!r}).read())",
        "import pathlib\nprint(pathlib.Path({path!r}).read_text())",
        "import os\nprint(os.listdir({folder!r}))",
        "import os\nprint(os.read(os.open({path!r}, 0), 100))",
    ],
)
def test_files_are_not_read(session: Session, tmp_path: Path, code: str, path: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    target = secret if path == "secret" else Path(path.format(parent=os.getpid()))
    execution = session.run(code.format(path=str(target), folder=str(target.parent)))
    assert execution.error
    assert execution.output == ""


@pytest.mark.parametrize(
    "code",
    [
        "open({path!r}, 'w').write('x')",
        "import pathlib\npathlib.Path({path!r}).write_text('x')",
        "import os\nos.mkdir({path!r})",
        "import os\nos.symlink('/etc/passwd', {path!r})",
    ],
)
def test_files_are_not_written(session: Session, tmp_path: Path, code: str) -> None:
    assert session.run(code.format(path=str(tmp_path / "new"))).error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "code",
    [
        "import os\nprint(os.environ)",
        "import os\nprint(os.environ['CREWQ_TEST_SECRET'])",
        "import os\nprint(os.getenv('CREWQ_TEST_SECRET'))",
        "import sys\nprint(sys.modules['os'].environ)",
        "print(open('/proc/self/environ').read())",
        f"print(open('/proc/{os.getpid()}/environ').read())",
    ],
)
def test_the_environment_is_not_seen(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWQ_TEST_SECRET", SECRET)
    for name in NAMES:
        with closing(open_sandbox(name, LIMITS)) as opened, opened.session() as session:
            execution = session.run(code)
            assert execution.error
            assert SECRET not in execution.output + execution.error


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_even_the_interpreters_process_has_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWQ_TEST_SECRET", SECRET)
    before = children()
    with closing(open_sandbox("monty", LIMITS)) as opened, opened.session():
        started = children() - before
        assert started
        assert [Path(f"/proc/{pid}/environ").read_bytes() for pid in started] == [b""] * len(started)


@pytest.mark.parametrize(
    "code",
    [
        "import socket\nsocket.create_connection(('127.0.0.1', {port}))",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}')",
        "import http.client\nhttp.client.HTTPConnection('127.0.0.1', {port}).request('GET', '/')",
        "import asyncio\nawait asyncio.open_connection('127.0.0.1', {port})",
        "import asyncio\nasyncio.get_event_loop().create_connection(None, '127.0.0.1', {port})",
        "open('/dev/tcp/127.0.0.1/{port}')",
    ],
)
def test_the_network_is_not_reached(session: Session, server: socket.socket, code: str) -> None:
    assert session.run(code.format(port=server.getsockname()[1])).error
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess\nsubprocess.run(['touch', {path!r}])",
        "import os\nos.system('touch ' + {path!r})",
        "import os\nos.popen('touch ' + {path!r}).read()",
        "import os\nfor i in range(100):\n    if os.fork() == 0: open({path!r}, 'w')",
        "import os\nos.execv('/bin/touch', ['touch', {path!r}])",
        "import multiprocessing\nmultiprocessing.Process(target=print).start()",
        "import threading\nthreading.Thread(target=lambda: open({path!r}, 'w')).start()",
        "import ctypes\nctypes.CDLL(None).system(b'touch ' + {path!r}.encode())",
        "import pty\npty.spawn(['touch', {path!r}])",
        "__import__('os').system('touch ' + {path!r})",
        "import importlib\nimportlib.import_module('os').system('touch ' + {path!r})",
        "eval(\"__import__('os').system('touch ' + {path!r})\")",
        "exec('import os; os.system(\"touch \" + {path!r})')",
        "().__class__.__bases__[0].__subclasses__()",
        "(lambda: 0).__globals__['__builtins__']",
        "[c for c in ''.__class__.__mro__[1].__subclasses__() if 'Popen' in c.__name__][0](['touch', {path!r}])",
        "try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame.f_globals['__builtins__']",
        "print.__self__.__loader__.load_module('os').system('touch ' + {path!r})",
        "'{{0.__class__.__init__.__globals__}}'.format(print)",
    ],
)
def test_no_process_is_started_and_no_way_out_is_found(session: Session, tmp_path: Path, code: str) -> None:
    execution = session.run(code.format(path=str(tmp_path / "reached")))
    assert execution.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "code",
    [
        f"import os\nos.kill({os.getpid()}, 10)",
        "import os\nos.kill(os.getppid(), 10)",
        "import os, signal\nos.killpg(0, signal.SIGUSR1)",
        f"import signal\nsignal.pidfd_send_signal({os.getpid()}, 10)",
    ],
)
def test_the_parent_gets_no_signal(session: Session, code: str) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        assert session.run(code).error
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == []


@pytest.mark.parametrize(
    "code",
    [
        "def f(n): return f(n + 1)\nf(0)",
        "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')\nre.match(r'(a+)+\\1$', 'a' * 60 + 'b')\nwhile True: pass",
        "x = []\nfor i in range(200_000): x = [x]\nrepr(x)\nx == [x]\nwhile True: pass",
        "x = []\nx.append(x)\nx == [x]\nwhile True: pass",
    ],
)
def test_deep_and_slow_things_end_within_the_limit(session: Session, code: str) -> None:
    execution = session.run(code)
    assert execution.error
    assert execution.seconds < LIMITS.seconds + 2
    assert session.run("1").output == "1\n"


# -- which sandbox ------------------------------------------------------------------------------------------


def test_an_unknown_sandbox_is_an_error_that_names_the_one_there_is() -> None:
    with pytest.raises(errors.SandboxUnavailable, match=r"'exec'.*no sandbox of that name.*'monty'"):
        open_sandbox("exec")


def test_a_missing_package_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    check("monty")
    monkeypatch.setattr(sandboxes, "find_spec", lambda name: None)
    with pytest.raises(errors.SandboxUnavailable, match="pip install pydantic-monty"):
        check("monty")


def test_an_interpreter_that_cannot_start_is_an_error_and_not_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONTY_BIN", "/nowhere/monty")
    with closing(open_sandbox("monty")) as opened, pytest.raises(errors.SandboxUnavailable, match="did not start"):
        opened.session()


def test_a_closed_sandbox_leaves_no_process() -> None:
    before = children()
    opened = open_sandbox("monty", LIMITS)
    with opened.session():
        started = children() - before
    assert started
    opened.close()
    wait_until(lambda: not children() & started)


# -- what the tests look with -------------------------------------------------------------------------------


def children(at_least_ticks: int = 0) -> set[int]:
    """The processes that this one has started, that have not ended, and that have used so much of the processor."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended since
            pid, _, rest = stat.read_text().partition(" (")
            state, parent, *fields = rest.rpartition(")")[2].split()
            if int(parent) == os.getpid() and state != "Z" and int(fields[9]) >= at_least_ticks:
                found.add(int(pid))
    return found


def wait_until(fact: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)
