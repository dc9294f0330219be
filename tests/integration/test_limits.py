"""Limits over two worker processes: calls at once, tokens per minute, and a provider that wants to be left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from crewq import LLM, Crew, Run, Task, errors
from crewq.events import CallFinished, TaskRequeued
from crewq.server import Server
from tests.integration.crews import Echo, agent, crew
from tests.integration.worker_process import WorkerProcess
from tests.model_server import Behaviour, Call, ModelServer, Request, error, hang, text
from tests.waiting import until

SLOTS = 4  # of each worker
Make = Callable[..., WorkerProcess]


@pytest.fixture(scope="module")
def two_workers(
    fleet_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[WorkerProcess, WorkerProcess]]:
    folder = tmp_path_factory.mktemp("limits")
    settings = {"CREWQ_NAMESPACE": "limits", "CREWQ_QUEUE": "limits", "CREWQ_LIMITS": "openai/few tpm=700"}
    with (
        WorkerProcess(folder, fleet_server.url, "-c", str(SLOTS), **settings) as one,
        WorkerProcess(folder, fleet_server.url, "-c", str(SLOTS), **settings) as other,
    ):
        yield one.ready(), other.ready()


@pytest.fixture
def workers(
    two_workers: tuple[WorkerProcess, WorkerProcess],
    fleet_server: Server,
    producer_of: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[WorkerProcess, WorkerProcess]:
    monkeypatch.setenv("CREWQ_NAMESPACE", "limits")
    monkeypatch.setenv("CREWQ_QUEUE", "limits")
    producer_of(fleet_server.url)
    return two_workers


def llm(server: ModelServer, model: str = "openai/any", **limits: Any) -> LLM:
    return LLM(model=model, base_url=server.url, **limits)


def start(count: int, model: LLM) -> list[Run]:
    return [Crew(tasks=[Task(description=f"Ask {at}", agent=agent(model))]).kickoff_async() for at in range(count)]


def reasons(run: Run) -> list[str]:
    """Why its task was set back so far."""
    found = run._producer.store.runs.events(run.id, "0-0")
    return [event.reason for event in found if isinstance(event, TaskRequeued)]


def most_at_once(calls: list[Call]) -> int:
    steps = sorted([(call.started, 1) for call in calls] + [(call.ended or call.started, -1) for call in calls])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def worker_of(run: Run) -> int:
    """The process that has its task."""
    return int(until(lambda: run.tasks[0].worker).rpartition(":")[2])


def test_no_more_calls_are_under_way_at_once_than_the_limit_says(workers: object) -> None:
    with ModelServer(latency=0.3) as server:
        runs = start(10, llm(server, max_concurrency=2))
        assert all(run.result(30).raw.startswith(f"Answer to: Your task:\nAsk {at}") for at, run in enumerate(runs))
        assert most_at_once(server.ledger) == 2
        assert len(server.ledger) == 10
        assert len({worker_of(run) for run in runs}) == 2, "both workers had some of them"
        assert all(task.repeated == 0 for run in runs for task in run.tasks)


def test_a_task_that_waits_gives_its_worker_back(workers: object, model_server: ModelServer) -> None:
    model_server.enqueue(hang())
    runs = start(SLOTS * 2 + 2, llm(model_server, max_concurrency=1))
    model_server.ledger.wait_for(lambda calls: len(calls) == 1)
    other = crew("Something else", llm=Echo()).kickoff_async()
    assert "Something else" in other.result(20).raw
    assert len(model_server.ledger) == 1
    assert any(
        "waits until fewer calls of openai/any are under way" in reason for run in runs for reason in reasons(run)
    )
    next(run for run in runs if run.tasks[0].id and not reasons(run) and run.status == "running").cancel()
    done = [run for run in runs if run.status != "cancelled"]
    assert len([run.result(40) for run in done]) == len(runs) - 1
    assert most_at_once(model_server.ledger[1:]) == 1, "the one that was cancelled is aborted within a second"


def test_the_slot_of_a_worker_that_was_killed_is_free_again(
    workers: object, fleet_server: Server, start_worker: Make, model_server: ModelServer
) -> None:
    doomed = start_worker(fleet_server.url, "-c", "1", CREWQ_NAMESPACE="limits", CREWQ_QUEUE="doomed").ready()
    model_server.enqueue(hang())
    model = llm(model_server, max_concurrency=1)
    lost = Crew(queue="doomed", tasks=[Task(description="Lost", agent=agent(model))]).kickoff_async()
    model_server.ledger.wait_for(lambda calls: len(calls) == 1)
    (waiting,) = start(1, model)
    until(lambda: waiting.status == "running")
    assert len(model_server.ledger) == 1
    doomed.kill()
    assert waiting.result(20).raw.startswith("Answer to:")
    lost.cancel()


def test_no_more_tokens_are_used_in_a_minute_than_the_limit_says(workers: object, model_server: ModelServer) -> None:
    """Of 700, by the settings of the workers: a call takes about 300, and is thought to take about 500."""
    few = llm(model_server, "openai/few", max_tokens=100)
    runs = [Crew(tasks=[Task(description="word " * 250, agent=agent(few))]).kickoff_async() for _ in range(4)]
    done = until(lambda: [run for run in runs if run.status == "completed"], 20)
    others = [run for run in runs if run not in done]
    until(lambda: all(any("under the limits of openai/few" in reason for reason in reasons(run)) for run in others), 20)
    assert len(model_server.ledger) == len(done) == 1
    assert done[0].record().usage.total_tokens > 250
    assert [run.cancel() for run in others] == [True] * 3


def test_a_refusal_of_the_provider_slows_both_workers(
    workers: object, fleet_server: Server, model_server: ModelServer
) -> None:
    model_server.enqueue(error(429, "slow down", retry_after="4"))
    model = llm(model_server)
    first = start(1, model)
    with redis.Redis.from_url(fleet_server.url) as client:
        until(lambda: client.exists("{limits}:slowed"))
    runs = first + start(7, model)
    for run in runs:
        assert run.result(30).raw.startswith("Answer to:")
    refused, *others = model_server.ledger
    assert refused.ended is not None
    assert min(call.started for call in others) >= refused.ended + 3.9
    assert len(others) == 8
    assert len({worker_of(run) for run in runs}) == 2


def test_a_call_that_is_refused_for_ever_fails_in_the_end(workers: object, model_server: ModelServer) -> None:
    model_server.enqueue(*[error(429, "slow down", retry_after="0.01")] * 6)
    run = Crew(tasks=[Task(description="Ask", agent=agent(llm(model_server), max_retry_limit=0))]).kickoff_async()
    with pytest.raises(errors.RunFailed, match="limits the rate of calls"):
        run.result(30)
    assert len(model_server.ledger) == 6


def test_a_task_that_failed_is_tried_again_as_often_as_its_agent_says(
    workers: object, model_server: ModelServer
) -> None:
    model_server.enqueue(*[error(429, "slow down", retry_after="0.01")] * 6, "At last.")
    run = Crew(tasks=[Task(description="Ask", agent=agent(llm(model_server), max_retry_limit=1))]).kickoff_async()
    assert run.result(30).raw == "At last."
    assert len(model_server.ledger) == 7
    assert run.tasks[0].attempt == 2


def test_max_rpm_of_an_agent_wins_over_that_of_its_crew(workers: object, model_server: ModelServer) -> None:
    who = agent(llm(model_server), max_rpm=2)
    held_to(2, Crew(name="hasty", max_rpm=100, tasks=[Task(description="Ask {x}", agent=who)]), model_server)


def test_max_rpm_of_a_crew_holds_over_both_workers(workers: object, model_server: ModelServer) -> None:
    who = agent(llm(model_server))
    held_to(3, Crew(name="slow", max_rpm=3, tasks=[Task(description="Ask {x}", agent=who)]), model_server)


def held_to(most: int, crew: Crew, model_server: ModelServer) -> None:
    """Of a batch of the crew so many runs end, and the others say that they wait for its limits."""
    batch = crew.kickoff_for_each_async([{"x": at} for at in range(8)])
    runs = batch.runs
    until(lambda: sum(run.status == "completed" for run in runs) == most, 20)
    others = [run for run in runs if run.status != "completed"]
    limits = f"under the limits of {crew.name}"
    until(lambda: all(any(limits in reason for reason in reasons(run)) for run in others), 20)
    assert len(model_server.ledger) == most
    batch.cancel()


def test_another_model_answers_for_one_that_is_down(workers: object) -> None:
    def responder(request: Request) -> Behaviour:
        return text("From the second.") if request["model"] == "second" else error(503)

    with ModelServer(responder) as server:
        model = llm(server, "openai/first", fallbacks=[llm(server, "openai/second", temperature=0.5)])
        (run,) = start(1, model)
        output = run.result(30)
        assert output.raw == "From the second."
        assert output.token_usage.successful_requests == 1
        assert [call.model for call in server.ledger] == ["first", "first", "second"]
        assert server.ledger[-1].request["temperature"] == 0.5
        answered = [event.name for event in run.events() if isinstance(event, CallFinished)]
        assert answered == ["openai/second"]


def test_what_a_fallback_answered_stands_though_the_first_model_is_back(workers: object) -> None:
    down = {"first", "second for good"}

    def responder(request: Request) -> Behaviour:
        asked_again = len(request["messages"]) > 2
        if request["model"] in down or (asked_again and down):
            return error(400, "no")
        return text(f"From {request['model']}." if asked_again else "")  # an empty answer is asked for again

    with ModelServer(responder) as server:
        model = llm(server, "openai/first", fallbacks=[llm(server, "openai/second")])
        (run,) = start(1, model)
        with pytest.raises(errors.RunFailed, match="HTTP 400"):
            run.result(30)
        down.clear()
        assert run.resume().result(30).raw == "From first."
        assert [call.model for call in server.ledger] == ["first", "second", "first", "second", "first"]
