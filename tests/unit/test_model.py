"""Questions to a model and a model of one's own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from crewq import errors
from crewq.model import BaseLLM, Features, ModelAnswer, ModelRequest, ToolCall
from crewq.outputs import UsageMetrics
from crewq.references import arguments_of
from tests.unit.parts import Model

REQUEST = ModelRequest(model="m", messages=({"role": "user", "content": "🦀"},), options={"a": 1, "b": 2})


def test_the_same_question_has_the_same_digest() -> None:
    again = ModelRequest(model="m", messages=({"content": "🦀", "role": "user"},), options={"b": 2, "a": 1})
    assert again.digest() == REQUEST.digest()
    assert ModelRequest.model_validate_json(REQUEST.model_dump_json()).digest() == REQUEST.digest()


def test_how_long_to_wait_is_no_part_of_the_question() -> None:
    patient = {"timeout": 9, "connect_timeout": 1, "first_byte_timeout": 2.0, "idle_timeout": 3}
    assert REQUEST.model_copy(update={"options": REQUEST.options | patient}).digest() == REQUEST.digest()


def test_whose_question_it_is_is_no_part_of_it() -> None:
    asked = REQUEST.model_copy(update={"metadata": {"crewq_run": "r"}})
    assert asked.digest() == REQUEST.digest()
    assert "crewq_run" not in asked.model_dump_json()


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
    assert Model().features() == Features(native_tools=False)


class Whole(BaseLLM):
    async def complete(self, request: ModelRequest, on_token: Any = None) -> ModelAnswer:
        return ModelAnswer(text=str(len(request.tools)))


def test_one_that_is_given_the_whole_request_is_given_its_tools() -> None:
    assert Whole().features() == Features()


class Loose(BaseLLM):
    """Takes whatever it is given, as CrewAI gives it by name."""

    def call(self, messages: Any, **more: Any) -> str:
        return str(sorted(more))


def test_a_model_is_given_what_it_is_given_in_crewai_by_name() -> None:
    assert asyncio.run(Loose().complete(REQUEST)).text == "['tools']"


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


class Documented(BaseLLM):
    """As CrewAI's documentation writes one."""

    def __init__(self, model: str, endpoint: str, temperature: float | None = None, key: str | None = None) -> None:
        super().__init__(model=model, temperature=temperature, stop="END")
        self.endpoint = endpoint
        self.key = key or "from the environment"
        self.count = 0

    def call(self, messages: Any, tools: Any = None, callbacks: Any = None, available_functions: Any = None) -> Any:
        self.count += 1
        return [{"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"left": 1}'}}]

    def get_context_window_size(self) -> int:
        return 8192

    def supports_function_calling(self) -> bool:
        return self.temperature is None


def test_a_model_with_a_constructor_of_its_own_keeps_what_it_likes() -> None:
    model = Documented("mine", endpoint="http://here", temperature=0.5)
    assert (model.model, model.temperature, model.stop, model.endpoint) == ("mine", 0.5, ["END"], "http://here")
    assert model.given == {"model": "mine", "endpoint": "http://here", "temperature": 0.5}
    assert model.features() == Features(native_tools=False, context_window=8192)
    assert Documented("mine", "http://here").features().native_tools
    answer = asyncio.run(model.complete(REQUEST))
    assert answer.tool_calls == (ToolCall(id="1", name="add", arguments='{"left": 1}'),)
    assert model.count == 1
    assert Model(level=2).given is None


class Open(BaseLLM):
    level: int = 1

    def __init__(self, endpoint: str, **more: Any) -> None:
        super().__init__(model="open", **more)
        self.endpoint = endpoint


class Silent(Model):
    def call(self, messages: Any, tools: Any = None) -> Any:
        return None


@pytest.mark.parametrize(
    ("model", "travels"),
    [
        (Documented("m", endpoint="e"), {"model": "m", "endpoint": "e", "temperature": None}),
        (Open("e"), {"endpoint": "e"}),
        (Open("e", level=3), {"endpoint": "e", "level": 3}),
    ],
)
def test_what_its_constructor_was_given_is_what_it_is_made_of_again(model: BaseLLM, travels: dict[str, Any]) -> None:
    assert model.given is not None
    assert arguments_of(model, model.given, model.changed, "It") == travels
    again: Any = type(model)(**travels)
    assert again == model
    assert again.endpoint == "e"


def test_what_was_changed_since_travels_too_if_its_constructor_takes_it() -> None:
    model = Documented("m", endpoint="e")
    model.count, model.endpoint, model.temperature = 3, "f", 0.1
    travels = arguments_of(model, model.given or {}, model.changed, "It")
    assert travels == {"model": "m", "endpoint": "f", "temperature": 0.1}
    other = Open("e")
    other.level = 5
    assert arguments_of(other, other.given or {}, other.changed, "It") == {"endpoint": "e", "level": 5}
    model.stop = ["STOP"]
    with pytest.raises(errors.NotPortable, match=r"field 'stop' was changed.*\n.*constructor of Documented take it"):
        arguments_of(model, model.given or {}, model.changed, "It")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"key": "hunter2", "api_key": "hunter2"}, "'api_key' holds what looks like a key"),
        ({"token": SecretStr("hunter2")}, "'token' holds a secret"),
        ({"endpoint": object()}, "cannot be written as JSON"),
    ],
)
def test_what_a_constructor_must_not_be_given(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(errors.NotPortable, match=reason) as caught:
        arguments_of(Open("e"), given, set(), "It")
    assert "hunter2" not in str(caught.value)


def test_silence_is_an_empty_text() -> None:
    assert asyncio.run(Silent().complete(REQUEST)).text == ""


def test_a_model_has_no_fields_that_nobody_knows() -> None:
    with pytest.raises(ValidationError):
        Model(unheard_of=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="unheard_of"):
        Model().unheard_of = 1  # type: ignore[attr-defined]


def test_a_model_of_ones_own_is_called_by_itself_as_crewais_is() -> None:
    class Mine(BaseLLM):
        def call(self, messages: Any, tools: Any = None) -> str:
            return f"{messages} by {threading.current_thread().name}"

    said = asyncio.run(Mine().acall("Asked"))
    assert said.startswith("Asked by ")
    assert "MainThread" not in said
    assert Mine().get_token_usage_summary().total_tokens == 0
