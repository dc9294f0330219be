"""Agents and tasks by themselves, and copies of them: what is asked of the one run, and what stays as it was."""

from __future__ import annotations

from typing import Any

import pytest

import crewq
from crewq import LLM, Agent, ConditionalTask, Crew, Task, errors, members
from crewq.outputs import LiteAgentOutput
from tests.unit.parts import Report, search, told


def agent(role: str = "Clerk", **fields: Any) -> Agent:
    return Agent(**{"role": role, "goal": "G", "backstory": "B"} | fields)


# -- copies -----------------------------------------------------------------------------------------------------------


def test_a_copy_of_a_crew_is_changed_by_itself() -> None:
    one, namesake = agent(tools=[search]), agent(goal="another")
    first = Task(description="Look.", agent=one)
    second = Task(description="Look.", agent=namesake, context=[first])
    crew = Crew(agents=[one, namesake], tasks=[first, second], manager_agent=agent("Boss"))
    copied = crew.copy()
    assert copied.key == crew.key
    assert copied.tasks[1].context == [copied.tasks[0]]
    assert [task.agent for task in copied.tasks] == copied.agents, "told apart, though their roles are equal"
    assert [task.agent.goal for task in copied.tasks if task.agent] == ["G", "another"]
    copied.tasks[0].description = "Write."
    copied.agents[0].tools.clear()
    copied.agents.pop()
    assert copied.manager_agent is not crew.manager_agent
    assert (first.description, one.tools, len(crew.agents)) == ("Look.", [search], 2)
    assert type(copied.tasks[0]) is Task
    assert copied.tasks[0].id != first.id, "a task of its own, for `replay`"


def test_a_copy_of_a_task_has_the_agent_and_the_context_that_it_is_given() -> None:
    other, before = agent(goal="other"), Task(description="Before.")
    task = Task(description="D", agent=agent(), context=[before], output=crewq.TaskOutput(raw="done"))
    assert (task.copy().agent, task.copy().context) == (task.agent, [before])
    instead = Task(description="Instead.")
    copied = task.copy([agent("Boss"), other], {before.key: instead})
    assert (copied.agent, copied.context, copied.output) == (other, [instead], None)


def test_a_copy_of_a_conditional_task_is_one() -> None:
    task = ConditionalTask(description="D", condition=told)
    assert isinstance(task.copy(), ConditionalTask)
    assert isinstance(task, Task)
    assert isinstance(task, members.ConditionalTask)


def test_a_copy_of_an_agent_or_a_model_shares_its_tools_and_is_its_own() -> None:
    one = agent(tools=[search], llm=LLM(model="m", stop=["a"]))
    copied = one.copy()
    copied.role = "Other"
    assert (one.role, copied.tools, copied.llm) == ("Clerk", [search], one.llm)
    assert copied.tools is not one.tools


# -- placeholders -----------------------------------------------------------------------------------------------------


def test_placeholders_are_filled_in_for_good() -> None:
    clerk = agent("Clerk of {town}")
    clerk.interpolate_inputs({"town": "Lisbon {x}"})
    assert clerk.role == "Clerk of Lisbon {x}"
    task = Task(description="Count {what}.", output_file="{what}.txt")
    task.interpolate_inputs_and_add_conversation_history({})
    assert task.description == "Count {what}."
    with pytest.raises(errors.MissingInputs, match="what"):
        task.interpolate_inputs_and_add_conversation_history({"town": "Lisbon"})
    task.interpolate_inputs_and_add_conversation_history({"what": "bees"})
    assert (task.description, task.output_file) == ("Count bees.", "bees.txt")


# -- what is asked of the one run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [None, 3, [], ["hello"], [{"content": "x"}], {"role": "user", "content": "x"}])
def test_messages_that_are_none_are_told_before_anything_is_started(messages: Any) -> None:
    with pytest.raises(errors.InvalidField, match=r"Agent.kickoff\(messages=...\).* a list of messages such as"):
        agent().kickoff(messages)
    with pytest.raises(errors.InvalidField):
        agent().kickoff_async(messages)


def test_a_task_that_nobody_does_says_so() -> None:
    with pytest.raises(errors.AgentMissing, match=r"'Look\.'"):
        Task(description="Look.").execute_sync()


@pytest.mark.parametrize("argument", ["input_files", "from_checkpoint"])
def test_arguments_that_are_lacking_are_errors(argument: str) -> None:
    with pytest.raises(errors.UnsupportedField, match=rf"Agent.kickoff\({argument}=...\)"):
        agent().kickoff("Why?", **{argument: "x"})  # type: ignore[arg-type]


def test_an_answer_has_crewais_names() -> None:
    answer = LiteAgentOutput(raw="x", pydantic=Report(title="T"), agent_role="R", usage_metrics={"total_tokens": 3})
    assert (str(answer), answer.to_dict()["title"], answer.token_usage.total_tokens) == ("x", "T", 3)
    assert (LiteAgentOutput().to_dict(), LiteAgentOutput().token_usage.total_tokens) == ({}, 0)
