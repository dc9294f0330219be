"""Leases: a thread renews what is held, and tells whoever lost it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from crewq.leases import Hold, Leases
from crewq.settings import Settings
from crewq.store import Job, Store
from tests.store.world import ONE, World
from tests.waiting import until

LEASE = 0.06  # so that it is renewed every 20 ms


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    settings = Settings(redis_url=redis_url, namespace="t")
    store = Store(settings)
    yield World(store._verbs.client, settings)
    store.close()


@pytest.fixture
def leases(world: World) -> Iterator[Leases]:
    leases = Leases(Store(world.settings, clock=world.clock, patience=0.1, connections=1), LEASE)
    leases.start()
    yield leases
    leases.stop()


def lease_of(world: World, run: str) -> float | None:
    return world.client.zscore("{t}:leases", f"{run}|0")


def test_what_is_held_is_renewed(world: World, leases: Leases) -> None:
    run = world.accept(ONE)
    with leases.hold(Job(run, 0), world.claim(run, lease=LEASE).attempt) as hold:
        for _ in range(3):
            world.clock.forward(LEASE * 0.9)
            until(lambda: lease_of(world, run) == world.clock.ms + LEASE * 1000)
            assert world.sweep().jobs == ()
        assert hold.lost is None
    assert leases.wait_until_idle(0)


def test_a_task_that_is_cancelled_is_lost(world: World, leases: Leases) -> None:
    run, other = world.accept(ONE), world.accept(ONE)
    aborted = threading.Event()
    claims = [world.claim(one, lease=LEASE).attempt for one in (run, other)]
    with leases.hold(Job(run, 0), claims[0]) as hold, leases.hold(Job(other, 0), claims[1]) as safe:
        hold.on_loss(aborted.set)
        world.runs.cancel(run)
        assert aborted.wait(5)
        assert (hold.lost, safe.lost) == ("cancelled", None)


def test_a_task_that_another_has_is_lost(world: World, leases: Leases) -> None:
    run = world.accept(ONE)
    stale = world.claim(run, lease=LEASE).attempt
    world.clock.forward(1)
    world.sweep()
    world.claim(run)
    with leases.hold(Job(run, 0), stale) as hold:
        assert until(lambda: hold.lost) == "running"


def test_a_worker_that_stops_gives_everything_up(world: World, leases: Leases) -> None:
    run = world.accept(ONE)
    with leases.hold(Job(run, 0), world.claim(run).attempt) as hold:
        assert not leases.wait_until_idle(0)
        leases.lose_all("stopping")
        assert hold.lost == "stopping"
    assert leases.wait_until_idle(0)


def test_an_outage_costs_nobody_the_task(world: World, leases: Leases) -> None:
    run = world.accept(ONE)
    with leases.hold(Job(run, 0), world.claim(run, lease=LEASE).attempt) as hold:
        leases._store._verbs.client.connection_pool.disconnect()
        world.clock.forward(LEASE / 2)
        until(lambda: lease_of(world, run) == world.clock.ms + LEASE * 1000)
        assert hold.lost is None


def test_who_asks_too_late_is_told_at_once_and_only_once() -> None:
    hold, told = Hold(Job("run", 0), 1), []
    hold.lose("first")
    hold.on_loss(lambda: told.append(1))
    hold.lose("second")
    assert (hold.lost, told) == ("first", [1])
