"""What every sandbox does: each of these runs in all of them, and real code runs in real interpreters."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from crewq import errors, sandboxes
from crewq.agent.sandbox import Names, Sandbox, Session, open_sandbox
from crewq.sandboxes import check
from tests.sandboxes import EVERY_SANDBOX, IMAGE, opened


@pytest.fixture(scope="module", params=EVERY_SANDBOX)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with opened(request.param) as found:
        yield found


@pytest.fixture(scope="module")
def session(sandbox: Sandbox) -> Iterator[Session]:
    with sandbox.session() as found:
        yield found


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
    assert execution.names is Names.KEPT


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

    sessions = {"monty": 48, "container": 6}[sandbox.name]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(one, range(sessions))) == [f"{number}\n" for number in range(sessions)]


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
    ],
)
def test_what_passes_a_limit_is_stopped(session: Session, code: str, says: str) -> None:
    session.run("kept = 1")
    execution = session.run("kept = 2\n" + code)
    assert says in (execution.error or "")
    assert execution.seconds < session.limits.seconds + 3
    left = {Names.UNCHANGED: "1\n", Names.GONE: ""}[execution.names]
    assert session.run("kept").output == left


@pytest.mark.parametrize("code", ["while True: print('x' * 1000)", "print('x' * 10**7)", "list(range(10**5))"])
def test_output_past_the_limit_stops_the_code_at_once(session: Session, code: str) -> None:
    session.run("1")  # so that it has started
    execution = session.run(code)
    assert execution.truncated
    assert len(execution.output) == session.limits.output_bytes
    assert "printed more than 10000 bytes" in (execution.error or "")
    assert execution.seconds < session.limits.seconds
    assert session.run("1").output == "1\n"


def test_a_huge_error_message_is_cut(session: Session) -> None:
    assert len(session.run("raise ValueError('x' * 10**6)").error or "") <= session.limits.output_bytes


def test_code_that_is_itself_too_long_is_not_run(session: Session) -> None:
    assert "longer than" in (session.run("print(1)\n" + "#" * session.limits.code_bytes).error or "")


def test_a_closed_session_runs_nothing_more(sandbox: Sandbox) -> None:
    session = sandbox.session()
    session.run("x = 1")
    session.close()
    execution = session.run("x")
    assert (execution.output, execution.names) == ("", Names.GONE)
    assert "closed" in (execution.error or "")


# -- which sandbox ------------------------------------------------------------------------------------------


def test_an_unknown_sandbox_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(errors.SandboxUnavailable, match=r"'exec'.*no sandbox of that name.*'monty' and 'container'"):
        open_sandbox("exec", IMAGE)


def test_a_missing_package_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    check("monty", IMAGE)
    monkeypatch.setattr(sandboxes, "find_spec", lambda name: None)
    with pytest.raises(errors.SandboxUnavailable, match="pip install pydantic-monty"):
        check("monty", IMAGE)
