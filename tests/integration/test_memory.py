"""Memory on a real worker, over real HTTP: who is told what earlier runs put out, and that a crash changes nothing of it."""

from __future__ import annotations

from typing import Any

import pytest

from crewq import LLM, Agent, Crew, Process, Run, Task, errors
from crewq.agent.prompts import REMEMBERED
from crewq.events import CallFinished
from crewq.producer import connect
from crewq.server import Server
from tests.integration import crews
from tests.integration.conftest import StartWorker
from tests.integration.crews import agent
from tests.integration.worker_process import WorkerProcess
from tests.model_server import ModelServer, calls, hang
from tests.waiting import until

RECALL = "recall earlier runs"


@pytest.fixture
def llm(model_server: ModelServer) -> LLM:
    return LLM(model="openai/any", base_url=model_server.url)


def about(llm: LLM, name: str, **fields: Any) -> Crew:
    """A crew that says something of what it is asked about."""
    return Crew(name=name, tasks=[Task(name="tell", description="Tell of {x}.", agent=agent(llm))], **fields)


def told(model_server: ModelServer) -> str:
    """What the model was asked last."""
    return model_server.ledger[-1].prompt


def forget(run: Run) -> None:
    connect().store.runs.delete(run.id)


def recalls(run: Run) -> list[CallFinished]:
    return [event for event in run.events() if isinstance(event, CallFinished) and event.name == RECALL]


def test_a_later_run_is_told_what_an_earlier_one_put_out(
    fleet: WorkerProcess, model_server: ModelServer, llm: LLM
) -> None:
    model_server.enqueue("Bees dance.", "They do dance.", *["Nothing."] * 4)
    work = about(llm, "beekeepers", memory=True)
    work.kickoff({"x": "bees"})
    assert REMEMBERED not in told(model_server), "there was nothing before"
    output = work.kickoff({"x": "bees in spring"})
    assert f"{REMEMBERED}\nOn " in told(model_server)
    assert "the task was:\nTell of bees.\nThe answer was:\nBees dance." in told(model_server)
    assert len(model_server.ledger) == 2, "it costs no call"
    assert output.token_usage.successful_requests == 1
    assert len(recalls(Run(output.run_id))) == 1
    apart = [
        (work, {"tenant": "acme"}),
        (about(llm, "others", memory=True), {}),
        (about(llm, "beekeepers", memory=False), {}),
        (about(llm, "beekeepers"), {}),
    ]
    for other, terms in apart:
        run = Run(other.kickoff({"x": "bees"}, **terms).run_id)
        assert "dance" not in told(model_server)
        assert bool(recalls(run)) is bool(other.memory)


def test_what_was_deleted_is_not_told(fleet: WorkerProcess, model_server: ModelServer, llm: LLM) -> None:
    model_server.enqueue("Bees dance.", "Ants walk.", "Nothing.")
    work = about(llm, "forgetful", memory=True)
    first = Run(work.kickoff({"x": "bees"}).run_id)
    work.kickoff({"x": "ants"})
    forget(first)
    work.kickoff({"x": "bees and ants"})
    assert "Ants walk." in told(model_server)
    assert "Bees dance." not in told(model_server)


def test_an_agent_remembers_what_its_crew_put_out_and_the_others_do_not(
    fleet: WorkerProcess, model_server: ModelServer, llm: LLM
) -> None:
    tasks = [
        Task(description="Read of {x}.", agent=agent(llm)),
        Task(description="Write of {x}.", agent=agent(llm, memory=True), context=[]),
    ]
    work = Crew(name="half", tasks=tasks)
    model_server.enqueue("Bees dance.", "A poem.", "Bees do dance.", "Another poem.")
    for _ in range(2):
        work.kickoff({"x": "bees"})
    prompts = [call.prompt for call in model_server.ledger]
    assert [REMEMBERED in prompt for prompt in prompts] == [False, False, False, True]
    assert "Bees dance." in prompts[3]
    assert "A poem." in prompts[3]
    assert "Bees do dance." not in prompts[3], "it has no context, and the run is not told of itself"


def test_an_agent_by_itself(fleet: WorkerProcess, model_server: ModelServer, llm: LLM) -> None:
    model_server.enqueue("Ada.", "As I said, Ada.")
    who = Agent(role="Clerk of names", goal="g", backstory="b", llm=llm, memory=True)
    who.kickoff("Who wrote the first program?")
    who.kickoff("Who was that, who wrote a program?")
    assert "Who wrote the first program?\nThe answer was:\nAda." in told(model_server)


def test_a_coworker_is_told_what_concerns_its_work(fleet: WorkerProcess, model_server: ModelServer, llm: LLM) -> None:
    work = {"task": "Say how bees talk.", "coworker": "Scholar", "context": ""}
    scholar = agent(llm, role="Scholar", memory=True)
    team = Crew(
        name="managed",
        agents=[scholar],
        tasks=[Task(description="Find out.")],
        process=Process.hierarchical,
        manager_llm=llm,
    )
    for _ in range(2):
        model_server.enqueue(calls(("delegate_work", work)), "They dance.", "Bees dance, says the scholar.")
        output = team.kickoff()
    asked = [call.prompt for call in model_server.ledger[3:]]
    assert [REMEMBERED in prompt for prompt in asked] == [False, True, False]
    assert "Bees dance, says the scholar." in asked[1]
    assert len(recalls(Run(output.run_id))) == 1


def test_a_replay_is_not_told_what_its_parent_answered(
    fleet: WorkerProcess, model_server: ModelServer, llm: LLM
) -> None:
    model_server.enqueue("Ants walk.", "Bees dance.", "Bees hum.", "All of that.")
    work = about(llm, "replayed", memory=True)
    work.kickoff({"x": "ants"})
    parent = Run(work.kickoff({"x": "bees"}).run_id)
    again = work.replay(parent.task_ids[0])
    assert again.raw == "Bees hum."
    assert "Ants walk." in told(model_server)
    assert "Bees dance." not in told(model_server)
    work.kickoff({"x": "ants and bees"})
    assert all(answer in told(model_server) for answer in ("Ants walk.", "Bees dance.", "Bees hum."))


def test_a_task_that_a_crash_interrupts_is_told_the_same_again(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer, llm: LLM
) -> None:
    who = agent(llm, tools=[crews.add])
    work = Crew(name="counters", memory=True, tasks=[Task(name="count", description="Count the {x}.", agent=who)])
    first = start_worker(own_redis.url).ready()
    model_server.enqueue("Twelve bees.", calls(("add", {"left": 1, "right": 2})), hang(), "Seven bees.", "Three bees.")
    earlier = Run(work.kickoff({"x": "bees"}).run_id)
    interrupted = work.kickoff_async({"x": "bees again"})
    model_server.ledger.wait_for(lambda made: len(made) == 3)
    assert work.kickoff({"x": "bees meanwhile"}).raw == "Seven bees."
    forget(earlier)
    first.kill()
    start_worker(own_redis.url).ready()
    assert interrupted.result(60).raw == "Three bees."
    made = model_server.ledger
    assert [call.status for call in made] == [200, 200, None, 200, 200], "only the call in flight was made again"
    assert made[4].request == made[2].request
    assert "Twelve bees." in made[4].prompt, "as it was told first, though that run is deleted"
    assert "Seven bees." not in made[4].prompt, "what was put out meanwhile"
    assert "Seven bees." in _asked_anew(work, model_server)
    assert [event.reused for event in recalls(interrupted)] == [False, True]
    assert interrupted.tasks[0].attempt == 2


def _asked_anew(work: Crew, model_server: ModelServer) -> str:
    work.kickoff({"x": "bees once more"})
    return told(model_server)


def test_a_run_that_failed_and_is_resumed_is_told_the_same(
    fleet: WorkerProcess, model_server: ModelServer, llm: LLM
) -> None:
    who = agent(llm, max_execution_time=2, max_retry_limit=0)
    work = Crew(name="resumed", memory=True, tasks=[Task(name="tell", description="Tell of {x}.", agent=who)])
    model_server.enqueue("Bees dance.", hang())
    work.kickoff({"x": "bees"})
    run = work.kickoff_async({"x": "bees"})
    with pytest.raises(errors.RunFailed):
        run.result(30)
    failed = told(model_server)
    model_server.enqueue("Bees hum.", "At last.")
    work.kickoff({"x": "bees"})
    run.resume()
    assert run.result(30).raw == "At last."
    assert told(model_server) == failed
    until(lambda: [event.reused for event in recalls(run)] == [False, True])
