"""Structured output: finding the JSON in an answer, holding it to the schema, and asking again."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from crewq import errors
from crewq.agent import perform
from crewq.agent.review import fitting
from crewq.model import Features
from tests.unit.agent.fakes import FakeModel, brief, search, toolbox, wants


class Crew(BaseModel):
    name: str
    size: int


SCHEMA: dict[str, Any] = Crew.model_json_schema()
FITS = '{"name": "A", "size": 4}'
VALUE = {"name": "A", "size": 4}

READABLE: dict[str, str] = {
    "plain": FITS,
    "fenced": f"```json\n{FITS}\n```",
    "fence without a name": f"```\n{FITS}\n```",
    "in prose": f"Here it is: {FITS} I hope it helps.",
    "after a wrong one": f'```json\n{{"name": "B"}}\n```\nOr rather:\n```json\n{FITS}\n```',
    "single quotes": "{'name': 'A', 'size': 4}",
    "trailing comma": '{"name": "A", "size": 4,}',
    "unclosed": '{"name": "A", "size": 4',
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_the_value_is_found(text: str) -> None:
    assert fitting(text, SCHEMA) == (VALUE, [])


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("four crews", ["There is no JSON in it."]),
        ('{"name": "A"}', ["$: 'size' is a required property"]),
        ('{"name": 1, "size": "x"}', ["$.name: 1 is not of type 'string'", "$.size: 'x' is not of type 'integer'"]),
    ],
)
def test_problems_say_where_and_what(text: str, problems: list[str]) -> None:
    assert fitting(text, SCHEMA) == (None, problems)


def test_a_problem_that_quotes_the_answer_is_cut() -> None:
    _, problems = fitting(f'{{"name": {["x"] * 500}, "size": 1}}'.replace("'", '"'), SCHEMA)
    assert problems[0].startswith("$.name: ")
    assert len(problems[0]) < 400


def test_no_schema_is_fetched_from_elsewhere() -> None:
    with pytest.raises(Exception, match="Unresolvable"):
        fitting("{}", {"$ref": "http://127.0.0.1:9/schema.json"})


@pytest.mark.asyncio
async def test_an_answer_that_does_not_fit_is_asked_for_again_with_its_problems() -> None:
    model = FakeModel('{"name": "A"}', FITS)
    answer = await perform(brief(task={"output_schema": SCHEMA}), model, toolbox())
    assert (answer.text, answer.output.json_dict) == (FITS, VALUE)
    assert "- $: 'size' is a required property" in model.told


@pytest.mark.asyncio
async def test_the_text_stays_the_answers_own() -> None:
    answer = await perform(brief(task={"output_schema": SCHEMA}), FakeModel(READABLE["fenced"]), toolbox())
    assert (answer.text, answer.output.json_dict) == (READABLE["fenced"], VALUE)


@pytest.mark.asyncio
async def test_the_fourth_answer_that_does_not_fit_is_the_end() -> None:
    model = FakeModel(*["{}"] * 4)
    with pytest.raises(errors.OutputInvalid, match=r"schema of Crew: .*'name' is a required property"):
        await perform(brief(task={"output_schema": SCHEMA}), model, toolbox())
    assert len(model.requests) == 4


@pytest.mark.asyncio
@pytest.mark.parametrize(("native", "tools"), [(True, False), (True, True), (False, False)])
async def test_the_provider_is_held_to_the_schema_where_it_can_be_and_no_tools_are_given(
    native: bool, tools: bool
) -> None:
    model = FakeModel(FITS, features=Features(answer_schema=native))
    await perform(brief(task={"output_schema": SCHEMA}), model, toolbox(*[search] * tools))
    assert model.requests[0].answer_schema == (SCHEMA if native and not tools else None)


@pytest.mark.asyncio
async def test_a_provider_that_refuses_the_schema_is_asked_without() -> None:
    refusal = errors.ModelRefused(model="m", status=400, reason="Invalid schema for response_format")
    model = FakeModel(refusal, FITS, features=Features(answer_schema=True))
    assert (await perform(brief(task={"output_schema": SCHEMA}), model, toolbox())).output.json_dict == VALUE
    assert model.requests[1].answer_schema is None


@pytest.mark.asyncio
async def test_a_result_as_answer_is_held_to_the_schema_too() -> None:
    final = search.model_copy(update={"result_as_answer": True})
    model = FakeModel(wants(("search", '{"query": "x"}')), FITS)
    assert (await perform(brief(task={"output_schema": SCHEMA}), model, toolbox(final))).output.json_dict == VALUE
    assert "There is no JSON in it." in model.told
