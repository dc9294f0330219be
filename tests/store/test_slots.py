"""Calls at once, over the whole fleet: slots, who waits for one, and what becomes of those of workers that died."""

from __future__ import annotations

import pytest

from crewq import errors
from tests.store.asker import Asker
from tests.store.world import LEASE, ONE, World


def test_slots_are_taken_and_given_back(world: World) -> None:
    asker = Asker(world, max_concurrency=2)
    calls = [asker.begin() for _ in range(3)]
    turns = [asker.ask(call) for call in calls]
    assert [turn.word for turn in turns] == ["go", "go", "full"]
    asker.settle(calls[0], turns[0])
    assert asker.ask(calls[2]).word == "go"
    assert asker.ask().word == "full"


def test_a_slot_of_a_worker_that_died_is_free_when_its_lease_ends(world: World) -> None:
    asker = Asker(world, max_concurrency=1)
    asker.ask(asker.begin(lease=LEASE))
    waiting = asker.begin()
    world.clock.forward(LEASE - 1)
    assert asker.ask(waiting).word == "full"
    world.clock.forward(2)
    assert asker.ask(waiting).word == "go"


def test_a_slot_of_a_worker_that_died_is_forgotten_though_nobody_wants_one_again(world: World) -> None:
    asker = Asker(world, max_concurrency=1)
    dead, alive = asker.begin(lease=LEASE), asker.begin(lease=1000)
    asker.ask(dead)
    assert asker.ask(alive).word == "full"
    world.clock.forward(LEASE + 1)
    world.sweep()
    assert not [key for key in world.all_keys() if key.endswith((":slots", ":taken"))]
    turn = asker.ask(alive)
    world.clock.forward(LEASE + 1)
    world.sweep()
    assert asker.ask().word == "full"
    asker.settle(alive, turn)
    world.clock.forward(LEASE + 1)
    world.sweep()
    assert not [key for key in world.all_keys() if key.endswith(":taken")]


def test_a_slot_is_held_as_long_as_the_lease_is_renewed(world: World) -> None:
    asker = Asker(world, max_concurrency=1)
    call = asker.begin(lease=LEASE)
    asker.ask(call)
    for _ in range(10):
        world.clock.forward(LEASE - 1)
        assert world.runs.renew([(call.job, call.attempt)], LEASE) == {}
    assert asker.ask().word == "full"


@pytest.mark.parametrize("end", ["fail", "requeue", "cancel"])
def test_a_slot_does_not_outlive_the_work_on_its_task(world: World, end: str) -> None:
    asker = Asker(world, max_concurrency=1)
    call = asker.begin()
    asker.ask(call)
    waiting = asker.begin()
    assert asker.ask(waiting).word == "full"
    if end == "cancel":
        world.runs.cancel(call.job.run)
    elif end == "requeue":
        world.runs.requeue(call.job, call.attempt, "why")
    else:
        world.runs.fail(call.job, call.attempt, errors.JobBroken(reason="boom"))
    assert asker.ask(waiting).word == "go"


def test_a_task_set_aside_goes_on_as_soon_as_a_slot_is_free(world: World) -> None:
    asker = Asker(world, max_concurrency=1)
    call = asker.begin()
    turn = asker.ask(call)
    first, second = asker.begin(), asker.begin()
    for one in (first, second):
        assert asker.ask(one).word == "full"
        asker.park(one)
        world.clock.forward(0.1)
    assert asker.settle(call, turn) == (first.job,), "one, and the one that came first"
    assert asker.settle(call, turn) == (), "twice wakes nobody else"
    assert asker.ask(asker.again(first)).word == "go"
    assert world.claim(second.job.run).word == "early"


def test_the_first_in_the_line_is_woken_whoever_was_set_aside_first(world: World) -> None:
    asker = Asker(world, max_concurrency=2)
    calls = [asker.begin() for _ in range(2)]
    turns = [asker.ask(call) for call in calls]
    first, second, third = asker.begin(), asker.begin(), asker.begin()
    for one in (first, second, third):
        asker.ask(one)
        world.clock.forward(0.1)
    for one in (third, second, first):
        asker.park(one)
    assert asker.settle(calls[0], turns[0]) == (first.job,)
    assert asker.settle(calls[1], turns[1]) == (second.job,), "the first is on its way to the other slot"
    assert asker.ask(asker.again(second)).word == "go", "one slot is for it, and the other one for the first"
    assert asker.ask().word == "full"
    assert asker.ask(asker.again(first)).word == "go"


def test_nobody_is_set_aside_while_a_slot_is_free(world: World) -> None:
    """It became free after the call was told that there is none."""
    asker = Asker(world, max_concurrency=1)
    call, late = asker.begin(), asker.begin()
    turn = asker.ask(call)
    assert asker.ask(late).word == "full"
    assert asker.settle(call, turn) == ()
    asker.park(late, delay=1000)
    world.clock.forward(0.1)
    assert world.sweep().jobs == (late.job,)


def test_the_sweep_wakes_who_waits_for_the_slot_of_the_dead(world: World) -> None:
    asker = Asker(world, max_concurrency=1)
    dead = asker.begin(lease=LEASE)
    asker.ask(dead)
    parked = asker.begin()
    asker.ask(parked)
    asker.park(parked, delay=1000)
    world.clock.forward(LEASE - 1)
    assert world.sweep().jobs == ()
    world.clock.forward(2)
    assert set(world.sweep().jobs) == {dead.job, parked.job}
    assert world.sweep().jobs == ()


def test_whoever_is_set_aside_for_a_time_comes_back_by_itself(world: World) -> None:
    asker = Asker(world, max_concurrency=1)
    asker.ask()
    parked = asker.begin()
    asker.ask(parked)
    asker.park(parked, delay=30)
    world.clock.forward(31)
    assert world.sweep().jobs == (parked.job,)


def test_nobody_waits_for_a_limit_beyond_the_deadline_of_the_run(world: World) -> None:
    run = world.accept(ONE, deadline=10.0)
    call = world.call(run, attempt=world.claim(run, lease=3600).attempt)
    assert world.runs.postpone(call.job, call.attempt, "waits", delay=60)
    world.clock.forward(10.5)
    assert world.sweep().jobs == (call.job,)
