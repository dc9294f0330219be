"""The loop: tools in both dialects, limits, empty answers, downgrades, and what a step_callback is told."""

from __future__ import annotations

import asyncio
import threading

import pytest

from crewq import errors
from crewq.agent import Step, perform
from crewq.agent.prompts import BE_SHORTER, LAST_WORD, NOTHING_SAID, SAY_SOMETHING
from crewq.model import Features, ModelAnswer
from crewq.testing import ScriptedModel, call
from crewq.tools import tool
from tests.unit.agent.fakes import FakeModel, brief, roles, search, toolbox, wants

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("native", [True, False], ids=["native", "in words"])
async def test_one_loop_serves_both_dialects(native: bool) -> None:
    done = "Done." if native else "Thought: ready\nFinal Answer: Done."
    model = ScriptedModel(answers=[call("search", query="crews"), done], native_tools=native)
    steps: list[Step] = []
    answer = await perform(brief(), model, toolbox(search), on_step=steps.append)
    assert answer.text == "Done."
    assert [(step.kind, step.tool, step.arguments, step.result) for step in steps] == [
        ("tool", "search", '{"query": "crews"}', "found crews"),
        ("answer", None, None, None),
    ]
    assert answer.messages[-1]["content"] == done
    assert "found crews" in answer.messages[-2]["content"]


async def test_without_tools_a_text_is_the_answer_as_it_is() -> None:
    model = FakeModel("Action: think\nI did.", features=Features(native_tools=False))
    answer = await perform(brief(), model, toolbox())
    assert answer.text == "Action: think\nI did."
    assert model.requests[0].tools == ()


async def test_native_results_answer_their_calls_by_id() -> None:
    model = FakeModel(wants(("search", '{"query": "a"}'), ("search", '{"query": "b"}')), "Done.")
    await perform(brief(), model, toolbox(search))
    assistant, first, second = model.requests[1].messages[-3:]
    assert [made["id"] for made in assistant["tool_calls"]] == ["c0", "c1"]
    assert (first["role"], first["tool_call_id"], first["content"]) == ("tool", "c0", "found a")
    assert (second["tool_call_id"], second["content"]) == ("c1", "found b")


async def test_broken_arguments_and_unknown_names_are_sent_back_in_a_form_that_providers_accept() -> None:
    model = FakeModel(wants(("No Such Tool", "{broken")), "Done.")
    await perform(brief(), model, toolbox(search))
    assistant, result = model.requests[1].messages[-2:]
    assert assistant["tool_calls"][0]["function"] == {"name": "no_such_tool", "arguments": "{}"}
    assert "There is no tool called 'No Such Tool'. The tools there are: search." in result["content"]


async def test_after_max_iter_the_tools_are_put_away_and_one_more_call_is_made() -> None:
    looking = [wants(("search", f'{{"query": "{at}"}}')) for at in range(2)]
    model = FakeModel(*looking, "The best I can say.")
    answer = await perform(brief(max_iter=2), model, toolbox(search))
    assert answer.text == "The best I can say."
    last = model.requests[2]
    assert last.tools == ()
    assert model.told == LAST_WORD
    assert "tool" not in roles(last)
    assert "found 1" in str(last.messages)


async def test_in_words_a_last_reply_in_no_form_is_accepted() -> None:
    model = FakeModel("I wonder.", "It is four.", features=Features(native_tools=False))
    answer = await perform(brief(max_iter=1), model, toolbox(search))
    assert answer.text == "It is four."


async def test_a_malformed_reply_counts_as_a_step_and_is_told_why() -> None:
    model = FakeModel("I wonder.", "Final Answer: four", features=Features(native_tools=False))
    answer = await perform(brief(), model, toolbox(search))
    assert answer.text == "four"
    assert "in neither of the two forms" in model.told


async def test_an_empty_answer_is_asked_for_again() -> None:
    model = FakeModel("", "  \n", "Four.")
    assert (await perform(brief(), model, toolbox())).text == "Four."
    assert model.told == SAY_SOMETHING
    assert model.requests[1].messages[-2]["content"] == NOTHING_SAID


async def test_a_fourth_empty_answer_in_a_row_is_the_end() -> None:
    with pytest.raises(errors.AnswerUnusable, match="fake/model gave no usable answer in 4 tries"):
        await perform(brief(), FakeModel("", "", "", ""), toolbox())


async def test_what_is_said_between_empty_answers_starts_the_count_anew() -> None:
    using = wants(("search", '{"query": "a"}'))
    model = FakeModel("", "", "", using, "", "", "", "Four.")
    assert (await perform(brief(), model, toolbox(search))).text == "Four."


async def test_an_answer_cut_off_before_it_began_is_asked_to_be_shorter() -> None:
    model = FakeModel(ModelAnswer(finish_reason="length"), "Four.")
    await perform(brief(), model, toolbox())
    assert model.told == BE_SHORTER


async def test_a_provider_that_refuses_tools_is_spoken_to_in_words() -> None:
    refusal = errors.ModelRefused(model="fake/model", status=400, reason="this model does not support tools")
    model = FakeModel(refusal, 'Action: search\nAction Input: {"query": "x"}', "Final Answer: yes")
    answer = await perform(brief(), model, toolbox(search))
    assert answer.text == "yes"
    assert model.requests[0].tools
    assert not model.requests[1].tools
    assert "Action Input:" in model.requests[1].messages[0]["content"]
    assert model.told == "Observation: found x"


async def test_a_refusal_after_tools_were_used_does_not_use_them_again() -> None:
    refusal = errors.ModelRefused(
        model="fake/model", status=400, reason="messages with role 'tool' must follow tool_calls"
    )
    model = FakeModel(wants(("search", '{"query": "x"}')), refusal)
    with pytest.raises(errors.ModelRefused):
        await perform(brief(), model, toolbox(search))


async def test_another_refusal_ends_the_task() -> None:
    refusal = errors.ModelRefused(model="fake/model", status=400, reason="bad temperature")
    with pytest.raises(errors.ModelRefused, match="bad temperature"):
        await perform(brief(), FakeModel(refusal), toolbox(search))


async def test_a_result_can_be_the_answer_and_ends_the_task() -> None:
    @tool(result_as_answer=True)
    def report() -> str:
        """Write the report."""
        return "the report"

    model = FakeModel(wants(("report", "{}"), ("search", '{"query": "more"}')))
    answer = await perform(brief(), model, toolbox(report, search))
    assert answer.text == "the report"
    assert "Not called" in answer.messages[-1]["content"]


async def test_a_result_that_should_be_the_answer_but_failed_is_not() -> None:
    @tool(result_as_answer=True)
    def report() -> str:
        """Write the report."""
        raise OSError("no paper")

    model = FakeModel(wants(("report", "{}")), "Written by hand.")
    assert (await perform(brief(), model, toolbox(report))).text == "Written by hand."
    assert "The tool report failed: OSError: no paper" in model.told


async def test_calls_of_one_reply_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=5)

    @tool
    def meet(who: str) -> str:
        """Meet someone."""
        meeting.wait()
        return f"met {who}"

    model = FakeModel(wants(("meet", '{"who": "a"}'), ("meet", '{"who": "b"}')), "Done.")
    await perform(brief(), model, toolbox(meet))
    assert [message["content"] for message in model.requests[1].messages[-2:]] == ["met a", "met b"]


async def test_a_cancelled_task_cancels_the_call_in_flight() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    @tool
    async def wait() -> str:
        """Wait."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    work = asyncio.create_task(perform(brief(), FakeModel(wants(("wait", "{}"))), toolbox(wait)))
    await started.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert cancelled.is_set()


async def test_the_same_brief_makes_byte_identical_requests() -> None:
    def script() -> FakeModel:
        return FakeModel(wants(("search", '{"query": "a"}')), "Done.")

    first, second = script(), script()
    await perform(brief(context="c", inject_date=True), first, toolbox(search))
    await perform(brief(context="c", inject_date=True), second, toolbox(search))
    assert [request.digest() for request in first.requests] == [request.digest() for request in second.requests]


async def test_tokens_are_passed_on_as_they_come() -> None:
    tokens: list[str] = []
    await perform(brief(), ScriptedModel(answers=["one\ntwo"]), toolbox(), on_token=tokens.append)
    assert tokens == ["one\n", "two"]
