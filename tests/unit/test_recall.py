"""Of what earlier runs put out, what a piece of work is told; and who remembers, as a crew says."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crewq import Agent, Crew, errors
from crewq.freeze import freeze
from crewq.members import Task
from crewq.recall import LENGTH, MOST, TASK_LENGTH, nearest
from crewq.spec import CrewSpec, Process
from crewq.store import Remembered
from crewq.store.memory import MOST as ALL
from tests.unit.parts import EMBEDDED, agent, plan, task

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
FACTS = ("Bees dance.", "Ants walk.", "Owls hunt.", "Cats sleep.", "Eels swim.", "Bats hang.", "Dogs bark.")


def said(text: str, task: str = "Say how they live.", days: int = 0) -> Remembered:
    return Remembered(NOON - timedelta(days=days), task, text)


# -- what is told ----------------------------------------------------------------------------------------------------


def test_what_shares_words_with_the_work_is_told() -> None:
    known = [said(fact, f"How do {fact.split()[0].lower()} live?", days=at) for at, fact in enumerate(FACTS)]
    told = nearest(known, "Compare eels, bees and owls.")
    assert told == (
        "On 2026-02-01 the task was:\nHow do bees live?\nThe answer was:\nBees dance.",
        "On 2026-01-30 the task was:\nHow do owls live?\nThe answer was:\nOwls hunt.",
        "On 2026-01-28 the task was:\nHow do eels live?\nThe answer was:\nEels swim.",
    )


def test_nothing_is_known_at_first_and_little_is_told_whole() -> None:
    assert nearest([], "Anything") == ()
    assert len(nearest([said("One."), said("Two.")], "Anything")) == 2


def test_the_newest_of_equals_are_told() -> None:
    told = nearest([said(f"Bees, {at}.", days=at) for at in range(20)], "Bees")
    assert [piece.splitlines()[-1] for piece in told] == [f"Bees, {at}." for at in range(MOST)]


def test_what_was_put_out_again_and_again_counts_once_as_of_the_last_time() -> None:
    told = nearest([*(said("Bees dance.", days=at) for at in range(20)), said("Ants walk.", days=30)], "Bees")
    assert [piece.splitlines()[0] for piece in told] == [
        "On 2026-02-01 the task was:",
        "On 2026-01-02 the task was:",
    ]


def test_of_a_long_output_the_pieces_are_told_that_concern_the_work() -> None:
    long = "".join(
        f"{f'chapter {at} on {word}. ':-<{LENGTH}}" for at, word in enumerate([*"abcdefgh", "kayaks", *"ijkl"])
    )
    told = nearest([said(long)], "All about kayaks")
    assert "chapter 8 on kayaks." in told[-1]
    assert sum(map(len, told)) <= MOST * (LENGTH + 100)


def test_what_is_told_has_a_length_whatever_there_is() -> None:
    known = [said(f"{at} {'bees ' * LENGTH}", "bees " * 10_000, days=at) for at in range(20)]
    told = nearest(known, "bees")
    assert len(told) == MOST
    assert max(map(len, told)) <= LENGTH + TASK_LENGTH + 100


def test_all_that_may_be_known_holds_nobody_up() -> None:
    known = [said(f"{at} " + "some words of no meaning " * 40, days=at) for at in range(200)]
    assert sum(len(one.text) for one in known) >= ALL
    begun = time.perf_counter()
    assert nearest(known, "the piece 77")
    assert time.perf_counter() - begun < 2


# -- who remembers ---------------------------------------------------------------------------------------------------


def remembering(*tasks: Task, **changes: Any) -> list[bool]:
    spec = freeze(plan(*tasks, **changes), EMBEDDED)
    assert CrewSpec.from_json(spec.to_json(), "here") == spec
    return [one.memory for one in spec.agents]


@pytest.mark.parametrize("crew", [None, False, True])
def test_an_agent_remembers_as_it_says_and_else_as_its_crew_does(crew: bool | None) -> None:
    own = [agent("A", memory=True), agent("B", memory=False), agent("C", memory=None), agent("D")]
    assert remembering(*(task(by=one) for one in own), memory=crew) == [True, False, bool(crew), bool(crew)]


def test_who_leads_a_crew_remembers_with_it() -> None:
    led = {"agents": [agent("A")], "process": Process.hierarchical, "manager_llm": "openai/boss", "planning": True}
    assert remembering(task(), **led, memory=True) == [True] * 4


def test_a_crew_that_does_not_travels_as_ever() -> None:
    assert "memory" not in freeze(plan(task(), memory=False), EMBEDDED).to_json()
    assert Crew(memory=None).memory is None
    assert Crew().memory is False
    assert Agent(role="R", goal="G", backstory="B").memory is None


class Memory:
    """As CrewAI has one."""


@pytest.mark.parametrize("given", [Memory(), "yes", 1, {"storage": "redis"}])
def test_it_is_on_or_off_and_no_object(given: Any) -> None:
    told = rf"\(memory={type(given).__name__}\(...\)\) is CrewAI's.*set memory=True: the outputs of the crew's earlier runs"
    with pytest.raises(errors.UnsupportedField, match=rf"^Crew{told}"):
        Crew(memory=given)
    with pytest.raises(errors.UnsupportedField, match=rf"^Agent{told}"):
        Agent(role="R", goal="G", backstory="B", memory=given)
    crew = Crew()
    with pytest.raises(errors.UnsupportedField, match=rf"^Crew{told}"):
        crew.memory = given


def test_forgetting_is_deleting_runs() -> None:
    with pytest.raises(errors.UnsupportedMethod, match=r"reset_memories .*`crewq delete RUN`"):
        Crew().reset_memories(command_type="all")
