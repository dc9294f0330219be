"""kickoff_for_each on a real worker: order, failures, ends as they come, cancelling, and a batch that is refused whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from crewq import Batch, Crew, CrewOutput, errors
from crewq.batch import READ_SECONDS
from crewq.server import Server
from tests.integration.crews import Echo, crew
from tests.integration.worker_process import WorkerProcess
from tests.waiting import until

WORK = crew("Say number {n}.", name="numbers")
FRAGILE = crew("Say number {n}.", llm=Echo(poison="number 3."))
FRAGILE.tasks[0].agent.max_retry_limit = 0  # type: ignore[union-attr]


def numbered(count: int) -> list[dict[str, int]]:
    return [{"n": n} for n in range(count)]


def said(output: CrewOutput) -> int:
    return int(output.raw.partition("Say number ")[2].partition(".")[0])


def test_fifty_runs_come_back_in_the_order_of_their_inputs(fleet: WorkerProcess) -> None:
    outputs = WORK.kickoff_for_each(numbered(50))
    assert [said(output) for output in outputs] == list(range(50))
    assert len({output.run_id for output in outputs}) == 50


def test_they_really_run_side_by_side(fleet: WorkerProcess) -> None:
    batch = crew("Wait {n}", llm=Echo(latency=1)).kickoff_for_each_async(numbered(20))
    batch.results(20)
    started = [run.tasks[0].started for run in batch.runs]
    ended = [run.tasks[0].ended for run in batch.runs]
    assert max(moment for moment in started if moment) < min(moment for moment in ended if moment)


def test_one_that_fails_raises_at_the_end_with_everything_attached(fleet: WorkerProcess) -> None:
    with pytest.raises(errors.BatchFailed, match=r"1 of the 6 runs of the batch .* did not complete") as caught:
        FRAGILE.kickoff_for_each(numbered(6))
    assert [said(one) for one in caught.value.results if isinstance(one, CrewOutput)] == [0, 1, 2, 4, 5]
    assert list(caught.value.errors) == [3]
    assert isinstance(caught.value.errors[3], errors.RunFailed)
    assert "poisoned" in str(caught.value)


def test_return_exceptions_puts_them_in_their_places(fleet: WorkerProcess) -> None:
    results = FRAGILE.kickoff_for_each(numbered(5), return_exceptions=True)
    assert [isinstance(result, errors.RunFailed) for result in results] == [False, False, False, True, False]


@pytest.mark.asyncio
async def test_the_async_form_gives_the_handle_of_a_batch(fleet: WorkerProcess) -> None:
    for begin in (WORK.kickoff_for_each_async, WORK.akickoff_for_each):
        batch = begin(numbered(4))
        assert isinstance(batch, Batch)
        first, second = await asyncio.gather(asyncio.create_task(batch), batch)
        assert [said(output) for output in first] == [said(output) for output in second] == [0, 1, 2, 3]
        elsewhere = Batch(batch.id[:13])
        assert [said(output) for output in await elsewhere] == [0, 1, 2, 3]
        progress = elsewhere.progress()
        assert (progress.total, progress.completed, progress.failed, progress.done) == (4, 4, 0, 4)
    with pytest.raises(errors.BatchFailed):
        await FRAGILE.kickoff_for_each_async(numbered(4))


def test_as_completed_gives_each_once_as_they_end(fleet: WorkerProcess) -> None:
    batch = FRAGILE.kickoff_for_each_async(numbered(12), max_in_flight=3)
    ends = list(batch.as_completed())
    assert sorted(at for at, _ in ends) == list(range(12))
    assert all(said(result) == at for at, result in ends if isinstance(result, CrewOutput))
    assert [at for at, result in ends if isinstance(result, errors.RunFailed)] == [3]
    assert sorted(at for at, _ in batch.as_completed()) == list(range(12)), "again, when all is over"

    async def follow() -> list[int]:
        return [at async for at, _ in WORK.kickoff_for_each_async(numbered(12)).as_completed()]

    assert sorted(asyncio.run(follow())) == list(range(12))


def test_no_more_than_max_in_flight_are_under_way(fleet: WorkerProcess) -> None:
    batch = crew("Wait {n}", llm=Echo(latency=0.1)).kickoff_for_each_async(numbered(9), max_in_flight=3)
    batch.results(20)
    tasks = [run.tasks[0] for run in batch.runs]
    most = max(
        sum(other.started <= task.started < other.ended for other in tasks if other.started and other.ended)
        for task in tasks
        if task.started
    )
    assert 1 < most <= 3


def test_a_batch_is_cancelled_whole(fleet: WorkerProcess) -> None:
    batch = crew("Wait {n}", "And {n}", llm=Echo(latency=60)).kickoff_for_each_async(numbered(10), max_in_flight=4)
    until(lambda: sum(run.status == "running" for run in batch.runs) == 4)
    assert batch.cancel() == 10
    results = batch.results(5, return_exceptions=True)
    assert all(isinstance(result, errors.RunCancelled) for result in results)
    assert batch.progress().cancelled == 10
    assert batch.cancel() == 0
    attempts = [task.attempt for run in batch.runs for task in run.tasks]
    assert sum(attempts) == 4, "what was held back never began"


def test_an_empty_batch_has_ended(fleet: WorkerProcess) -> None:
    assert WORK.kickoff_for_each([]) == []
    batch = WORK.kickoff_for_each_async([])
    began = time.monotonic()
    assert list(batch.as_completed()) == []
    assert time.monotonic() - began < READ_SECONDS, "nothing is waited for"


def test_callbacks_of_a_batch_are_called_for_each_run(fleet: WorkerProcess) -> None:
    work = crew("Say number {n}.")
    seen: list[int] = []
    work.before_kickoff_callbacks = [lambda inputs: {"n": inputs["n"] + 1}]
    work.after_kickoff_callbacks = [lambda output: seen.append(said(output))]
    assert [said(output) for output in work.kickoff_for_each(numbered(3))] == [1, 2, 3]
    assert seen == [1, 2, 3]


def generated() -> Iterator[dict[str, Any]]:
    yield {"n": 1}
    yield {"n": {1, 2}}


@pytest.mark.parametrize(
    ("inputs", "kind", "told"),
    [
        ([{"n": 1}, {"m": 2}], errors.MissingInputs, r"^inputs\[1\]: .*: n\."),
        (generated(), errors.UnsupportedInput, r"^inputs\[1\]: The input inputs\['n'\] is of type set"),
        ([{"n": 1}, ["n"]], errors.InputsNotMapping, r"^inputs\[1\]: .* of type list"),
        ({"n": 1}, errors.InputsNotMapping, "a list of dicts, one for each run"),
        (None, errors.InputsNotMapping, "a list of dicts"),
    ],
)
def test_a_batch_with_a_bad_input_starts_nothing(
    fleet: WorkerProcess, fleet_server: Server, inputs: Any, kind: type[errors.InputError], told: str
) -> None:
    with redis.Redis.from_url(fleet_server.url) as client:
        before = client.zcard("{crewq}:ids")
        with pytest.raises(kind, match=told):
            WORK.kickoff_for_each(inputs)
        assert client.zcard("{crewq}:ids") == before


def test_a_batch_of_a_crew_that_cannot_run_starts_nothing(fleet: WorkerProcess) -> None:
    with pytest.raises(errors.EmptyCrew):
        Crew(tasks=[]).kickoff_for_each(numbered(3))
