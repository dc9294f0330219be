"""Batches: windows, counters, and one end."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.store import Job
from tests.store.world import ONE, PAIR, ROW, World, output


def finish(world: World, run: str) -> tuple[Job, ...]:
    return world.runs.complete(Job(run, 0), world.claim(run).attempt, _OUTPUT).ready


def fail(world: World, run: str) -> tuple[Job, ...]:
    return world.runs.fail(Job(run, 0), world.claim(run).attempt, errors.JobBroken(reason="boom")).ready


def cancel(world: World, run: str) -> tuple[Job, ...]:
    return world.runs.cancel(run)[1]


_OUTPUT = output()


def test_the_end_of_a_run_releases_the_next(world: World) -> None:
    batch, ids, jobs = world.accept_batch(6, window=2)
    assert [job.run for job in jobs] == ids[:2]
    assert [job.run for job in finish(world, ids[1])] == [ids[2]]
    assert [job.run for job in fail(world, ids[0])] == [ids[3]]
    assert [job.run for job in cancel(world, ids[2])] == [ids[4]]
    assert [job.run for job in finish(world, ids[3])] == [ids[5]]
    assert finish(world, ids[4]) == ()
    assert world.store.batches.read(batch).ended is None
    assert finish(world, ids[5]) == ()
    record = world.store.batches.read(batch)
    assert (record.completed, record.failed, record.cancelled, record.total) == (4, 1, 1, 6)
    assert record.done == record.total
    assert record.ended is not None
    assert world.store.has_ended(batch)


def test_a_batch_ends_once(world: World) -> None:
    after = world.store.ends("$", 0).after
    batch, ids, _ = world.accept_batch(3, window=3)
    for run in ids:
        finish(world, run)
        world.runs.cancel(run)
        world.clock.forward(100)
        world.sweep()
    ended = world.store.ends(after, 0).ended
    assert ended.count(batch) == 1
    assert sorted(ended) == sorted([batch, *ids])


def test_a_batch_created_once_more_keeps_its_counters(world: World) -> None:
    """As a producer does that lost its connection: it does its last verbs again."""
    batch, ids, _ = world.accept_batch(3, window=3)
    world.carry_out(ids[0], 0)
    assert world.store.batches.create(batch, "demo") == batch
    record = world.store.batches.read(batch)
    assert (record.total, record.completed) == (3, 1)
    for run in ids[1:]:
        world.carry_out(run, 0)
    assert world.store.batches.read(batch).ended is not None


def test_an_empty_batch_ends_when_it_is_opened(world: World) -> None:
    batch, _, jobs = world.accept_batch(0, window=5)
    assert jobs == ()
    assert world.store.batches.read(batch).ended is not None


def test_a_batch_does_not_end_while_it_is_filled(world: World) -> None:
    batch = world.store.batches.create("b" * 36, "demo")
    run = world.runs.create(world.order(ONE, batch=batch, held=True), [world.new_run(ONE)])[0]
    world.runs.cancel(run)
    assert world.store.batches.read(batch).ended is None
    assert not world.store.has_ended(batch)
    world.store.batches.open(batch, 5)
    assert world.store.batches.read(batch).ended is not None


def test_runs_are_told_as_they_end(world: World) -> None:
    batch, ids, _ = world.accept_batch(3, window=3)
    for run in (ids[2], ids[0]):
        finish(world, run)
    ended = world.store.batches.ended(batch, "0-0")
    assert [(item, run) for _, item, run in ended] == [(2, ids[2]), (0, ids[0])]
    finish(world, ids[1])
    assert [run for _, _, run in world.store.batches.ended(batch, ended[-1][0])] == [ids[1]]


@pytest.mark.parametrize("cancelled", [{1}, {2, 3}, {0, 5}, {1, 2, 3, 4, 5}, {0, 1, 2, 3, 4, 5}])
def test_runs_cancelled_before_their_turn_do_not_hold_the_others_up(world: World, cancelled: set[int]) -> None:
    batch, ids, jobs = world.accept_batch(6, window=2)
    todo = [*jobs, *(job for at in cancelled for job in cancel(world, ids[at]))]
    while todo:
        job = todo.pop(0)
        if world.runs.state(job.run) == "queued":
            todo += finish(world, job.run)
    record = world.store.batches.read(batch)
    assert (record.done, record.cancelled) == (6, len(cancelled))


def test_a_run_of_several_tasks_is_released_once(world: World) -> None:
    _, ids, jobs = world.accept_batch(3, window=1, spec=ROW)
    assert jobs == (Job(ids[0], 0),)
    world.carry_out(ids[0], 0, 1)
    claim = world.claim(ids[0], 2)
    assert world.runs.complete(Job(ids[0], 2), claim.attempt, _OUTPUT).ready == (Job(ids[1], 0),)


def test_a_poisoned_run_that_the_sweep_fails_releases_the_next(world: World) -> None:
    _, ids, _ = world.accept_batch(2, window=1)
    world.claim(ids[0])
    world.clock.forward(16)
    assert world.sweep(max_attempts=1).new == (Job(ids[1], 0),)


def test_a_batch_that_is_not_there_is_unknown(world: World) -> None:
    with pytest.raises(errors.UnknownId, match="nowhere"):
        world.store.batches.read("nowhere")
    assert world.store.has_ended("nowhere")


def test_ten_thousand_runs_are_counted(world: World) -> None:
    """In chunks, as a kickoff writes them; a tenth of it here, for the sake of time."""
    batch, ids, jobs = world.accept_batch(1000, window=8)
    assert len(jobs) == 8
    assert world.store.batches.runs(batch) == ids
    assert len(world.runs.heads(ids)) == 1000


def test_a_run_that_was_begun_too_soon_is_released_all_the_same(world: World) -> None:
    """By a message that was sent before Redis lost its last second, and with it that the run was released."""
    _, (first, second), _ = world.accept_batch(2, window=1, spec=PAIR)
    world.carry_out(second, 1)
    assert world.states(second) == ["queued", "completed", "waiting"]
    world.carry_out(first, 0, 1)
    claim = world.claim(first, 2)
    assert world.runs.complete(Job(first, 2), claim.attempt, output()).ready == (Job(second, 0),)
    world.carry_out(second, 0, 2)
    assert world.read(second).state == "completed"
