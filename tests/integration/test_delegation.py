"""Delegation in a real worker: who works for whom, what that costs, and what a crash in the middle of it costs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crewq import LLM, Agent, Crew, Run, Task, errors
from crewq.events import CallFinished, CallStarted
from crewq.server import Server
from tests.integration.conftest import StartWorker
from tests.integration.crews import add, on_step
from tests.integration.worker_process import WorkerProcess
from tests.model_server import Behaviour, ModelServer, Request, calls, error, hang, text

Script = dict[str, list[Behaviour]]


def by_role(script: Script) -> Callable[[Request], Behaviour]:
    """Answers each conversation by the role that it begins with, one reply after the other."""

    def respond(request: Request) -> Behaviour:
        messages = request["messages"]
        replies = next(replies for role, replies in script.items() if f"You are {role}." in messages[0]["content"])
        return replies[sum(message["role"] == "assistant" for message in messages)]

    return respond


def delegate(*work: tuple[str, str]) -> Behaviour:
    """Give pieces of work to coworkers, all in one reply."""
    return calls(*(("delegate_work", {"task": task, "context": "", "coworker": who}) for who, task in work))


def member(server: ModelServer, role: str, **fields: Any) -> Agent:
    llm = LLM(model="openai/any", base_url=server.url)
    return Agent(**{"role": role, "goal": "work", "backstory": "Old.", "llm": llm} | fields)


def pair(server: ModelServer, **fields: Any) -> Crew:
    """A lead, who may delegate, and a clerk, who can add."""
    lead = member(server, "Lead", allow_delegation=True)
    clerk = member(server, "Clerk", tools=[add], allow_delegation=True, **fields)
    return Crew(agents=[lead, clerk], tasks=[Task(name="sum", description="What is 2 + 3?", agent=lead)])


SUM: Script = {
    "Lead": [delegate(("clerk", "Add 2 and 3.")), text("The clerk says 5.")],
    "Clerk": [calls(("add", {"left": 2, "right": 3})), text("It is 5.")],
}


def roles(server: ModelServer) -> list[str]:
    return [call.request["messages"][0]["content"].split(".")[0].removeprefix("You are ") for call in server.ledger]


def notes(worker: WorkerProcess) -> Path:
    return worker.output_dir.parent / "notes"


def test_a_coworker_works_within_the_task_of_the_one_who_asks(fleet: WorkerProcess) -> None:
    notes(fleet).unlink(missing_ok=True)
    with ModelServer(by_role(SUM)) as server:
        crew = pair(server, step_callback=on_step)
        run = crew.kickoff_async()
        output = run.result(20)
    (asked,) = crew.tasks
    assert (asked.delegations, asked.used_tools, asked.processed_by_agents) == (1, 1, {"Lead", "Clerk"})
    assert output.raw == "The clerk says 5."
    assert output.tasks_output[0].agent == "Lead"
    assert roles(server) == ["Lead", "Clerk", "Clerk", "Lead"]
    assert output.token_usage.successful_requests == 4
    assert run.tasks[0].usage == output.token_usage
    told = {role: call.request for role, call in zip(roles(server), server.ledger, strict=True)}
    assert [tool["function"]["name"] for tool in told["Clerk"]["tools"]] == ["add"], "it cannot hand it on in turn"
    assert server.ledger[-1].request["messages"][-1]["content"] == "It is 5."
    made = [(event.kind, event.name) for event in run.events() if isinstance(event, CallStarted)]
    assert made == [*[("model", "openai/any")] * 2, ("tool", "add"), *[("model", "openai/any")] * 2]
    assert notes(fleet).read_text().splitlines() == ["add 2 3", "on_step tool", "on_step answer"]


def test_side_by_side(fleet: WorkerProcess) -> None:
    script: Script = {
        "Lead": [
            delegate(*[("Clerk", f"Add {at} and 3.") for at in range(3)], ("Clerk", "Add 0 and 3.")),
            text("Done."),
        ],
        "Clerk": [calls(("add", {"left": 2, "right": 3})), text("It is 5.")],
    }
    with ModelServer(by_role(script), latency=0.3) as server:
        run = pair(server).kickoff_async()
        assert run.result(20).raw == "Done."
        assert server.ledger[4].started < server.ledger[1].started + 0.3, "four at once"
    finished = [event.call for event in run.events() if isinstance(event, CallFinished)]
    assert max(Counter(finished).values()) == 1, "equal calls of two pieces of work are two calls"
    assert len(finished) == 2 + 4 * 3


def test_a_crash_in_the_middle_of_a_delegation(own_redis: Server, start_worker: StartWorker, tmp_path: Path) -> None:
    with ModelServer(by_role(SUM)) as server:
        server.enqueue(*SUM["Lead"][:1], *SUM["Clerk"][:1], hang())
        first = start_worker(own_redis.url).ready()
        run = pair(server).kickoff_async()
        server.ledger.wait_for(lambda made: len(made) == 3)
        first.kill()
        server.ledger.wait_for(lambda made: made[2].ended is not None)
        start_worker(own_redis.url).ready()
        output = run.result(30)
    assert output.raw == "The clerk says 5."
    assert roles(server) == ["Lead", "Clerk", "Clerk", "Clerk", "Lead"]
    assert [call.status for call in server.ledger] == [200, 200, None, 200, 200], "only the call in flight was repeated"
    assert notes(first).read_text().splitlines() == ["add 2 3"], "and no tool was used again"
    assert run.tasks[0].repeated == 1
    assert output.token_usage.successful_requests == 4
    _check_replayed(run)


def _check_replayed(run: Run) -> None:
    reused = [event.kind for event in run.events() if isinstance(event, CallFinished) and event.reused]
    assert reused == ["model", "model", "tool"], "one by one"


def test_a_coworkers_model_that_fails_ends_the_task_and_a_resume_goes_on_from_there(fleet: WorkerProcess) -> None:
    """Its failure is not told to the lead, who would go on without it."""
    with ModelServer(by_role(SUM)) as server:
        server.enqueue(*SUM["Lead"][:1], error(400, "no such luck"))
        run = pair(server).kickoff_async()
        with pytest.raises(errors.RunFailed, match="no such luck"):
            run.result(20)
        assert len(server.ledger) == 2
        run.resume()
        assert run.result(20).raw == "The clerk says 5."
    assert Counter(roles(server)) == {"Lead": 2, "Clerk": 3}


def test_the_words_of_the_tools_reach_the_model(fleet: WorkerProcess) -> None:
    with ModelServer(by_role(SUM)) as server:
        pair(server).kickoff()
    offered = json.dumps(server.ledger[0].request["tools"])
    assert "delegate_work" in offered
    assert "ask_coworker" in offered
    assert "- Clerk: work" in offered
    assert "Lead" not in offered
