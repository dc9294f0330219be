"""Delegation: what a coworker is told, what comes back, and which of its failures are the asker's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from crewq import errors
from crewq.agent import Coworker, Equipment, Step, delegation_tools, perform
from crewq.model import ModelAnswer, ModelRequest, OnToken
from crewq.tools import BaseTool
from tests.unit.agent.fakes import FakeModel, brief, search, toolbox, wants

pytestmark = pytest.mark.asyncio
ASKING = brief(context="The secret context.", role="an editor")


class Colleague:
    """A coworker, with a note of each piece of work that it was equipped for."""

    def __init__(self, role: str, model: FakeModel, *tools: BaseTool, **agent: object) -> None:
        self.model = model
        self.remembers: tuple[str, ...] = ()
        self.work: list[str] = []
        self.steps: list[Step] = []
        self._tools = tools
        self.coworker = Coworker(brief(role=role, goal=f"be a {role}", **agent).agent, self._equip)

    @asynccontextmanager
    async def _equip(self, work: str) -> AsyncIterator[Equipment]:
        self.work.append(work)
        yield Equipment(self.model, toolbox(*self._tools), self.steps.append, remembered=self.remembers)


def tools_with(*colleagues: Colleague) -> tuple[BaseTool, ...]:
    return delegation_tools(ASKING, [one.coworker for one in colleagues])


def delegate(coworker: str, task: str = "Count the sheep.", context: str = "They are in the barn.") -> tuple[str, str]:
    return "delegate_work", json.dumps({"task": task, "context": context, "coworker": coworker})


async def ask_with(model: FakeModel, *colleagues: Colleague) -> str:
    return (await perform(ASKING, model, toolbox(*tools_with(*colleagues)))).text


async def test_an_agent_without_coworkers_has_no_such_tools() -> None:
    assert delegation_tools(ASKING, []) == ()


async def test_the_tools_say_who_is_there() -> None:
    for tool in tools_with(Colleague("Researcher", FakeModel()), Colleague("Writer", FakeModel())):
        schema = tool.schema_for_model()["function"]
        assert "- Researcher: be a Researcher\n- Writer: be a Writer" in schema["description"]
        assert schema["parameters"]["required"][1] == "coworker"
    assert [tool.public_name for tool in tools_with(Colleague("R", FakeModel()))] == ["delegate_work", "ask_coworker"]


async def test_a_coworker_is_told_what_it_remembers_and_not_what_the_asker_does() -> None:
    forgetful, other = Colleague("Forgetful", FakeModel("No.")), Colleague("Other", FakeModel("Yes."))
    other.remembers = ("Sheep were counted before.",)
    asker = FakeModel(wants(delegate("Forgetful"), delegate("Other")), "Done.")
    asking = replace(ASKING, remembered=("Goats were counted before.",))
    tools = delegation_tools(asking, [forgetful.coworker, other.coworker])
    await perform(asking, asker, toolbox(*tools))
    told = [
        "\n".join(str(one["content"]) for one in who.requests[0].messages)
        for who in (asker, forgetful.model, other.model)
    ]
    assert ["Goats were" in one for one in told] == [True, False, False]
    assert ["Sheep were" in one for one in told] == [False, False, True]


async def test_a_coworker_does_the_work_with_its_own_model_and_tools() -> None:
    researcher = Colleague("Researcher", FakeModel(wants(("search", '{"query": "sheep"}')), "There are 12."), search)
    asker = FakeModel(wants(delegate("Researcher")), "12 sheep, says the researcher.")
    assert await ask_with(asker, researcher) == "12 sheep, says the researcher."
    assert asker.told == "There are 12."
    told = "\n".join(str(message["content"]) for message in researcher.model.requests[0].messages)
    assert "You are Researcher." in told
    assert "Count the sheep." in told
    assert "They are in the barn." in told
    assert "secret" not in told, "it knows what it was told, and no more"
    assert researcher.model.told == "found sheep"
    assert [tool["function"]["name"] for tool in researcher.model.requests[0].tools] == ["search"]
    assert [step.kind for step in researcher.steps] == ["tool", "answer"]


async def test_a_question_to_a_coworker() -> None:
    expert = Colleague("Expert", FakeModel("Blue."))
    question = json.dumps({"question": "Which colour?", "coworker": "Expert"})
    asker = FakeModel(wants(("ask_coworker", question)), "It is blue.")
    assert await ask_with(asker, expert) == "It is blue."
    assert "Which colour?" in expert.model.told
    assert "What is known about it" not in expert.model.told


@pytest.mark.parametrize(
    "named",
    [
        "Senior Researcher",
        "senior researcher",
        '"Senior Researcher"',
        " SENIOR\nRESEARCHER ",
        "`Senior  Researcher`",
    ],
)
async def test_a_coworker_is_known_by_its_role_however_it_is_written(named: str) -> None:
    researcher = Colleague("Senior Researcher", FakeModel("Done."))
    asker = FakeModel(wants(delegate(named)), "Thanks.")
    assert await ask_with(asker, researcher) == "Thanks."
    assert asker.told == "Done."


async def test_an_unknown_coworker_is_answered_with_those_there_are() -> None:
    asker = FakeModel(wants(delegate("Plumber")), "Nobody, then.")
    assert await ask_with(asker, Colleague("Researcher", FakeModel()), Colleague("Writer", FakeModel()))
    assert asker.told == "There is no coworker 'Plumber'. The coworkers there are: Researcher, Writer."


async def test_pieces_of_work_begin_in_the_order_in_which_they_were_given() -> None:
    work = [f"Count flock {at}." for at in range(5)]
    researcher = Colleague("Researcher", FakeModel(*["Done."] * 5))
    asker = FakeModel(wants(*(delegate("Researcher", task) for task in work)), "All counted.")
    assert await ask_with(asker, researcher) == "All counted."
    assert [one.splitlines()[1] for one in researcher.work] == work


class Endless(FakeModel):
    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_coworker_that_takes_too_long_is_given_up() -> None:
    asker = FakeModel(wants(delegate("Researcher")), "Without it, then.")
    assert await ask_with(asker, Colleague("Researcher", Endless(), max_execution_time=0.01))
    assert asker.told == "Researcher came to no answer: not within 0.01 s."


async def test_a_coworker_that_comes_to_no_answer_is_reported() -> None:
    asker = FakeModel(wants(delegate("Researcher")), "Without it, then.")
    assert await ask_with(asker, Colleague("Researcher", FakeModel(*[""] * 9)))
    assert asker.told.startswith("Researcher came to no answer: The model fake/model gave no usable answer")


async def test_a_coworkers_model_that_fails_ends_the_attempt_and_is_not_taken_for_a_result() -> None:
    asker = FakeModel(wants(delegate("Researcher")), "Never said.")
    limited = errors.RateLimited(model="m", status=429, reason="slow down")
    with pytest.raises(errors.RateLimited):
        await ask_with(asker, Colleague("Researcher", FakeModel(limited)))
    assert len(asker.requests) == 1
