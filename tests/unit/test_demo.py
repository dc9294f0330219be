from __future__ import annotations

import asyncio
import contextlib
import io
import json

import pytest

from crewq.demo import DATASETS, StandIn, average_age_crew
from crewq.model import Message, ModelAnswer, ModelRequest

TOOL = {"type": "function", "function": {"name": "run_python"}}


def _answer(*messages: Message, tools: tuple[dict[str, object], ...] = ()) -> ModelAnswer:
    return asyncio.run(StandIn().complete(ModelRequest(model="stand-in", messages=messages, tools=tools)))


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


@pytest.mark.parametrize("ages", DATASETS, ids=str)
def test_the_stand_in_has_python_compute_and_words_what_came_of_it(ages: list[int]) -> None:
    asked = _answer(_user(f"Compute the average. Ages: {ages}"), tools=(TOOL,))
    assert [call.name for call in asked.tool_calls] == ["run_python"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(json.loads(asked.tool_calls[0].arguments)["code"], {})  # plain arithmetic of our own
    found = _answer(_user("..."), {"role": "tool", "content": printed.getvalue()}, tools=(TOOL,))
    average = f"{sum(ages) / len(ages):.1f}"
    assert f"The average age of the {len(ages)} people is {average}" in found.text
    report = _answer(_user(f"Write.\n\nWhat is known from earlier tasks:\n{found.text}\n\nGive it."))
    assert f"{len(ages)} people, who are {average} years old on average" in report.text
    assert f"a span of {max(ages) - min(ages)} years" in report.text


def test_the_stand_in_says_what_the_tool_said_when_it_failed() -> None:
    found = _answer(_user("..."), {"role": "tool", "content": "ZeroDivisionError: division by zero"}, tools=(TOOL,))
    assert found.text == "The average could not be computed. Python said: ZeroDivisionError: division by zero"
    assert "nothing to report on" in _answer(_user(found.text)).text


def test_the_stand_in_counts_words_and_costs_nothing() -> None:
    usage = _answer(_user("one two three")).usage
    assert usage.prompt_tokens == 3
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert (usage.successful_requests, usage.cost, usage.cost_known) == (1, 0.0, True)


def test_the_crew_of_the_demo_travels_by_reference() -> None:
    spec = average_age_crew(StandIn()).spec()
    assert [agent.llm.reference for agent in spec.agents] == ["crewq.demo:StandIn"] * 2
    assert [agent.sandbox is not None for agent in spec.agents] == [True, False]
    assert spec.tasks[1].context == (0,)
    assert {agent.llm.model for agent in average_age_crew("openai/x").spec().agents} == {"openai/x"}
