"""Who goes next: the tenants whose batches wait for the same workers take turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from crewq.spec import CrewSpec
from crewq.store import Job
from tests.store.world import ONE, PAIR, ROW, World, output

SLOTS = 4
MANY = 60


class Slots:
    """A broker that forgets nothing, and workers that are never late: each slot ends a run and takes the next."""

    def __init__(self, world: World, slots: int = SLOTS, weights: dict[str, float] | None = None) -> None:
        self.world = world
        self.slots = slots
        self.waiting: list[tuple[int, Job]] = []
        self.working: list[Job] = []
        self.begun: list[str] = []  # the runs, in the order in which they were
        self.tenants: dict[str, str] = {}
        world.sweep()  # which sees that this start of Redis has no past
        world.runs.present("w1", {"concurrency": slots, "weights": weights or {}})

    def batch(self, tenant: str, count: int = MANY, window: int = 1000, spec: CrewSpec = ONE, **terms: Any) -> str:
        batch, ids, jobs = self.world.accept_batch(count, window, spec, tenant=tenant, **terms)
        self.tenants |= dict.fromkeys(ids, tenant)
        self.send(jobs)
        return batch

    def send(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            lane = self.world.client.hget(f"{{t}}:run:{job.run}:task:{job.index}", "lane")
            self.waiting.append((int(str(lane).rpartition("/")[2]), job))
        self.waiting.sort(key=lambda one: one[0])  # stable: in a lane, first in, first out

    def turn(self) -> None:
        """The slots that are free take what is first; then the one that works longest ends."""
        while self.waiting and len(self.working) < self.slots:
            _, job = self.waiting.pop(0)
            claim = self.world.claim(job.run, job.index)
            if claim.word == "yours":
                self.begun.append(job.run)
                self.working.append(job)
                self.send(claim.ready)
        if self.working:
            job = self.working.pop(0)
            self.send(self.world.runs.complete(job, self.world.task(job.run).attempt, output()).ready)

    def turns(self, count: int) -> list[str]:
        """So many of them; answers whose runs were begun meanwhile."""
        before = len(self.begun)
        for _ in range(count):
            self.turn()
        return [self.tenants[run] for run in self.begun[before:]]


def line(world: World) -> list[str]:
    return [str(tenant) for tenant in world.client.zrange("{t}:line:crewq", 0, -1)]


def test_no_more_wait_in_the_queue_than_there_are_slots(world: World) -> None:
    slots = Slots(world)
    slots.batch("acme", 20)
    slots.batch("acme", 20)
    slots.batch("other", 20)
    for _ in range(40):
        assert len(slots.waiting) == SLOTS
        slots.turn()
    slots.turns(30)
    assert len(slots.begun) == len(set(slots.begun)) == 60
    assert line(world) == []


def test_where_no_worker_is_known_as_many_wait_as_one_usually_takes(world: World) -> None:
    assert len(world.accept_batch(50, 1000)[2]) == 32


def test_two_tenants_take_turns_however_many_batches_each_has(world: World) -> None:
    slots = Slots(world)
    for _ in range(3):
        slots.batch("acme")
    slots.batch("other")
    slots.turns(2 * SLOTS)
    begun = slots.turns(40)
    assert Counter(begun) == {"acme": 20, "other": 20}
    assert all(set(begun[at : at + 2]) == {"acme", "other"} for at in range(0, 40, 2))


def test_a_weight_of_three_is_three_turns_of_four(world: World) -> None:
    slots = Slots(world, weights={"acme": 3, "*": 1})
    slots.batch("acme", 200)
    slots.batch("other", 200)
    slots.turns(2 * SLOTS)
    begun = slots.turns(120)
    assert all(Counter(begun[at : at + 4]) == {"acme": 3, "other": 1} for at in range(0, 120, 4))


def test_a_weight_of_those_who_are_not_named(world: World) -> None:
    slots = Slots(world, weights={"trial": 0.5, "*": 1.5})
    slots.batch("trial")
    slots.batch("other")
    slots.turns(2 * SLOTS)
    assert Counter(slots.turns(40)) == {"trial": 10, "other": 30}


def test_one_who_comes_anew_waits_for_one_turn_of_each_slot(world: World) -> None:
    slots = Slots(world)
    slots.batch("acme", 200)
    slots.turns(50)
    slots.batch("other", 3)
    begun = slots.turns(SLOTS + 6)
    assert begun.index("other") <= SLOTS
    assert begun.count("other") == 3


def test_one_who_comes_anew_has_nothing_to_catch_up_with(world: World) -> None:
    slots = Slots(world)
    slots.batch("acme", 200)
    slots.turns(100)
    slots.batch("other", 100)
    slots.turns(SLOTS)
    assert Counter(slots.turns(20)) == {"acme": 10, "other": 10}


def test_one_who_comes_and_goes_gets_no_more_than_its_share(world: World) -> None:
    """Its batch may have one run under way, so with each that ends it is in the line anew."""
    slots = Slots(world, slots=1, weights={"acme": 1, "other": 3})
    slots.batch("acme", window=1)
    slots.batch("other", 100)
    slots.turns(4)
    assert Counter(slots.turns(40))["acme"] <= 10


def test_a_tenant_of_the_least_weight_is_not_starved(world: World) -> None:
    slots = Slots(world, slots=1, weights={"small": 0.05})
    slots.batch("small", 20)
    slots.batch("big", 100)
    assert slots.turns(90)[10:].count("small") >= 3


def test_a_batch_has_no_more_under_way_than_it_may(world: World) -> None:
    slots = Slots(world)
    slots.batch("acme", window=2)
    slots.batch("other", 200)
    for _ in range(60):
        slots.turn()
        mine = [job for job in (*slots.working, *(job for _, job in slots.waiting)) if slots.tenants[job.run] == "acme"]
        assert len(mine) <= 2
    assert "acme" in slots.turns(4)


def test_the_batches_of_a_tenant_take_turns(world: World) -> None:
    slots = Slots(world)
    batches = [slots.batch("acme", 40) for _ in range(3)]
    slots.turns(2 * SLOTS)
    slots.turns(30)
    of = {run: batch for batch in batches for run in world.store.batches.runs(batch)}
    assert Counter(of[run] for run in slots.begun[-30:]) == dict.fromkeys(batches, 10)


def test_what_is_urgent_goes_first_but_takes_no_turn_of_another_tenant(world: World) -> None:
    slots = Slots(world)
    low = slots.batch("acme", priority="low")
    slots.batch("other")
    slots.turns(2 * SLOTS)
    high = slots.batch("acme", 30, priority="high")
    slots.turns(SLOTS)
    before = len(slots.begun)
    assert Counter(slots.turns(40)) == {"acme": 20, "other": 20}
    begun = slots.begun[before:]
    assert sum(run in begun for run in world.store.batches.runs(high)) >= 18
    assert sum(run in begun for run in world.store.batches.runs(low)) <= 2


def test_a_single_run_waits_for_no_batch(world: World) -> None:
    slots = Slots(world)
    slots.batch("acme", 200)
    slots.turns(10)
    run = world.accept(ONE)
    slots.tenants[run] = "other"
    slots.send([Job(run, 0)])
    assert "other" in slots.turns(2)


def test_a_batch_that_is_cancelled_leaves_the_line(world: World) -> None:
    slots = Slots(world)
    slots.batch("acme", 200)
    gone = slots.batch("other", 20)
    slots.turns(10)
    assert sorted(line(world)) == ["acme", "other"]
    for run in reversed(world.store.batches.runs(gone)):
        slots.send(world.runs.cancel(run)[1])
    assert line(world) == ["acme"]
    assert [key for key in world.all_keys() if "turns:other" in key] == []
    slots.waiting = [(lane, job) for lane, job in slots.waiting if slots.tenants[job.run] == "acme"]
    slots.working = [job for job in slots.working if slots.tenants[job.run] == "acme"]
    assert set(slots.turns(20)) == {"acme"}
    assert world.store.batches.read(gone).ended is not None


def test_other_queues_have_lines_of_their_own(world: World) -> None:
    slots = Slots(world)
    slots.batch("acme")
    assert len(world.accept_batch(10, 1000, ONE.model_copy(update={"queue": "gpu"}), tenant="acme")[2]) == SLOTS
    assert world.client.smembers("{t}:lines") == {"crewq", "gpu"}


@pytest.mark.parametrize("spec", [ROW, PAIR])
def test_tasks_that_come_later_are_none_of_the_lines_business(world: World, spec: CrewSpec) -> None:
    batch, ids, jobs = world.accept_batch(3, 1, spec)
    assert {job.run for job in jobs} == {ids[0]}
    world.carry_out(ids[0], *range(3))
    for run in ids[1:]:
        world.carry_out(run, *range(3))
    assert world.store.batches.read(batch).ended is not None
    assert line(world) == []


def test_what_a_worker_did_not_send_is_found(world: World) -> None:
    """It died between its claim and the message that it was to send."""
    Slots(world, slots=1)
    _, ids, (first,) = world.accept_batch(3, 1000)
    (lost,) = world.claim(first.run).ready
    assert lost.run == ids[1]
    world.clock.forward(6)
    ((lane, sent),) = world.sweep().probes
    world.runs.note_delivery(lane, sent)
    world.clock.forward(3)
    found = world.sweep()
    assert found.jobs == (lost,)
    assert [job.run for job in found.new] == [ids[2]]


def test_a_sweep_lets_more_go_when_workers_have_come(world: World) -> None:
    Slots(world, slots=2)
    _, ids, jobs = world.accept_batch(9, 1000)
    assert [job.run for job in jobs] == ids[:2]
    world.runs.present("w2", {"concurrency": 3})
    assert [job.run for job in world.sweep().new] == ids[2:5]
    world.runs.absent("w2")
    assert world.sweep().new == ()


def test_a_batch_of_an_earlier_version_goes_on(world: World) -> None:
    """It had let its window go already, and no place in a line was known then."""
    _, ids, _ = world.accept_batch(4, window=1)
    batch = world.read(ids[0]).batch
    world.client.hdel(f"{{t}}:batch:{batch}", "room", "lane")
    world.carry_out(ids[0], 0)
    assert world.client.zcard("{t}:ready:crewq/6") == 1
    for run in ids[1:]:
        world.carry_out(run, 0)
    assert world.store.batches.read(str(batch)).ended is not None
