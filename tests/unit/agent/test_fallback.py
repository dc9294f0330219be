"""Which model is asked when another fails, and with what."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.agent import FallbackModel, put_to
from crewq.model import Features, ModelRequest
from crewq.spec import LLMSpec
from tests.unit.agent.fakes import FakeModel, Said

pytestmark = pytest.mark.asyncio

REQUEST = ModelRequest(model="first", messages=(), options={"temperature": 0.5, "stop": ["Observation:"]})
DOWN = errors.ModelUnavailable(model="first", status="HTTP 503", reason="down")
REFUSED = errors.KeyRejected(model="second", status=401, reason="no")


def chain(*said: tuple[Said, ...]) -> tuple[FallbackModel, list[FakeModel]]:
    models = [FakeModel(*answers) for answers in said]
    return FallbackModel(models), models


async def test_the_first_that_answers_counts() -> None:
    model, fakes = chain(("Here.",), ("Never.",))
    assert (await model.complete(REQUEST)).text == "Here."
    assert [len(fake.requests) for fake in fakes] == [1, 0]


@pytest.mark.parametrize(
    "failure",
    [
        DOWN,
        errors.ModelTimeout(model="m", reason="late"),
        errors.RateLimited(model="m", status=429, reason="slow down"),
        errors.ModelRefused(model="m", status=400, reason="no"),
        errors.KeyMissing(model="m", variables="K"),
        errors.KeyRejected(model="m", status=401, reason="no"),
        errors.ModelUnknown(model="m", reason="no"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_the_next_is_asked_when_one_fails(failure: errors.ModelError) -> None:
    model, fakes = chain((failure,), ("Here.",))
    assert (await model.complete(REQUEST)).text == "Here."
    assert fakes[1].requests == [REQUEST]


async def test_each_is_asked_by_its_own_name_and_options() -> None:
    first = LLMSpec(model="first", options={"temperature": 0.5})
    second = LLMSpec(model="second", options={"seed": 3})
    third = LLMSpec(model="third", options={"temperature": 0.1, "stop": ["END"]})
    asked = [put_to(llm, REQUEST, first) for llm in (first, second, third)]
    assert [(request.model, request.options) for request in asked] == [
        ("first", REQUEST.options),
        ("second", {"stop": ["Observation:"], "seed": 3}),
        ("third", {"stop": ["END"], "temperature": 0.1}),
    ]
    assert all(request.messages == REQUEST.messages for request in asked)


async def test_a_conversation_that_is_too_long_is_for_the_agent_to_shorten() -> None:
    model, fakes = chain((errors.ContextTooLong(model="m", reason="no"),), ("Never.",))
    with pytest.raises(errors.ContextTooLong):
        await model.complete(REQUEST)
    assert fakes[1].requests == []


async def test_when_all_fail_it_is_tried_again_if_one_of_them_may_come_back() -> None:
    for said in ((DOWN,), (REFUSED,)), ((REFUSED,), (DOWN,)):
        model, _ = chain(*said)
        with pytest.raises(errors.ModelUnavailable):
            await model.complete(REQUEST)
    model, _ = chain((REFUSED,), (errors.KeyMissing(model="m", variables="K"),))
    with pytest.raises(errors.KeyRejected):
        await model.complete(REQUEST)


async def test_what_is_asked_is_what_all_of_them_can_do() -> None:
    able = FakeModel(features=Features(native_tools=True, answer_schema=True, context_window=100))
    small = FakeModel(features=Features(native_tools=True, answer_schema=True, context_window=50))
    plain = FakeModel(features=Features(native_tools=False))
    assert FallbackModel([able]).features() == able.features()
    assert FallbackModel([able, small]).features() == small.features()
    assert FallbackModel([able, plain, small]).features() == Features(
        native_tools=False, answer_schema=False, context_window=50
    )
