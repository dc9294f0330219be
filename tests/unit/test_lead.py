"""Delegation, managers and planning, as they are frozen: who can give work to whom, and what stands before the tasks."""

from __future__ import annotations

from typing import Any

import pytest

from crewq import errors
from crewq.crew import Crew
from crewq.freeze import freeze
from crewq.language_model import LLM
from crewq.members import Agent, Task
from crewq.spec import PLAN_KEY, CrewSpec, Process, templates
from crewq.tools import tool
from tests.unit.parts import EMBEDDED, agent, plan, search, task

WRITER, RESEARCHER, EDITOR = (
    agent("Writer"),
    agent("Researcher", tools=[search]),
    agent("Editor", allow_delegation=True),
)


@tool("delegate work")
def delegate() -> str:
    """Delegate."""
    return ""


def frozen(*tasks: Task, **changes: Any) -> CrewSpec:
    return freeze(plan(*tasks, **changes), EMBEDDED)


def managed(*tasks: Task, **changes: Any) -> CrewSpec:
    standard = {"process": Process.hierarchical, "manager_llm": "openai/boss", "agents": [WRITER, RESEARCHER]}
    return frozen(*tasks, **standard | changes)


# -- delegation ------------------------------------------------------------------------------------------------------


def test_who_may_delegate_has_all_others_for_coworkers() -> None:
    spec = frozen(task(by=EDITOR, name="edit"), task(by=WRITER, name="write"), agents=[WRITER, EDITOR, RESEARCHER])
    assert [one.coworkers for one in spec.tasks] == [(0, 2), ()]
    assert [spec.agents[at].role for at in spec.tasks[0].coworkers] == ["Writer", "Researcher"]


def test_an_agent_alone_has_nobody_to_delegate_to() -> None:
    assert frozen(task(by=EDITOR)).tasks[0].coworkers == ()


def test_a_tool_of_the_name_of_those_that_come_with_coworkers() -> None:
    own = agent("Editor", allow_delegation=True, tools=[delegate])
    with pytest.raises(errors.DuplicateToolName, match="delegate_work"):
        frozen(task(by=own), agents=[WRITER])


# -- managers --------------------------------------------------------------------------------------------------------


def test_a_manager_does_every_task_through_the_agent_named_or_any() -> None:
    spec = managed(task(by=RESEARCHER, name="a"), Task(name="b", description="Whoever can."))
    assert [spec.agents[one.agent].role for one in spec.tasks] == ["Crew Manager"] * 2
    assert [one.coworkers for one in spec.tasks] == [(1,), (0, 1)]
    assert spec.agents[2].llm.model == "openai/boss"
    assert spec.tasks[1].after == (0,)


def test_a_manager_of_ones_own() -> None:
    boss = agent("Boss", llm="openai/b", max_iter=7)
    spec = managed(task(by=WRITER), manager_agent=boss, manager_llm=None)
    assert (spec.agents[2].role, spec.agents[2].max_iter) == ("Boss", 7)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"manager_llm": None}, errors.ManagerMissing, "manager_llm="),
        ({"manager_agent": WRITER}, errors.ManagerUnfit, "also one of the crew's agents"),
        ({"manager_agent": agent("Boss", tools=[search])}, errors.ManagerUnfit, "it has tools"),
        ({"process": Process.sequential}, errors.ManagerUnfit, "only a crew with process=Process.hierarchical"),
    ],
)
def test_managers_that_cannot_manage(changes: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        managed(task(by=WRITER), **changes)


def test_a_manager_of_nobody() -> None:
    with pytest.raises(errors.ManagerUnfit, match="nobody to give work to"):
        managed(Task(description="Alone."), agents=[])


def test_a_sequential_task_still_needs_an_agent() -> None:
    with pytest.raises(errors.AgentMissing):
        frozen(Task(description="Whose?"))


# -- planning --------------------------------------------------------------------------------------------------------


def test_a_plan_is_the_first_task_and_given_to_all() -> None:
    first, second = (
        task("Look {where}.", by=RESEARCHER, name="look"),
        task("Write.", by=WRITER, name="write", context=[]),
    )
    aside = task("Aside.", by=WRITER, name="aside", async_execution=True)
    spec = frozen(first, second, aside, agents=[WRITER, RESEARCHER], planning=True, planning_llm=LLM(model="openai/p"))
    assert [one.key.partition(":")[0] for one in spec.tasks] == [PLAN_KEY, "look", "write", "aside"]
    assert [one.after for one in spec.tasks] == [(), (0,), (1,), (2,)]
    assert [one.context for one in spec.tasks] == [(), (0,), (0,), (0, 1, 2)]
    planner = spec.agents[spec.tasks[0].agent]
    assert (planner.role, planner.llm.model) == ("Planner", "openai/p")
    told = spec.tasks[0].description
    assert "1. look\nLook {where}." in told
    assert "Done by: Researcher" in told
    assert "Tools: search" in told
    assert [where for where, text in templates(spec) if "{where}" in text] == ["description of the task 'look'"]


def test_two_first_tasks_both_wait_for_the_plan() -> None:
    sides = [task(name=name, by=WRITER, async_execution=True) for name in "ab"]
    assert [one.after for one in frozen(*sides, planning=True).tasks] == [(), (0,), (0,)]


def test_a_task_of_the_users_own_called_plan() -> None:
    with pytest.raises(errors.DuplicateTaskName, match="'plan'"):
        frozen(task(name="plan"), planning=True)
    assert frozen(task(name="plan")).tasks[0].name == "plan"


def test_managers_and_planners_together() -> None:
    spec = managed(Task(name="b", description="Whoever can."), planning=True)
    assert [one.role for one in spec.agents] == ["Writer", "Researcher", "Crew Manager", "Planner"]
    assert [spec.agents[one.agent].role for one in spec.tasks] == ["Planner", "Crew Manager"]
    assert "Can give work to: Writer, Researcher" in spec.tasks[0].description


def test_the_crew_of_old_is_the_same_spec_as_before() -> None:
    text = frozen(task(by=WRITER)).to_json()
    assert not {"coworkers", "stream", PLAN_KEY}.intersection(text.replace('"', " ").split())


def test_fields_are_read_as_crewai_writes_them() -> None:
    crew = Crew(agents=[WRITER], tasks=[task(by=WRITER)], planning=True, planning_llm="openai/p", stream=True)
    assert (crew.spec().stream, len(crew.spec().tasks)) == (True, 2)
    assert Agent(role="a", goal="b", backstory="c").allow_delegation is False
