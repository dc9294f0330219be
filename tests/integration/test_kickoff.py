"""A kickoff and its handle, with a real Redis and a real worker: CrewAI's own code as printed, and every way to wait."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from crewq import LLM, Agent, Batch, Crew, Run, Task, errors
from crewq.events import Event, TaskCompleted
from crewq.testing import ScriptedModel, call
from tests.integration.crews import Echo, agent, crew, scripted
from tests.integration.worker_process import ROOT, WorkerProcess, environment
from tests.model_server import ModelServer, hang
from tests.waiting import until

SLOW = Echo(latency=0.5)


def analysis(**given: Any) -> Crew:
    """CrewAI's crew of the documentation, with a model that has Python compute."""
    model = ScriptedModel(answers=[call("run_python", code="print(sum([1, 2, 3]) / 3)"), "The average is known."])
    coding_agent = Agent(
        role="Python Data Analyst",
        goal="Analyze data and provide insights using Python",
        backstory="You are an experienced data analyst with strong Python skills.",
        allow_code_execution=True,
        llm=model,
    )
    data_analysis_task = Task(
        description="Analyze the given dataset and calculate the average age of participants. Ages: {ages}",
        agent=coding_agent,
    )
    return Crew(agents=[coding_agent], tasks=[data_analysis_task], **given)


def prompts_of(run: str) -> list[str]:
    """What the model of its first task was told by the user."""
    with redis.Redis.from_url(os.environ["CREWQ_REDIS_URL"], decode_responses=True) as client:
        messages = json.loads(str(client.hget(f"{{crewq}}:run:{run}:task:0", "messages")))
    return [message["content"] for message in messages if message["role"] == "user"]


# -- the code of the documentation, as printed -----------------------------------------------------------------------


def test_one_crew_awaited(fleet: WorkerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    analysis_crew = analysis()

    async def async_crew_execution() -> None:
        result = await analysis_crew.kickoff_async(inputs={"ages": [25, 30, 35, 40, 45]})
        print("Crew Result:", result)  # noqa: T201

    asyncio.run(async_crew_execution())
    assert capsys.readouterr().out == "Crew Result: The average is known.\n"


def test_two_crews_gathered(fleet: WorkerProcess) -> None:
    crew_1, crew_2 = crew("Add up {ages}"), crew("Multiply {ages}")

    async def async_multiple_crews() -> Any:
        result_1 = crew_1.kickoff_async(inputs={"ages": [25, 30, 35, 40, 45]})
        result_2 = crew_2.kickoff_async(inputs={"ages": [20, 22, 24, 28, 30]})
        results = await asyncio.gather(result_1, result_2)
        return [result.raw for result in results]

    first, second = asyncio.run(async_multiple_crews())
    assert "Add up [25, 30, 35, 40, 45]" in first
    assert "Multiply [20, 22, 24, 28, 30]" in second


def test_a_crew_for_each_of_several_inputs(fleet: WorkerProcess) -> None:
    datasets = [{"ages": [25, 30]}, {"ages": [20, 22]}, {"ages": [30, 35]}]
    analysis_crew = analysis(verbose=True, memory=False, respect_context_window=True)
    result = analysis_crew.kickoff_for_each(inputs=datasets)
    assert [output.raw for output in result] == ["The average is known."] * 3
    told = [prompts_of(output.run_id)[0].partition("Ages: ")[2].splitlines()[0] for output in result]
    assert told == ["[25, 30]", "[20, 22]", "[30, 35]"]


def test_a_replay_with_other_inputs_and_with_those_of_the_parent(fleet: WorkerProcess) -> None:
    topics = crew("Read about {topic}.", "Write about {topic}.")
    first = topics.kickoff(inputs={"topic": "Celery"})
    task_id = Run(first.run_id).task_ids[1]
    result = topics.replay(task_id=task_id, inputs={"topic": "CrewAI Training"})
    assert "Write about CrewAI Training." in result.raw
    assert "Read about Celery." in result.raw, "what came before keeps its output"
    assert topics.replay(task_id=task_id).raw == first.raw


# -- ways to wait ----------------------------------------------------------------------------------------------------


async def in_a_running_loop(work: Crew) -> Any:
    return work.kickoff(inputs={"x": "a notebook"})


def test_kickoff_works_inside_a_running_event_loop(fleet: WorkerProcess) -> None:
    assert "a notebook" in asyncio.run(in_a_running_loop(crew("In {x}"))).raw


def test_every_way_that_asyncio_has(fleet: WorkerProcess) -> None:
    work = crew("Say {x}")

    async def ways() -> list[str]:
        task = asyncio.create_task(work.kickoff_async({"x": "create_task"}))
        waited = await asyncio.wait_for(work.akickoff({"x": "wait_for"}), 10)
        async with asyncio.TaskGroup() as group:
            grouped = group.create_task(work.kickoff_async({"x": "TaskGroup"}))
        ensured = await asyncio.ensure_future(work.kickoff_async({"x": "ensure_future"}))
        done, _ = await asyncio.wait([asyncio.create_task(work.kickoff_async({"x": "wait"}))])
        first = await next(iter(asyncio.as_completed([work.kickoff_async({"x": "as_completed"})])))
        shielded = await asyncio.shield(work.kickoff_async({"x": "shield"}))
        outputs = [await task, waited, grouped.result(), ensured, done.pop().result(), first, shielded]
        return [output.raw.partition("Say ")[2].splitlines()[0] for output in outputs]

    expected = ["create_task", "wait_for", "TaskGroup", "ensure_future", "wait", "as_completed", "shield"]
    assert asyncio.run(ways()) == expected


def test_a_handle_is_the_coroutine_that_asyncio_runs(fleet: WorkerProcess) -> None:
    assert "as main" in asyncio.run(crew("Run {x}").kickoff_async({"x": "as main"})).raw


@pytest.mark.asyncio
async def test_a_handle_is_awaited_twice_and_by_several_tasks(fleet: WorkerProcess) -> None:
    run = crew("Wait", llm=Echo(latency=0.2)).kickoff_async()
    outputs = await asyncio.gather(*(asyncio.create_task(run) for _ in range(5)), run, run)
    again = await run
    assert {id(output) for output in (*outputs, again)} == {id(again)}
    assert run.result() is again


@pytest.mark.asyncio
async def test_a_loop_that_ends_before_the_run_leaves_nothing_behind(
    fleet: WorkerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    run = crew("Wait", llm=SLOW).kickoff_async()

    def impatient() -> None:
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(run, 0.1))

    with caplog.at_level(logging.WARNING):
        await asyncio.to_thread(impatient)
        assert (await run).raw
    assert not caplog.records


@pytest.mark.asyncio
async def test_cancelling_who_awaits_does_not_cancel_the_run(fleet: WorkerProcess) -> None:
    run = crew("Wait", llm=SLOW).kickoff_async()
    waiting = asyncio.create_task(run)
    other = asyncio.create_task(run)
    await asyncio.sleep(0)  # let both begin
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    not_begun = asyncio.create_task(run)
    not_begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await not_begun
    assert (await other).run_id == run.id
    assert run.status == "completed"


def test_a_result_that_takes_too_long_says_so_and_the_run_goes_on(fleet: WorkerProcess) -> None:
    run = crew("Wait", llm=SLOW).kickoff_async()
    with pytest.raises(errors.ResultTimeout, match=r"did not end within 0.05 s; it goes on.*crewq watch"):
        run.result(timeout=0.05)
    assert run.result(timeout=10).raw


def test_many_threads_wait_for_many_runs(fleet: WorkerProcess) -> None:
    work = crew("Say {x}")
    runs = [work.kickoff_async({"x": at}) for at in range(20)]
    found: dict[int, str] = {}
    threads = [threading.Thread(target=lambda at=at: found.update({at: runs[at].result(20).raw})) for at in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"Say {at}\n" in found[at] for at in range(20))


# -- cancel ----------------------------------------------------------------------------------------------------------


def test_cancel_aborts_the_call_in_flight_within_a_second(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(hang())
    work = crew("Hang", "Never asked", llm=LLM(model="openai/any", base_url=model_server.url))
    run = work.kickoff_async()
    model_server.ledger.wait_for(lambda calls: len(calls) == 1)
    assert run.cancel() is True
    model_server.ledger.wait_for(lambda calls: calls[0].ended is not None, timeout=1.0)
    assert model_server.ledger[0].status is None, "the HTTP request was aborted"
    with pytest.raises(errors.RunCancelled):
        run.result(timeout=5)
    assert [task.state for task in run.tasks] == ["cancelled", "cancelled"]
    assert run.cancel() is False
    assert len(model_server.ledger) == 1
    reader = Celery(broker=None, backend=os.environ["CREWQ_REDIS_URL"])
    until(lambda: reader.AsyncResult(run.task_ids[-1]).state == "REVOKED")


# -- the handle ------------------------------------------------------------------------------------------------------


def test_any_celery_program_reads_the_result(fleet: WorkerProcess) -> None:
    run = crew("Say a", "Say b").kickoff_async()
    plain = Celery("somebody-elses", backend=os.environ["CREWQ_REDIS_URL"], set_as_current=False)
    assert plain.AsyncResult(run.async_result.id).get(timeout=10) == {"run": run.id, "state": "completed"}
    assert run.async_result.get(timeout=10) == {"run": run.id, "state": "completed"}
    assert run.async_result.successful()
    assert run.async_result.id == run.task_ids[-1]


def test_a_failed_run_is_a_failed_celery_result_without_its_content(fleet: WorkerProcess) -> None:
    run = crew("Fail with SECRET-WORD", llm=scripted()).kickoff_async()
    with pytest.raises(errors.RunFailed, match="the script has 0 answers"):
        run.result(10)
    plain = Celery("somebody-elses", backend=os.environ["CREWQ_REDIS_URL"], set_as_current=False)
    with pytest.raises(RuntimeError, match=f"The crewq run {run.id} failed") as caught:
        plain.AsyncResult(run.async_result.id).get(timeout=10)
    assert "SECRET" not in str(caught.value)


def _check_events(run: Run, events: list[Event]) -> None:
    kinds = [event.type for event in events]
    assert kinds[:2] == ["run_queued", "run_started"]
    assert kinds[2:] == [*["task_started", "call_started", "call_finished", "task_completed"] * 2, "run_completed"]
    assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]
    assert {event.run for event in events} == {run.id}
    assert [event.task for event in events if isinstance(event, TaskCompleted)] == [0, 1]
    assert events == sorted(events, key=lambda event: tuple(map(int, event.id.split("-"))))


def test_events_for_and_async_for(fleet: WorkerProcess) -> None:
    run = crew("Say a", "Say b").kickoff_async()
    events = list(run.events())
    _check_events(run, events)

    async def follow() -> list[Event]:
        return [event async for event in run.events()]

    assert asyncio.run(follow()) == events
    assert list(run.events(after=events[4].id)) == events[5:]
    assert list(run.events(after=events[-1].id)) == []


def test_who_follows_many_runs_holds_nobody_up(fleet: WorkerProcess) -> None:
    runs = [crew("Wait", llm=Echo(latency=3)).kickoff_async() for _ in range(5)]
    for run in runs:
        threading.Thread(target=lambda run=run: list(run.events()), daemon=True).start()
    quick = crew("Say {x}")
    began = time.monotonic()
    try:
        assert "now" in quick.kickoff({"x": "now"}).raw
        assert time.monotonic() - began < 1.5, "a kickoff waits for no reader"
    finally:
        for run in runs:
            run.cancel()


READER = """
import sys
from crewq import Run
run = Run(sys.argv[1])
print(run.status)
print(run.result(10).raw)
print(*[event.type for event in run.events()])
"""


def test_the_same_handle_in_another_process(fleet: WorkerProcess) -> None:
    run = crew("Say {x}").kickoff_async({"x": "far away"})
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    shown = subprocess.run(
        [sys.executable, "-c", READER, run.id[:13]], env=env, cwd=ROOT, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert not shown.stderr
    assert shown.stdout.startswith(("queued", "running", "completed"))
    assert "Say far away" in shown.stdout
    assert shown.stdout.splitlines()[-1].endswith("run_completed")


def test_a_handle_of_something_that_is_not_there(fleet: WorkerProcess) -> None:
    run = crew("Say a").kickoff_async()
    nowhere = "00000000-0000-4000-8000-000000000000"
    for name in (nowhere, nowhere[:9], "", "zz"):
        with pytest.raises(errors.UnknownId, match="There is no run"):
            Run(name)
    with pytest.raises(errors.UnknownId):
        Run(run.task_ids[0])
    with pytest.raises(errors.UnknownId):
        Batch(nowhere)
    with pytest.raises(errors.UnknownId, match="There is no batch"):
        Batch(run.id[:10])
    assert Run(run.id[:13].upper()).id == run.id
    assert run.result(10).raw


def test_the_same_key_gives_the_same_run(fleet: WorkerProcess) -> None:
    work = crew("Say {x}")
    first = work.kickoff_async({"x": 1}, idempotency_key="order-66")
    again = work.kickoff_async({"x": 1}, idempotency_key="order-66")
    assert again.id == first.id
    with pytest.raises(errors.KeyReused, match="order-66"):
        work.kickoff_async({"x": 2}, idempotency_key="order-66")
    assert first.result(10).raw == again.result(10).raw
    assert [event.type for event in first.events()].count("task_started") == 1


def test_a_timeout_ends_the_run(fleet: WorkerProcess) -> None:
    with pytest.raises(errors.RunFailed, match=r"timeout of the kickoff") as caught:
        crew("Wait", llm=Echo(latency=60)).kickoff(timeout=0.5)
    assert isinstance(caught.value.__cause__, errors.TimeExceeded)


def test_a_verbose_crew_tells_what_happens(fleet: WorkerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    loud, quiet = (agent(scripted(text), verbose=text == "Loud.") for text in ("Loud.", "Quiet."))
    tasks = [Task(name=f"t{at}", description="Say it.", agent=who) for at, who in enumerate((loud, quiet))]
    Crew(tasks=tasks).kickoff()
    told = capsys.readouterr().out
    assert "task 1/2 t0: begun\n" in told
    assert "task 1/2 t0: completed by Tester\n    Loud.\n" in told
    assert "t1" not in told
    assert Crew(tasks=tasks, verbose=True).kickoff().raw == "Quiet."
    assert "task 2/2 t1: completed by Tester\n    Quiet.\n" in capsys.readouterr().out


def test_what_became_of_tasks_is_added_to_a_file(fleet: WorkerProcess, tmp_path: Path) -> None:
    logged = crew("Greet {who}.").model_copy(update={"output_log_file": str(tmp_path / "log.json")})
    logged.kickoff({"who": "Ann"})
    logged.kickoff_for_each([{"who": "Ben"}])
    failing = crew("Greet {who}.", llm=Echo(poison="Eve")).model_copy(
        update={"output_log_file": logged.output_log_file}
    )
    run = failing.kickoff_async({"who": "Eve"})
    for _ in range(2):
        with pytest.raises(errors.RunFailed):
            run.result(30)
    entries = json.loads((tmp_path / "log.json").read_text())
    assert [one["status"] for one in entries] == ["started", "completed"] * 2 + ["started", "failed"]
    assert [name for name in ("Ann", "Ben") for one in entries if name in one.get("output", "")] == ["Ann", "Ben"]
    assert "poisoned" in entries[-1]["error"]
