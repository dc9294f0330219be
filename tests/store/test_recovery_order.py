"""How recovery treats its neighbours: what was begun goes first, and what may be poison is taken alone."""

from __future__ import annotations

from crewq.store import Job
from tests.store.world import LEASE, ONE, World


def lane_of(world: World, run: str) -> str:
    return str(world.client.hget(f"{{t}}:run:{run}:task:0", "lane"))


def crash(world: World) -> None:
    world.clock.forward(LEASE + 1)
    world.sweep()


def test_the_first_task_of_an_item_goes_to_the_front_once_it_was_begun(world: World) -> None:
    _, (run,), _ = world.accept_batch(1, 1)
    assert lane_of(world, run) == "crewq/6"
    world.claim(run)
    crash(world)
    assert lane_of(world, run) == "crewq/0"
    assert world.client.zcard("{t}:ready:crewq/6") == 0
    assert world.client.zcard("{t}:ready:crewq/0") == 1


def test_a_task_that_lost_its_worker_twice_is_to_be_taken_alone(world: World) -> None:
    run = world.accept(ONE)

    def start(claim: str) -> str:
        return world.runs.start(Job(run, 0), claim=claim, worker="w1", lease=LEASE, alone_from=2).word

    assert start("a") == "yours"
    crash(world)
    assert start("b") == "yours"
    crash(world)
    assert start("c") == "alone"
    assert world.states(run) == ["queued"]
    assert world.claim(run).word == "yours"  # by a worker that does nothing else


def test_a_call_in_doubt_that_ended_after_all_lets_the_task_go_on(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    world.store.journal.begin(call, repeatable=False)
    crash(world)
    world.runs.pause(Job(run, 0), world.claim(run).attempt, "nobody knows", call.id)
    assert (world.states(run), world.read(run).state.value) == (["paused"], "paused")
    assert world.store.journal.finish(call, "charged", seconds=1.0) == "charged"  # the worker had only been frozen
    assert (world.states(run), world.read(run).state.value) == (["queued"], "running")
