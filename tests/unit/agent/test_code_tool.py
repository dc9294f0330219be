"""The tool that runs a model's code, over every sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from crewq.agent.sandbox import Limits, Sandbox, open_sandbox
from crewq.agent.sandbox.code_tool import TEXT_LIMIT, UNCHANGED, CodeTool
from tests.sandboxes import EVERY_SANDBOX, IMAGE, LIMITS, need


@pytest.fixture(scope="module", params=EVERY_SANDBOX)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    need(request.param)
    limits = replace(LIMITS[request.param], output_bytes=Limits().output_bytes)
    with closing(open_sandbox(request.param, IMAGE, limits)) as opened:
        yield opened


@pytest.fixture
def tool(sandbox: Sandbox) -> Iterator[CodeTool]:
    with closing(CodeTool(sandbox=sandbox)) as made:
        yield made


def test_it_keeps_names_between_calls_and_shows_errors(tool: CodeTool) -> None:
    assert tool.schema_for_model()["function"]["parameters"]["required"] == ["code"]
    assert tool.run(code="x = 20") == "The code ran, and printed nothing. Print what you need to see."
    assert tool.run(code="print('x is')\nx + 1") == "x is\n21"
    assert tool.run(code="print(x)\nx.nothing").startswith("20\nTraceback")


def test_its_text_is_shortened_in_the_middle(tool: CodeTool) -> None:
    text = tool.run(code="print('a' * 20_000 + 'z')")
    assert len(text) < TEXT_LIMIT + 100
    assert text.startswith("aaa")
    assert "10001 characters left out" in text
    assert text.endswith("aaz")


def test_calls_answered_from_a_journal_are_made_up_for_before_the_next_real_one(tool: CodeTool) -> None:
    tool.replayed({"code": "x = 1\nprint('silent')"})
    tool.replayed({"code": "x += 1"})
    assert tool.run(code="x") == "2"
    tool.replayed({"code": "x *= 10"})
    assert tool.run(code="x") == "20"
    assert tool.run(code="x") == "20"


def test_a_closed_one_begins_anew(tool: CodeTool) -> None:
    tool.run(code="x = 1")
    tool.close()
    assert "NameError" in tool.run(code="x")


def test_it_tells_what_python_there_is(tool: CodeTool, sandbox: Sandbox) -> None:
    assert tool.description.endswith(sandbox.python)
    assert "{" not in tool.description


@pytest.mark.parametrize("code", ["while True: pass", "x = 'a' * 10**10", "while True: print('x' * 1000)"])
def test_names_outlive_code_that_is_stopped(tool: CodeTool, code: str) -> None:
    tool.run(code="x = 1")
    tool.run(code="x += 1")
    assert tool.run(code=f"x = 5\n{code}").endswith(f"\n{UNCHANGED}")
    assert tool.run(code="x") == "2"


def test_code_of_a_journal_that_was_stopped_costs_no_names(tool: CodeTool) -> None:
    for code in ("x = 1", "y = 'a' * 10**10", "y = 2"):
        tool.replayed({"code": code})
    assert tool.run(code="x, y") == "(1, 2)"
