"""What is forgotten, and when; and that nothing of it is left. Every test here also asserts that no key lives for ever."""

from __future__ import annotations

import uuid

import pytest

from crewq import errors
from crewq.limits import Limit
from crewq.settings import DAY
from crewq.store import Demand, Job
from crewq.store.keys import UNFINISHED
from tests.store.world import ONE, PAIR, ROW, World, strays


def end(world: World, run: str, how: str) -> None:
    if how == "cancelled":
        world.runs.cancel(run)
    elif how == "failed":
        world.runs.fail(Job(run, 0), world.claim(run).attempt, errors.JobBroken(reason="boom"))
    else:
        world.carry_out(run, 0)
    assert world.runs.state(run) == how


def journalled(world: World, run: str) -> None:
    """A call, so that the run has every kind of key."""
    call = world.call(run, attempt=1)
    world.store.journal.finish(call, "answer", seconds=1.0)


@pytest.mark.parametrize(("how", "days"), [("completed", 7), ("failed", 30), ("cancelled", 7)])
def test_a_run_is_forgotten_as_a_unit_when_its_time_is_over(world: World, how: str, days: int) -> None:
    run, other = world.accept(ONE), world.accept(ONE)
    journalled(world, run)
    end(world, run, how)
    world.clock.forward(days * DAY - 1)
    world.sweep()
    assert world.runs.state(run) == how
    world.clock.forward(1)
    world.sweep()
    assert strays(world, [run]) == []
    assert world.runs.state(other) == "queued"


@pytest.mark.parametrize(("how", "days"), [("completed", 7), ("failed", 30), ("cancelled", 7)])
def test_should_no_sweeper_run_redis_itself_forgets_an_hour_later(world: World, how: str, days: int) -> None:
    run = world.accept(ONE)
    journalled(world, run)
    end(world, run, how)
    seconds = {world.client.ttl(key) for key in world.all_keys() if run in key}
    assert all(days * DAY + 3590 <= left <= days * DAY + 3600 for left in seconds), seconds


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
def test_a_run_that_ended_can_be_deleted(world: World, how: str) -> None:
    run = world.accept(ONE)
    journalled(world, run)
    end(world, run, how)
    world.runs.delete(run)
    assert strays(world, [run]) == []
    assert world.runs.find(run) == []


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_an_idempotency_key_goes_with_its_run(world: World, how: str) -> None:
    run = world.accept(ONE, key="mine", fingerprint="f")
    other = world.accept(ONE, key="another", fingerprint="f")
    end(world, run, "completed")
    if how == "deleted":
        world.runs.delete(run)
    else:
        world.clock.forward(8 * DAY)
        world.sweep()
    kept = [key for key in world.all_keys() if "kickoff:" in key]
    assert [world.client.get(key) for key in kept] == [f"{other}|f"]


def test_an_idempotency_key_that_names_a_later_run_stays(world: World) -> None:
    first = world.accept(ONE, key="mine", fingerprint="f")
    end(world, first, "completed")
    (name,) = [key for key in world.all_keys() if "kickoff:" in key]
    world.client.set(name, "later|f", ex=DAY)
    world.runs.delete(first)
    assert world.client.get(name) == "later|f"


def test_an_idempotency_key_goes_with_its_batch(world: World) -> None:
    batch = world.store.batches.create(str(uuid.uuid4()), "crew", "mine", "f")
    world.store.batches.open(batch, 1)
    world.clock.forward(UNFINISHED + 1)
    world.sweep()
    assert [key for key in world.all_keys() if "kickoff:" in key or batch in key] == []


def test_a_run_that_goes_on_cannot_be_deleted(world: World) -> None:
    run = world.accept(ROW)
    world.claim(run)
    with pytest.raises(errors.NotNow, match="cancel"):
        world.runs.delete(run)
    assert world.states(run) == ["running", "waiting", "waiting"]


def test_a_run_that_nobody_ever_took_up_is_forgotten_too(world: World) -> None:
    run = world.accept(PAIR)
    world.clock.forward(UNFINISHED + 1)
    world.sweep()
    world.runs.note_delivery("crewq/0", world.clock.ms)
    assert [stray for stray in strays(world, [run]) if not stray.startswith("ready")] == []


def test_a_batch_is_forgotten_after_its_end(world: World) -> None:
    batch, ids, _ = world.accept_batch(2, window=2)
    for run in ids:
        end(world, run, "completed")
    world.clock.forward(7 * DAY)
    world.sweep()
    assert strays(world, [batch, *ids]) == []
    with pytest.raises(errors.UnknownId):
        world.store.batches.read(batch)


def test_a_batch_that_was_never_opened_is_forgotten_too(world: World) -> None:
    batch = world.store.batches.create("b" * 36, "demo")
    world.clock.forward(UNFINISHED + 1)
    world.sweep()
    assert strays(world, [batch]) == []


def test_the_crew_of_a_run_is_kept_as_long_as_the_run(world: World) -> None:
    run = world.accept(ONE)
    key = f"{{t}}:spec:{ONE.digest()}"
    world.client.expire(key, 5)  # the run was accepted long ago
    end(world, run, "failed")
    assert world.client.ttl(key) >= world.client.ttl(f"{{t}}:run:{run}")


def test_every_key_has_its_time_while_much_is_under_way(world: World) -> None:
    done, running, failed, delayed = (world.accept(ROW) for _ in range(4))
    world.accept_batch(5, window=2)
    world.carry_out(done, 0, 1, 2)
    journalled(world, running)
    claim = world.claim(running)
    world.runs.renew([(Job(running, 0), claim.attempt)], 15)
    end(world, failed, "failed")
    world.runs.requeue(Job(delayed, 0), world.claim(delayed).attempt, "later", delay=60, counts=True)
    demands = (Demand("scope", Limit(rpm=10, tpm=10, max_concurrency=10)),)
    world.store.limits.reserve(world.call(running, attempt=claim.attempt), demands)
    world.clock.forward(10)
    for lane, sent in world.sweep().probes:
        world.runs.note_delivery(lane, sent)
    world.sweep()
    assert world.immortal() == []
