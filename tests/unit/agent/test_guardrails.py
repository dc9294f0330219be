"""Checks of an answer: the same conversation goes on, in order, with counts of their own; and the model as a judge."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crewq import errors
from crewq.agent import Check, Guardrails, Step, Unfit, Verdict, judged_by, perform
from crewq.agent.brief import Brief
from crewq.agent.guardrails import Judge
from crewq.model import ModelRequest
from crewq.outputs import TaskOutput
from crewq.testing import ScriptedModel
from tests.unit.agent.fakes import FakeModel, brief, roles, search, toolbox, wants
from tests.unit.agent.test_review import FITS, SCHEMA

pytestmark = pytest.mark.asyncio

ACCEPTED = Verdict(accepted=True)


def says(*verdicts: Verdict) -> Judge:
    """A judge that gives its verdicts one after another."""
    left = iter(verdicts)

    async def judge(output: TaskOutput) -> Verdict:
        return next(left)

    return judge


def no(feedback: str) -> Verdict:
    return Verdict(accepted=False, feedback=feedback)


async def outcome(work: Brief, model: FakeModel | ScriptedModel, **judges: Judge) -> TaskOutput:
    return (await perform(work, model, toolbox(), checks=[Guardrails(work, judges)])).output


async def test_a_refused_answer_is_mended_in_the_same_conversation_with_its_context() -> None:
    model = FakeModel("Four.", "Four crews.")
    output = await outcome(brief(context="UPSTREAM"), model, noun=says(no("Say four of what."), ACCEPTED))
    assert output.raw == "Four crews."
    assert roles(model.requests[1]) == ["system", "user", "assistant", "user"]
    assert model.requests[1].messages[:2] == model.requests[0].messages
    assert "UPSTREAM" in model.requests[1].messages[1]["content"]
    assert "Say four of what." in model.told


async def test_the_tools_can_be_used_again_after_a_refusal() -> None:
    model = FakeModel("Four.", wants(("search", '{"query": "crews"}')), "Four crews.")
    work = brief()
    checks: list[Check] = [Guardrails(work, {"g": says(no("Look it up."), ACCEPTED)})]
    answer = await perform(work, model, toolbox(search), checks=checks)
    assert answer.text == "Four crews."
    assert "found crews" in str(answer.messages)


async def test_after_so_many_retries_the_task_fails_and_says_why() -> None:
    model = FakeModel("1", "2", "3")
    judges = {"module:check": says(no("first"), no("second"), no("third"))}
    with pytest.raises(errors.GuardrailFailed, match=r"module:check refused the answer 3 times.*third") as caught:
        await outcome(brief(task={"guardrail_max_retries": 2}), model, **judges)
    assert caught.value.facts["message"] == "third"
    assert len(model.requests) == 3


async def test_no_retries_means_one_answer() -> None:
    with pytest.raises(errors.GuardrailFailed):
        await outcome(brief(task={"guardrail_max_retries": 0}), FakeModel("1"), g=says(no("no")))


async def test_each_answer_goes_through_all_in_order_and_each_has_its_own_count() -> None:
    asked: list[str] = []

    def judge(name: str, *refused: str) -> Judge:
        async def judged(output: TaskOutput) -> Verdict:
            asked.append(f"{name}{output.raw}")
            return no("no") if output.raw in refused else ACCEPTED

        return judged

    work = brief(task={"guardrail_max_retries": 1})
    output = await outcome(work, FakeModel("1", "2", "3"), a=judge("a", "1"), b=judge("b", "2"))
    assert output.raw == "3"
    assert asked == ["a1", "a2", "b2", "a3", "b3"]


async def test_an_answer_that_all_accept_sets_the_counts_back() -> None:
    async def person(output: TaskOutput) -> TaskOutput:
        if output.raw == "2":
            raise Unfit("Another, please.")
        return output

    work = brief(task={"guardrail_max_retries": 1})
    rails = Guardrails(work, {"g": says(no("1"), ACCEPTED, no("3"), ACCEPTED)})
    answer = await perform(work, FakeModel("1", "2", "3", "4"), toolbox(), checks=[rails, person])
    assert answer.text == "4"


async def test_a_text_takes_the_place_of_the_answer_and_the_next_sees_it() -> None:
    seen: list[str] = []

    async def second(output: TaskOutput) -> Verdict:
        seen.append(output.raw)
        return ACCEPTED

    output = await outcome(brief(), FakeModel("four"), a=says(Verdict(accepted=True, raw="FOUR")), b=second)
    assert (output.raw, seen) == ("FOUR", ["FOUR"])


async def test_an_output_takes_the_place_of_the_whole() -> None:
    instead = TaskOutput(description="other", raw="other", agent="somebody", json_dict={"a": 1})
    output = await outcome(brief(), FakeModel("four"), a=says(Verdict(accepted=True, output=instead)))
    assert output == instead


async def test_a_text_is_held_to_the_schema_of_the_task() -> None:
    work = brief(task={"output_schema": SCHEMA})
    changed = json.dumps({"name": "B", "size": 5})
    output = await outcome(work, FakeModel(FITS), a=says(Verdict(accepted=True, raw=changed)))
    assert (output.raw, output.json_dict) == (changed, {"name": "B", "size": 5})
    with pytest.raises(errors.FunctionBroken, match=r"guardrail m:a failed.*does not fit.*'size' is a required"):
        await outcome(work, FakeModel(FITS), **{"m:a": says(Verdict(accepted=True, raw='{"name": "B"}'))})


async def test_every_answer_is_told_as_a_step() -> None:
    steps: list[Step] = []
    work = brief()
    rails = Guardrails(work, {"g": says(no("no"), ACCEPTED)})
    await perform(work, FakeModel("1", "2"), toolbox(), on_step=steps.append, checks=[rails])
    assert [(step.kind, step.text) for step in steps] == [("answer", "1"), ("answer", "2")]


# -- the model as a judge --------------------------------------------------------------------------------------------


def verdict(accepted: bool, feedback: str = "") -> str:
    return json.dumps({"accepted": accepted, "feedback": feedback})


async def judged(*answers: Any, task: dict[str, Any] | None = None) -> tuple[TaskOutput, list[ModelRequest]]:
    model = FakeModel(*answers)
    work = brief(task=task)
    output = await outcome(work, model, criterion=judged_by(model, "It names a number.", work))
    return output, model.requests


async def test_the_agents_own_model_judges_by_the_criterion() -> None:
    output, requests = await judged("Some.", verdict(False, "Name a number."), "Four.", verdict(True))
    assert output.raw == "Four."
    asked = str(requests[1].messages)
    assert "It names a number." in asked
    assert "Count the crews." in asked
    assert "Some." in asked
    assert "Name a number." in requests[2].messages[-1]["content"]
    assert "You read a lot." not in asked, "the judge is not the agent"


async def test_a_verdict_in_no_form_is_asked_for_again() -> None:
    output, requests = await judged("Four.", "Fine, I think.", verdict(True))
    assert output.raw == "Four."
    assert "There is no JSON in it." in requests[2].messages[-1]["content"]


async def test_an_error_of_the_judging_model_is_an_error_and_no_verdict() -> None:
    with pytest.raises(errors.RateLimited):
        await judged("Four.", errors.RateLimited(model="m", status=429, reason="slow down"))


async def test_a_scripted_model_judges_too() -> None:
    keyed = [{"match": "It names a number.", "answers": [verdict(True)]}]
    model = ScriptedModel.model_validate({"answers": ["Four."], "keyed": keyed})
    work = brief()
    assert (await outcome(work, model, g=judged_by(model, "It names a number.", work))).raw == "Four."
