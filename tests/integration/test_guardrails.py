"""Guardrails through a real worker: functions by name, criteria judged by the model over HTTP, and nothing paid again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crewq import LLM, ConditionalTask, Crew, Run, Task, errors
from crewq.events import CallFinished, CallStarted
from crewq.server import Server
from crewq.testing import call
from tests.integration import crews
from tests.integration.conftest import StartWorker
from tests.integration.crews import Person, agent, scripted
from tests.integration.worker_process import WorkerProcess
from tests.model_server import ModelServer, error, hang


def guarded(guardrail: Any, *answers: Any, **fields: Any) -> Crew:
    """One task with that guardrail, which its model answers so."""
    who = agent(scripted(*answers), **fields.pop("who", {}))
    return Crew(
        agents=[who], tasks=[Task(name="count", description="Count.", agent=who, guardrail=guardrail, **fields)]
    )


def calls_made(run: Run) -> list[str]:
    return [event.name for event in run.events() if isinstance(event, CallFinished) and not event.reused]


def test_a_refused_answer_is_mended_and_each_answer_is_judged_once(fleet: WorkerProcess) -> None:
    run = guarded(crews.is_short, "a very long answer", "short").kickoff_async()
    assert run.result(20).raw == "short"
    model, check = "scripted", "guardrail tests.integration.crews:is_short"
    assert calls_made(run) == [model, check, model, check]


def test_the_context_is_still_there_when_an_answer_is_mended(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue("UPSTREAM", "a very long answer", "short")
    who = agent(LLM(model="openai/any", base_url=model_server.url))
    first = Task(description="Read.", agent=who)
    second = Task(description="Count.", agent=who, guardrail=crews.is_short)
    assert Crew(agents=[who], tasks=[first, second]).kickoff().raw == "short"
    messages = model_server.ledger[2].request["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert "UPSTREAM" in messages[1]["content"]
    assert "is too long: less than 10 letters." in messages[3]["content"]


def test_several_in_order_may_change_the_answer(fleet: WorkerProcess) -> None:
    work = guarded(crews.never_content, "four", guardrails=[crews.is_short, crews.shouted, crews.signed])
    assert work.kickoff().raw == "FOUR, signed", "and `guardrails` wins over `guardrail`"


def test_a_structured_answer_that_a_guardrail_spoils_is_its_error(fleet: WorkerProcess) -> None:
    answer = json.dumps({"name": "Ada", "age": 36})
    fits = guarded(None, answer, guardrails=[crews.signed], output_pydantic=Person)
    assert fits.kickoff().pydantic == Person(name="Ada", age=36)
    spoilt = guarded(crews.shouting_keys, answer, output_pydantic=Person, who={"max_retry_limit": 0})
    with pytest.raises(
        errors.RunFailed, match=r"guardrail tests.integration.crews:shouting_keys failed.*'name' is a req"
    ):
        spoilt.kickoff()


def test_functions_see_the_object_of_a_structured_answer(fleet: WorkerProcess) -> None:
    answers = ['{"name": "Ada", "age": 3}', '{"name": "Ada", "age": 36}']
    work = guarded(crews.is_grown_up, *answers, output_pydantic=Person, callback=crews.on_person)
    asks = ConditionalTask(name="perhaps", description="Go on.", agent=agent(), condition=crews.is_ada)
    output = Crew(agents=work.agents, tasks=[*work.tasks, asks]).kickoff()
    assert output.tasks_output[0].pydantic == Person(name="Ada", age=36)
    assert "Go on." in output.raw
    notes = (fleet.output_dir.parent / "notes").read_text()
    assert "on_person Person(name='Ada', age=36)" in notes


def test_an_answer_that_never_passes_fails_the_task_and_a_resume_asks_anew(fleet: WorkerProcess) -> None:
    run = guarded(crews.never_content, "1", "2", "3", guardrail_max_retries=1).kickoff_async()
    with pytest.raises(errors.RunFailed, match=r"never_content refused the answer 2 times.*2 will not do") as caught:
        run.result(20)
    assert isinstance(caught.value.__cause__, errors.GuardrailFailed)
    with pytest.raises(errors.RunFailed, match="2 will not do"):
        run.resume().result(20)
    assert calls_made(run)[:4] * 2 == calls_made(run)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (crews.broken_check, "it raised KeyError: 'sources'"),
        (crews.no_verdict, "it returned 'looks fine' and not a pair"),
    ],
)
def test_a_guardrail_that_fails_is_named(fleet: WorkerProcess, function: Any, reason: str) -> None:
    run = guarded(function, "four", who={"max_retry_limit": 0}).kickoff_async()
    with pytest.raises(
        errors.RunFailed, match=f"The guardrail tests.integration.crews:{function.__name__} failed: {reason}"
    ):
        run.result(20)
    assert calls_made(run) == ["scripted"]


def test_a_guardrail_that_fails_is_tried_again_and_nothing_else_is(fleet: WorkerProcess) -> None:
    run = guarded(crews.broken_check, "four", who={"max_retry_limit": 1}).kickoff_async()
    with pytest.raises(errors.RunFailed, match="broken_check failed"):
        run.result(20)
    begun = [event.name for event in run.events() if isinstance(event, CallStarted)]
    assert begun == ["scripted", *["guardrail tests.integration.crews:broken_check"] * 2]


# -- judged by the model ---------------------------------------------------------------------------------------------


def verdict(accepted: bool, feedback: str = "") -> str:
    return json.dumps({"accepted": accepted, "feedback": feedback})


def judged(server: ModelServer, **fields: Any) -> Crew:
    who = agent(LLM(model="openai/any", base_url=server.url), max_retry_limit=0)
    return Crew(agents=[who], tasks=[Task(description="Count.", agent=who, guardrail="It names a number.", **fields)])


def test_a_criterion_is_judged_by_the_agents_own_model(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue("Some.", verdict(False, "Name a number."), "Four.", verdict(True))
    output = judged(model_server).kickoff()
    assert output.raw == "Four."
    assert "It names a number." in model_server.ledger[1].prompt
    assert (
        model_server.ledger[2]
        .request["messages"][-1]["content"]
        .startswith("The answer was not accepted:\nName a number.")
    )
    assert output.token_usage.successful_requests == 4, "a verdict is counted like any other call"


def test_functions_and_criteria_in_one_list_are_asked_in_order(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue("UPSTREAM", "a very long answer", "Some.", verdict(False, "Name it."), "Four.", verdict(True))
    who = agent(LLM(model="openai/any", base_url=model_server.url), max_retry_limit=0)
    checked = Task(description="Count.", agent=who, guardrails=[crews.is_short, "It names a number.", crews.shouted])
    output = Crew(tasks=[Task(description="Read.", agent=who), checked]).kickoff()
    assert output.raw == "FOUR."
    assert (checked.retry_count, checked.prompt_context) == (2, "UPSTREAM")
    last = model_server.ledger[4].request["messages"]
    assert "UPSTREAM" in last[1]["content"], "what came before is still there"
    assert [message["content"] for message in last if message["role"] == "assistant"] == ["a very long answer", "Some."]
    assert len(model_server.ledger) == output.token_usage.successful_requests == 6


def test_an_error_of_the_judge_is_no_verdict(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue("Some.", error(401))
    with pytest.raises(errors.RunFailed, match="did not accept the key") as caught:
        judged(model_server).kickoff()
    assert isinstance(caught.value.__cause__, errors.KeyRejected)
    assert len(model_server.ledger) == 2


# -- a worker that dies ----------------------------------------------------------------------------------------------


def test_a_worker_killed_after_verdicts_asks_for_none_of_them_again(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer, tmp_path: Path
) -> None:
    first = start_worker(own_redis.url).ready()
    model_server.enqueue("a very long answer", hang(), "short")
    who = agent(LLM(model="openai/any", base_url=model_server.url))
    work = Crew(agents=[who], tasks=[Task(description="Count.", agent=who, guardrail=crews.is_short)])
    run = work.kickoff_async()
    model_server.ledger.wait_for(lambda calls: len(calls) == 2)
    first.kill()
    start_worker(own_redis.url).ready()
    assert run.result(30).raw == "short"
    assert len(model_server.ledger) == 3, "only the call in flight was made again"
    notes = (tmp_path / "notes").read_text().splitlines()
    assert notes == ["is_short a very long answer", "is_short short"]


# -- what is refused before anything starts --------------------------------------------------------------------------


def two(output: Any, other: Any) -> Any: ...


class Judge:
    def __call__(self, output: Any) -> Any: ...


def test_what_cannot_be_a_guardrail_is_refused_where_it_is_written() -> None:
    with pytest.raises(errors.InvalidField, match="a guardrail takes one argument, the output"):
        Task(description="Count.", guardrail=two)
    with pytest.raises(errors.InvalidField, match="a guardrail takes one argument"):
        Task(description="Count.", guardrails=["It is short.", lambda: True])
    with pytest.raises(errors.InvalidField, match="guardrail_max_retries"):
        Task(description="Count.", guardrail_max_retries=-1)


@pytest.mark.parametrize(
    ("guardrail", "reason"),
    [(lambda output: (True, output), "it is a lambda"), (Judge(), "it is not a plain function")],
)
def test_what_cannot_travel_is_refused_at_kickoff(fleet: WorkerProcess, guardrail: Any, reason: str) -> None:
    with pytest.raises(errors.NotPortable, match=f"guardrail of the task 'count' cannot travel to a worker: {reason}"):
        guarded(guardrail, "four").kickoff()


def test_a_scripted_tool_task_with_a_guardrail(fleet: WorkerProcess) -> None:
    answers = [call("add", left=1, right=2), "three, I would say", "three"]
    work = guarded(crews.is_short, *answers, tools=[crews.add])
    run = work.kickoff_async()
    assert run.result(20).raw == "three"
    assert calls_made(run).count("add") == 1
