"""What is monty's alone: how its processes come and go, and what only an interpreter of its own can do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from crewq import errors
from crewq.agent.sandbox import Names, Sandbox, Session, open_sandbox
from tests.sandboxes import IMAGE, LIMITS
from tests.waiting import until


def open_monty() -> Sandbox:
    return open_sandbox("monty", IMAGE, LIMITS["monty"])


@pytest.fixture
def session() -> Iterator[Session]:
    with closing(open_monty()) as sandbox, sandbox.session() as opened:
        yield opened


@pytest.mark.parametrize("code", ["-" * 90_000 + "1", "(" * 90_000, "a" + ".b" * 40_000, "not " * 20_000 + "1"])
def test_code_made_to_break_parsers_is_an_error(session: Session, code: str) -> None:
    assert session.run(code).error
    assert session.run("1").output == "1\n"


@pytest.mark.parametrize("code", ["x = 'a' * 10**10", "10 ** 10 ** 8", "while True: pass"])
def test_a_run_that_is_stopped_leaves_the_session_as_it_was(session: Session, code: str) -> None:
    session.run("kept = 1")
    assert session.run("kept = 2\n" + code).names is Names.UNCHANGED
    assert session.run("kept").output == "1\n"


def test_sleeping_costs_no_time(session: Session) -> None:
    assert session.run("import time\ntime.sleep(60)").seconds < LIMITS["monty"].seconds


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_an_interpreter_that_dies_or_freezes_is_an_error_and_then_replaced(sent: int) -> None:
    limits = replace(LIMITS["monty"], seconds=2)  # the signal comes long before the limit, even on a busy machine
    others = children()  # servers and workers of other tests, which use the processor too
    with closing(open_sandbox("monty", IMAGE, limits)) as opened, opened.session() as session:
        session.run("kept = 1")
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(session.run, "while True: pass")
            until(lambda: children(at_least_ticks=5) - others)
            (interpreter,) = children(at_least_ticks=5) - others
            os.kill(interpreter, sent)
            assert "The interpreter died" in (running.result(10).error or "")
        assert session.run("kept").output == "1\n"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_even_the_interpreters_process_has_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWQ_TEST_SECRET", "sk-do-not-show-this")
    before = children()
    with closing(open_monty()) as opened, opened.session():
        started = children() - before
        assert started
        assert [Path(f"/proc/{pid}/environ").read_bytes() for pid in started] == [b""] * len(started)


def test_an_interpreter_that_cannot_start_is_an_error_and_not_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONTY_BIN", "/nowhere/monty")
    with closing(open_monty()) as opened, pytest.raises(errors.SandboxUnavailable, match="did not start"):
        opened.session()


def test_a_closed_sandbox_leaves_no_process() -> None:
    before = children()
    opened = open_monty()
    with opened.session():
        started = children() - before
    assert started
    opened.close()
    until(lambda: not children() & started)


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
