"""Long conversations: when they are shortened, what stays, and what becomes of one that cannot be."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.agent import perform
from crewq.agent.prompts import SUMMARISE
from crewq.agent.window import FILL, estimate
from crewq.model import Features, ModelAnswer, ModelRequest
from crewq.tools import tool
from tests.unit.agent.fakes import FakeModel, RespondingModel, brief, roles, toolbox, wants

pytestmark = pytest.mark.asyncio

TOO_LONG = errors.ContextTooLong(model="fake/model", reason="maximum context length")


@tool
def read(page: int) -> str:
    """Read a page."""
    return f"page {page}: " + "word " * 300


def summarises(request: ModelRequest) -> bool:
    return bool(request.messages[0]["content"] == SUMMARISE)


def reader(pages: int, window: int) -> RespondingModel:
    """Reads pages one after another, and fails the test if it is ever sent more than it can read."""

    read_so_far = 0

    def respond(request: ModelRequest) -> ModelAnswer:
        nonlocal read_so_far
        assert estimate(request.messages, request.tools) <= window
        if summarises(request):
            return ModelAnswer(text=f"SUMMARY {read_so_far}")
        read_so_far += 1
        return wants(("read", f'{{"page": {read_so_far}}}')) if read_so_far <= pages else ModelAnswer(text="Read.")

    return RespondingModel(respond, Features(context_window=window))


async def test_a_conversation_near_its_window_is_summarised_and_goes_on() -> None:
    model = reader(pages=8, window=2000)
    answer = await perform(brief(), model, toolbox(read))
    assert answer.text == "Read."
    summaries = [request for request in model.requests if summarises(request)]
    assert summaries
    assert "page 1: word" in summaries[0].messages[1]["content"]
    shortened = model.requests[model.requests.index(summaries[-1]) + 1]
    assert roles(shortened)[:3] == ["system", "user", "user"]
    assert "SUMMARY" in shortened.messages[2]["content"]
    assert roles(shortened)[-2:] == ["assistant", "tool"]


async def test_the_middle_is_summarised_after_the_provider_says_that_it_is_too_long() -> None:
    pages = [wants(("read", f'{{"page": {at}}}')) for at in range(3)]
    model = FakeModel(*pages, TOO_LONG, "SUMMARY 1", "SUMMARY 2", "Read.")
    assert (await perform(brief(), model, toolbox(read))).text == "Read."
    assert roles(model.requests[-1]) == ["system", "user", "user", "assistant", "tool"]
    assert "SUMMARY 1\n\nSUMMARY 2" in model.requests[-1].messages[2]["content"]


async def test_a_summary_that_was_paid_for_is_not_cut_as_long_as_it_may_fit() -> None:
    """A long task fills more than half of what was refused, and nobody knows the window."""
    pages = [wants(("read", f'{{"page": {at}}}')) for at in range(3)]
    summaries = [f"SUMMARY {at} " + "of what was read " * 20 for at in range(2)]
    model = FakeModel(*pages, TOO_LONG, *summaries, "Read.")
    long_task = brief(task={"description": "Read all pages. " + "Take care. " * 300})
    assert (await perform(long_task, model, toolbox(read))).text == "Read."
    sent = str(model.requests[-1].messages)
    assert "SUMMARY 0" in sent
    assert "[cut: too long for the model]" not in sent


async def test_one_overlong_result_is_cut_when_there_is_nothing_to_summarise() -> None:
    model = FakeModel(wants(("read", '{"page": 1}')), TOO_LONG, "Read.")
    assert (await perform(brief(), model, toolbox(read))).text == "Read."
    assert model.told.startswith("page 1: word")
    assert model.told.endswith("[cut: too long for the model]")


async def test_a_task_that_is_itself_too_long_is_an_error() -> None:
    with pytest.raises(errors.ContextTooLong):
        await perform(brief(), FakeModel(TOO_LONG, TOO_LONG, TOO_LONG), toolbox())
    with pytest.raises(errors.ContextTooLong):
        await perform(brief(context="word " * 9000), FakeModel(features=Features(context_window=1000)), toolbox())


async def test_a_provider_that_is_never_content_is_asked_a_few_times_only() -> None:
    pages = [wants(("read", f'{{"page": {at}}}')) for at in range(3)]
    model = FakeModel(*pages, TOO_LONG, "SUMMARY", *[TOO_LONG] * 5)
    with pytest.raises(errors.ContextTooLong):
        await perform(brief(), model, toolbox(read))


async def test_an_agent_that_does_not_respect_the_window_gets_the_error() -> None:
    pages = [wants(("read", f'{{"page": {at}}}')) for at in range(9)]
    model = FakeModel(*pages, features=Features(context_window=2000))
    with pytest.raises(errors.ContextTooLong, match="its window is 2,000 tokens"):
        await perform(brief(respect_context_window=False), model, toolbox(read))


async def test_the_estimate_counts_what_is_sent() -> None:
    assert estimate([{"role": "user", "content": "x" * 3500}]) == pytest.approx(1000, rel=0.05)
    assert estimate([{"role": "user", "content": "語" * 1000}]) == pytest.approx(857, rel=0.05)
    assert 0 < FILL < 1
