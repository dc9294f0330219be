"""Recovery: what a sweep finds, what it leaves alone, and that it says nothing twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crewq import errors
from crewq.states import RunState
from crewq.store import Job
from crewq.store.connection import HEAL_MS
from tests.store.world import GRACE, LEASE, MAX_ATTEMPTS, ONE, PAIR, ROW, World, output


def lane_of(world: World, run: str) -> str:
    return world.client.hget(f"{{t}}:run:{run}:task:0", "lane")  # type: ignore[return-value]


# -- workers that died -------------------------------------------------------------------------------------


def test_the_task_of_a_dead_worker_goes_to_another(world: World) -> None:
    run = world.accept(ONE)
    world.claim(run)
    world.clock.forward(LEASE - 0.001)
    assert world.sweep().jobs == ()
    world.clock.forward(0.001)
    assert world.sweep().jobs == (Job(run, 0),)
    assert world.sweep().jobs == ()
    claim = world.claim(run)
    assert (claim.word, claim.attempt, claim.tries) == ("yours", 2, 0)
    assert "task_requeued" in world.events(run)


def test_a_task_that_kills_its_workers_fails(world: World) -> None:
    run, bystander = world.accept(PAIR), world.accept(ONE)
    for _ in range(MAX_ATTEMPTS):
        assert world.claim(run).word == "yours"
        world.clock.forward(LEASE + 1)
        world.sweep()
    record = world.read(run)
    assert record.state is RunState.FAILED
    assert isinstance(record.error, errors.Crashed)
    assert (record.error.facts["attempts"], record.error.facts["worker"]) == (3, "w1")
    assert "w1" in str(record.error)
    assert world.states(run) == ["failed", "cancelled", "cancelled"]
    assert world.states(bystander) == ["queued"]


def test_when_nobody_got_through_to_redis_all_may_first_come_back(world: World) -> None:
    """Redis took no writes for longer than the lease: the workers are well, and one holds an answer that was paid for."""
    run = world.accept(ONE)
    attempt = world.claim(run).attempt
    call = world.call(run, attempt=attempt)
    world.store.journal.begin(call, repeatable=True)
    world.sweep()
    world.clock.forward(LEASE + 1)
    assert world.sweep(others=False).jobs == ()
    assert world.runs.renew([(Job(run, 0), attempt)], LEASE) == {}
    world.store.journal.finish(call, "paid", seconds=1.0)
    world.clock.forward(1)
    assert world.sweep(others=False).jobs == ()
    assert (world.states(run), world.task(run).attempt) == (["running"], 1)


def test_who_does_not_come_back_then_is_taken_for_dead(world: World) -> None:
    run = world.accept(ONE)
    world.claim(run)
    world.sweep()
    world.clock.forward(LEASE + 1)
    world.sweep(others=False)
    world.clock.forward(HEAL_MS / 1000)
    world.sweep()
    assert world.states(run) == ["queued"]


def test_a_sweeper_that_is_alone_and_comes_by_in_time_takes_nobody_for_silent(world: World) -> None:
    run = world.accept(ONE)
    world.claim(run)
    for _ in range(int(LEASE) + 1):
        world.clock.forward(1.25)
        world.sweep(others=False)
    assert world.states(run) == ["queued"]


def test_being_handed_back_is_no_strike(world: World) -> None:
    run = world.accept(ONE)
    for at in range(MAX_ATTEMPTS - 1):
        world.claim(run)
        world.clock.forward(LEASE + 1)
        world.sweep()
        world.runs.requeue(Job(run, 0), world.claim(run).attempt, "stopping", counts=bool(at))
        world.clock.forward(1)
    assert world.claim(run).word == "yours"
    world.clock.forward(LEASE + 1)
    world.sweep()
    assert world.read(run).state is RunState.FAILED


def test_a_worker_that_dies_in_a_failed_run_keeps_it_from_ending_no_longer_than_its_strikes(world: World) -> None:
    run = world.accept(PAIR)
    bad, _ = world.claim(run, 0), world.claim(run, 1)
    world.runs.fail(Job(run, 0), bad.attempt, errors.JobBroken(reason="boom"))
    for _ in range(MAX_ATTEMPTS):
        world.clock.forward(LEASE + 1)
        for job in world.sweep().jobs:
            world.claim(job.run, job.index)
    assert world.read(run).state is RunState.FAILED
    assert str(world.read(run).error) == "boom"


# -- messages that were lost -------------------------------------------------------------------------------


def test_a_fresh_message_is_given_time(world: World) -> None:
    world.accept(ONE)
    world.clock.forward(GRACE - 0.001)
    found = world.sweep()
    assert (found.jobs, found.probes) == ((), ())


def test_a_lane_in_which_nothing_moves_is_probed_and_less_and_less_often(world: World) -> None:
    run = world.accept(ONE)
    world.clock.forward(GRACE)
    asked = []
    for second in range(60):
        found = world.sweep()
        asked += [second for lane, sent in found.probes if (lane, sent) == (lane_of(world, run), world.clock.ms)]
        assert found.jobs == ()
        world.clock.forward(1)
    assert asked == [0, 5, 15, 35]


def test_a_probe_that_comes_through_shows_what_was_lost(world: World) -> None:
    run = world.accept(ONE)
    world.clock.forward(GRACE)
    ((lane, sent),) = world.sweep().probes
    world.runs.note_delivery(lane, sent)
    found = world.sweep()
    assert found.jobs == (Job(run, 0),)
    assert world.sweep().jobs == ()  # its new message is given time
    assert world.claim(run).word == "yours"


@pytest.mark.parametrize("forged", [10**15, 10**30, "nan", "inf", "soon", ""])
def test_a_probe_that_somebody_else_wrote_tells_nothing_of_the_time_to_come(world: World, forged: Any) -> None:
    world.accept(ONE)
    world.clock.forward(GRACE)
    ((lane, _sent),) = world.sweep().probes
    world.runs.note_delivery(lane, forged)
    later = world.accept(ONE)
    world.clock.forward(GRACE + 1)
    found = world.sweep()
    assert Job(later, 0) not in found.jobs
    world.runs.note_delivery(lane, world.clock.ms)
    assert Job(later, 0) in world.sweep().jobs, "what is true moves the mark as ever"


def test_a_later_message_that_is_delivered_shows_what_was_lost(world: World) -> None:
    lost = world.accept(ONE)
    world.clock.forward(GRACE)
    world.claim(world.accept(ONE))
    assert world.sweep().jobs == (Job(lost, 0),)


def test_messages_that_are_sent_in_another_order_than_their_tasks_were_ready_are_not_lost(world: World) -> None:
    """A producer sends a window of a batch one by one, and meanwhile a worker sends the run that follows it."""
    waits = world.accept(ONE)
    world.clock.forward(GRACE - 0.1)
    world.claim(world.accept(ONE))
    world.clock.forward(GRACE - 0.1)
    assert world.sweep().jobs == ()
    world.claim(waits)


def test_the_mark_of_a_lane_never_goes_back(world: World) -> None:
    run = world.accept(ONE)
    lane = lane_of(world, run)
    world.clock.forward(GRACE)
    world.runs.note_delivery(lane, world.clock.ms)
    world.runs.note_delivery(lane, world.clock.ms - 10_000)
    assert world.sweep().jobs == (Job(run, 0),)


def test_lanes_are_judged_apart(world: World) -> None:
    run, other = world.accept(ONE), world.accept(ROW)
    world.clock.forward(1)
    world.carry_out(other, 0)  # its next task stands in the lane of later tasks
    world.clock.forward(GRACE)
    world.runs.note_delivery(lane_of(world, run), world.clock.ms)
    assert world.sweep().jobs == (Job(run, 0),)
    assert world.states(other)[1] == "queued"


def test_a_healthy_backlog_is_left_alone(world: World) -> None:
    """2,000 tasks wait for one slow worker, which takes one each second: nothing is sent again, and nobody probes."""
    order = world.order(ONE)
    runs = [world.new_run(ONE) for _ in range(2000)]
    for at in range(0, 2000, 100):
        world.runs.create(order, runs[at : at + 100])
        world.clock.forward(0.01)
    world.clock.forward(GRACE)
    probes = len(world.sweep().probes)
    for run in runs[:40]:
        world.carry_out(run.id, 0)
        world.clock.forward(1)
        found = world.sweep()
        assert found.jobs == ()
        probes += len(found.probes)
    assert probes <= 1


def test_a_lost_backlog_is_sent_again_in_bounded_parts(world: World) -> None:
    order = world.order(ONE)
    world.runs.create(order, [world.new_run(ONE) for _ in range(30)])
    world.clock.forward(GRACE)
    ((lane, sent),) = world.runs.sweep(grace=GRACE, max_attempts=3, limit=10).probes
    world.runs.note_delivery(lane, sent)
    found = [world.runs.sweep(grace=GRACE, max_attempts=3, limit=10).jobs for _ in range(4)]
    assert [len(jobs) for jobs in found] == [10, 10, 10, 0]
    assert len({job for jobs in found for job in jobs}) == 30


# -- results that were not said ----------------------------------------------------------------------------


def test_an_end_is_said_until_it_was_said(world: World) -> None:
    run = world.accept(ONE)
    world.carry_out(run, 0)
    assert world.sweep().unsaid == ()
    for _ in range(2):
        world.clock.forward(GRACE)
        assert world.sweep().unsaid == (run,)
    world.runs.said(run)
    world.clock.forward(GRACE)
    assert world.sweep().unsaid == ()


# -- rows of bad luck --------------------------------------------------------------------------------------


def test_entries_of_runs_that_are_gone_are_taken_out(world: World) -> None:
    run, claimed = world.accept(ONE), world.accept(ONE)
    world.claim(claimed)
    for key in world.all_keys():
        if run in key or claimed in key:
            world.client.delete(key)  # as their time to live would
    world.clock.forward(LEASE + 1)
    world.runs.note_delivery("crewq/0", world.clock.ms)
    for _ in range(2):
        assert world.sweep().jobs == ()
    assert world.client.zcard("{t}:leases") == 0


@pytest.mark.parametrize("sweepers", [1, 5])
def test_any_number_of_sweepers_find_a_thing_once(world: World, sweepers: int) -> None:
    runs = [world.accept(ONE) for _ in range(3)]
    for run in runs:
        world.claim(run)
    world.clock.forward(LEASE + 1)
    found = [job for _ in range(sweepers) for job in world.sweep().jobs]
    assert sorted(job.run for job in found) == sorted(runs)


def test_a_stale_worker_cannot_undo_a_recovery(world: World) -> None:
    run = world.accept(ONE)
    stale = world.claim(run)
    world.clock.forward(LEASE + 1)
    world.sweep()
    fresh = world.claim(run)
    call = world.call(run, attempt=stale.attempt)
    assert world.store.journal.begin(call, repeatable=True).word == "stop"
    assert world.store.journal.begin(replace(call, attempt=fresh.attempt), repeatable=True).word == "go"
    assert world.runs.complete(Job(run, 0), stale.attempt, output()).word == "refused"
    assert world.states(run) == ["running"]
