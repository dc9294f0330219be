"""Crews that are led: by a manager, who has the work done, and by a plan, which is made first."""

from __future__ import annotations

import pytest

from crewq import LLM, Crew, Process, Run, Task, errors
from tests.integration.crews import Echo, Person, agent, scripted
from tests.integration.test_delegation import Script, by_role, delegate, member, roles
from tests.integration.worker_process import WorkerProcess
from tests.model_server import ModelServer, calls, text

ROLES = ("Researcher", "Writer")


def managed(server: ModelServer, **fields: object) -> Crew:
    """CrewAI's way to write it: two agents, tasks that name nobody, and a model for the manager."""
    tasks = [Task(name="report", description="Report on {topic}.", expected_output="A report.")]
    llm = LLM(model="openai/any", base_url=server.url)
    standard = {"agents": [member(server, role) for role in ROLES], "tasks": tasks, "manager_llm": llm}
    return Crew(**standard | {"process": Process.hierarchical} | fields)


SCRIPT: Script = {
    "Crew Manager": [
        delegate(("Researcher", "Find out about bees.")),
        delegate(("Writer", "Write about bees.")),
        text("The report."),
    ],
    "Researcher": [text("Bees fly.")],
    "Writer": [text("A page about bees.")],
}


def test_a_manager_has_the_work_done(fleet: WorkerProcess) -> None:
    with ModelServer(by_role(SCRIPT)) as server:
        run = managed(server).kickoff_async({"topic": "bees"})
        output = run.result(20)
    assert output.raw == "The report."
    assert [done.agent for done in output.tasks_output] == ["Crew Manager"]
    assert roles(server) == ["Crew Manager", "Researcher", "Crew Manager", "Writer", "Crew Manager"]
    assert output.token_usage.successful_requests == 5
    offered = [tool["function"]["description"] for tool in server.ledger[0].request["tools"]]
    assert all("- Researcher: work\n- Writer: work" in description for description in offered)
    assert "Report on bees." in server.ledger[0].prompt


def test_a_task_that_names_an_agent_is_for_that_agent(fleet: WorkerProcess) -> None:
    with ModelServer(by_role(SCRIPT | {"Boss": [delegate(("Writer", "Write.")), text("Done.")]})) as server:
        work = managed(server, manager_llm=None, manager_agent=member(server, "Boss"))
        work.tasks[0].agent = work.agents[0]
        assert work.kickoff({"topic": "bees"}).raw == "Done."
    assert server.ledger[-1].request["messages"][-1]["content"] == (
        "There is no coworker 'Writer'. The coworkers there are: Researcher."
    )
    assert roles(server) == ["Boss", "Boss"]


def test_a_crew_without_a_manager_is_an_error_at_kickoff(fleet: WorkerProcess) -> None:
    with ModelServer() as server, pytest.raises(errors.ManagerMissing):
        managed(server, manager_llm=None).kickoff({"topic": "bees"})
    assert len(server.ledger) == 0


# -- planning --------------------------------------------------------------------------------------------------------


def planned(server: ModelServer, **fields: object) -> Crew:
    llm = LLM(model="openai/any", base_url=server.url)
    first, second = agent(Echo(), role="First"), agent(scripted('{"name": "Ada", "age": 36}'), role="Second")
    tasks = [
        Task(name="look", description="Look at {what}.", agent=first),
        Task(name="tell", description="Tell.", agent=second, output_pydantic=Person),
    ]
    return Crew(agents=[first, second], tasks=tasks, planning=True, planning_llm=llm, **fields)


def test_a_plan_is_made_first_and_told_to_every_task(fleet: WorkerProcess) -> None:
    with ModelServer() as server:
        server.enqueue("look: with care\ntell: in short")
        work = planned(server)
        run = work.kickoff_async({"what": "bees"})
        output = run.result(20)
        assert len(server.ledger) == 1
    assert "1. look\nLook at bees." in server.ledger[0].prompt
    look, tell = output.tasks_output
    assert "The plan for all tasks of the crew, of which yours is 'look':\nlook: with care" in look.raw
    assert tell.pydantic == Person(name="Ada", age=36)
    assert [task.output for task in work.tasks] == [look, tell]
    assert [(task.name, task.state) for task in run.tasks] == [(n, "completed") for n in ("plan", "look", "tell")]
    assert output.token_usage.successful_requests == 1 + 1 + 1


def test_a_replay_keeps_the_plan(fleet: WorkerProcess) -> None:
    with ModelServer() as server:
        work = planned(server)
        first = work.kickoff({"what": "bees"})
        again = work.replay(work.tasks[0].id)
        by_id = work.replay(Run(first.run_id).task_ids[1])
        assert len(server.ledger) == 1, "one plan"
    assert again.tasks_output[0].raw == by_id.tasks_output[0].raw == first.tasks_output[0].raw
    assert [task.kept for task in Run(again.run_id).tasks] == [True, False, False]


def test_a_crew_with_a_manager_and_a_plan_that_streams(fleet: WorkerProcess) -> None:
    script: Script = SCRIPT | {"Planner": [text("report: ask the Researcher")]}
    with ModelServer(by_role(script)) as server:
        work = managed(server, planning=True, planning_llm=LLM(model="openai/any", base_url=server.url), stream=True)
        stream = work.kickoff({"topic": "bees"})
        spoken = [(chunk.task_name, chunk.agent_role, chunk.chunk_type.value, str(chunk)) for chunk in stream]
    texts = [(task, role, said) for task, role, kind, said in spoken if kind == "text"]
    assert texts == [
        ("plan", "Planner", "report: ask the Researcher"),
        ("report", "Researcher", "Bees fly."),
        ("report", "Writer", "A page about bees."),
        ("report", "Crew Manager", "The report."),
    ]
    assert [role for _, role, kind, _ in spoken if kind == "tool_call"] == ["Crew Manager"] * 2
    assert "ask the Researcher" in server.ledger[1].prompt


def test_a_question_to_a_coworker(fleet: WorkerProcess) -> None:
    question = calls(("ask_coworker", {"question": "Do bees fly?", "context": "", "coworker": "Researcher"}))
    with ModelServer(by_role(SCRIPT | {"Crew Manager": [question, text("They do.")]})) as server:
        assert managed(server).kickoff({"topic": "bees"}).raw == "They do."
    assert "A coworker asks you:\nDo bees fly?" in server.ledger[1].prompt
