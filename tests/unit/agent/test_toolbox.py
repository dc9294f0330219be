"""What becomes of a call: results as text, limits, and everything that can be wrong with it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import json
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from crewq import errors
from crewq.agent import Toolbox
from crewq.agent.toolbox import RESULT_LIMIT, as_text
from crewq.model import ToolCall
from crewq.tools import BaseTool, tool
from tests.unit.agent.fakes import search, toolbox

pytestmark = pytest.mark.asyncio

TENANT = contextvars.ContextVar("TENANT", default="none")


def asked(name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id="c", name=name, arguments=arguments)


@tool
def add(a: int, b: int = 1) -> int:
    """Add numbers."""
    return a + b


@tool
def fail() -> str:
    """Fail."""
    raise ZeroDivisionError("nothing to divide by")


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("add", '{"a": 1, "b": 2}', "3"),
        ("add", '{"a": "4"}', "5"),
        ("ADD", '{"a": 1}', "2"),
        ("add", json.dumps('{"a": 1}'), "2"),
        ("subtract", "{}", "There is no tool called 'subtract'. The tools there are: add, fail."),
        ("add", "{a:", "The arguments are not JSON"),
        ("add", "[1]", "The arguments are no JSON object, but of type list."),
        ("add", '{"a": "x"}', "The arguments do not fit: a: Input should be a valid integer"),
        ("add", "", "a: Field required"),
        ("add", "null", '"required": ["a"]'),
        ("fail", "{}", "The tool fail failed: ZeroDivisionError: nothing to divide by"),
    ],
)
async def test_a_call_ends_as_a_text(name: str, arguments: str, text: str) -> None:
    result = await toolbox(add, fail).call(asked(name, arguments))
    assert text in result.text
    assert result.ok == text.isdigit()


@pytest.mark.parametrize("raised", [SystemExit(3), StopIteration(1), concurrent.futures.CancelledError()])
async def test_what_would_end_more_than_the_tool_is_contained(raised: BaseException) -> None:
    @tool
    def leave() -> str:
        """Leave."""
        raise raised

    result = await toolbox(leave).call(asked("leave"))
    assert not result.ok
    assert f"The tool leave failed: it raised {type(raised).__name__}" in result.text


async def test_an_async_tool_that_exits_or_is_cancelled_from_inside_is_contained() -> None:
    @tool
    async def leave() -> str:
        """Leave."""
        sys.exit(1)

    @tool
    async def give_up() -> str:
        """Give up."""
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        return str(await inner)

    box = toolbox(leave, give_up)
    assert "SystemExit" in (await box.call(asked("leave"))).text
    assert "cancelled by something it waited for" in (await box.call(asked("give_up"))).text


async def test_an_error_of_the_store_passes_through_and_stops_the_calls_beside_it() -> None:
    stopped = asyncio.Event()

    async def invoke(wanted: BaseTool, arguments: dict[str, Any]) -> str:
        if arguments["a"] == 1:
            raise errors.StoreUnreachable(url="redis://x", reason="gone")
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    with pytest.raises(errors.StoreUnreachable):
        await Toolbox([add], invoke).call_all([asked("add", '{"a": 2}'), asked("add", '{"a": 1}')])
    assert stopped.is_set()


async def test_calls_reach_invoke_in_the_order_the_model_made_them() -> None:
    seen: list[int] = []

    async def invoke(wanted: BaseTool, arguments: dict[str, Any]) -> str:
        seen.append(arguments["a"])
        await asyncio.sleep(0)
        return ""

    await Toolbox([add], invoke).call_all([asked("add", f'{{"a": {at}}}') for at in range(5)])
    assert seen == [0, 1, 2, 3, 4]


async def test_the_usage_limit_holds_also_within_one_reply() -> None:
    @tool(max_usage_count=2)
    def draw(n: int) -> str:
        """Draw."""
        return f"card {n}"

    results = await toolbox(draw, add).call_all([asked("draw", f'{{"n": {at}}}') for at in range(3)])
    assert [result.ok for result in results] == [True, True, False]
    assert "may be used 2 times in a task, and was" in results[2].text
    assert "The other tools: add." in results[2].text


async def test_a_third_identical_call_in_a_row_gets_a_notice() -> None:
    box = toolbox(search)
    same = asked("search", '{"query": "x"}')
    results = [await box.call(call) for call in (same, same, same, asked("search", '{"query": "y"}'), same)]
    assert [result.ok for result in results] == [True, True, False, True, True]
    assert "have its result" in results[2].text


async def test_a_tool_runs_with_the_callers_context_and_off_the_loop() -> None:
    @tool
    def who() -> str:
        """Who."""
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return TENANT.get()

    token = TENANT.set("acme")
    result = await toolbox(who).call(asked("who"))
    TENANT.reset(token)
    assert result.text == "acme"


async def test_an_async_run_is_awaited() -> None:
    class Late(BaseTool):
        async def _run(self) -> str:
            return "late"

    assert (await toolbox(Late(name="late", description="d")).call(asked("late"))).text == "late"


class Point(BaseModel):
    x: int
    word: str = "ü"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (None, "None"),
        (3.5, "3.5"),
        ({"a": [1, "ü"]}, '{"a": [1, "ü"]}'),
        ([Point(x=1)], '[{"x": 1, "word": "ü"}]'),
        (Point(x=1), '{"x": 1, "word": "ü"}'),
        ({"when": complex(1, 2)}, '{"when": "(1+2j)"}'),
    ],
)
async def test_results_are_shown_as_text(value: Any, text: str) -> None:
    if isinstance(value, BaseModel):
        assert json.loads(as_text(value)) == json.loads(text)
    else:
        assert as_text(value) == text


async def test_a_huge_result_is_cut_with_a_note() -> None:
    text = as_text("x" * 250_000)
    assert len(text) == RESULT_LIMIT
    assert text.endswith("[cut: the result had 250,000 characters, and these are its first]")
