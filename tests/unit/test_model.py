"""Questions to a model and a model of one's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from crewq.model import BaseLLM, Features, ModelAnswer, ModelRequest, ToolCall
from crewq.outputs import UsageMetrics
from tests.unit.parts import Model

REQUEST = ModelRequest(model="m", messages=({"role": "user", "content": "🦀"},), options={"a": 1, "b": 2})


def test_the_same_question_has_the_same_digest() -> None:
    again = ModelRequest(model="m", messages=({"content": "🦀", "role": "user"},), options={"b": 2, "a": 1})
    assert again.digest() == REQUEST.digest()
    assert ModelRequest.model_validate_json(REQUEST.model_dump_json()).digest() == REQUEST.digest()


def test_how_long_to_wait_is_no_part_of_the_question() -> None:
    patient = {"timeout": 9, "connect_timeout": 1, "first_byte_timeout": 2.0, "idle_timeout": 3}
    assert REQUEST.model_copy(update={"options": REQUEST.options | patient}).digest() == REQUEST.digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "n"},
        {"messages": ({"role": "user", "content": "x"},)},
        {"tools": ({"type": "function"},)},
        {"options": {"a": 1}},
        {"answer_schema": {}},
    ],
)
def test_another_question_has_another(changes: dict[str, Any]) -> None:
    assert REQUEST.model_copy(update=changes).digest() != REQUEST.digest()


def test_an_answer_comes_back_from_its_json() -> None:
    call = ToolCall(id="1", name="search", arguments='{"q": "ü"}')
    answer = ModelAnswer(text="", tool_calls=(call,), usage=UsageMetrics(cost=1e-07, total_tokens=3))
    assert ModelAnswer.model_validate_json(answer.model_dump_json(exclude_defaults=True)) == answer


def test_a_model_of_ones_own_answers_with_a_text() -> None:
    assert asyncio.run(Model(level=2).complete(REQUEST)) == ModelAnswer(text="1 at 2")
    assert Model().features() == Features()


class Telling(Model):
    def call(self, messages: Any, tools: Any = None) -> Any:
        return ModelAnswer(text=str(tools), finish_reason="length")


def test_a_model_of_ones_own_may_answer_with_more() -> None:
    assert asyncio.run(Telling().complete(REQUEST)) == ModelAnswer(text="None", finish_reason="length")


def test_a_model_without_a_call_says_so() -> None:
    class Empty(BaseLLM):
        pass

    with pytest.raises(NotImplementedError, match="Empty needs"):
        asyncio.run(Empty().complete(REQUEST))


def test_a_model_has_no_fields_that_nobody_knows() -> None:
    with pytest.raises(ValidationError):
        Model(unheard_of=1)  # type: ignore[call-arg]
