"""The waiter: nobody who waits is forgotten, and one connection serves all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from functools import partial

import pytest
import redis

from crewq.settings import Settings
from crewq.store import Call, Job, Store
from crewq.waiter import Waiter
from tests.store.world import ONE, World, output
from tests.waiting import until


@pytest.fixture(autouse=True)
def short_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So that a closed waiter's thread ends soon; one of another test would be taken for this one's."""
    monkeypatch.setattr("crewq.waiter.READ_SECONDS", 0.1)
    yield
    until(lambda: not any(thread.name == "crewq-waiter" for thread in threading.enumerate()))


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield World(client, Settings(redis_url=redis_url, namespace="t"))
    client.close()


@pytest.fixture
def told() -> list[str]:
    """The runs whose pause was told."""
    return []


@pytest.fixture
def waiter(world: World, told: list[str]) -> Iterator[Waiter]:
    waiter = Waiter(lambda: Store(world.settings, connections=1), told.append)
    yield waiter
    waiter.close()


def ended(world: World, subject: str) -> bool:
    return world.store.has_ended(subject)


def test_who_waits_is_woken_by_the_end(world: World, waiter: Waiter) -> None:
    runs = [world.accept(ONE) for _ in range(20)]
    futures = [waiter.ended(run, partial(ended, world, run)) for run in runs]
    assert not any(future.done() for future in futures)
    for run in runs:
        world.carry_out(run, 0)
    for future in futures:
        future.result(5)
    assert [thread.name for thread in threading.enumerate()].count("crewq-waiter") == 1


@pytest.mark.parametrize("how", ["cancel", "finish"])
def test_who_comes_after_the_end_does_not_wait(world: World, waiter: Waiter, how: str) -> None:
    run = world.accept(ONE)
    if how == "cancel":
        world.runs.cancel(run)
    else:
        world.carry_out(run, 0)
    assert waiter.ended(run, partial(ended, world, run)).done()
    assert waiter.ended("no such run", partial(ended, world, "no such run")).done()


def test_an_end_between_registering_and_looking_is_not_missed(world: World, waiter: Waiter) -> None:
    run = world.accept(ONE)

    def look() -> bool:
        seen = world.store.has_ended(run)
        world.carry_out(run, 0)  # the moment after it was looked at
        return seen

    waiter.ended(run, look).result(5)


def test_a_batch_is_waited_for_in_the_same_way(world: World, waiter: Waiter) -> None:
    batch, ids, _ = world.accept_batch(3, window=3)
    future = waiter.ended(batch, partial(ended, world, batch))
    for run in ids:
        assert not future.done()
        world.carry_out(run, 0)
    future.result(5)


def test_an_end_during_an_outage_is_not_missed(world: World, waiter: Waiter) -> None:
    run, other = world.accept(ONE), world.accept(ONE)
    futures = [waiter.ended(one, partial(ended, world, one)) for one in (run, other)]
    world.client.client_kill_filter(_type="normal", skipme=True)
    world.carry_out(run, 0)
    futures[0].result(5)
    world.client.client_kill_filter(_type="normal", skipme=True)
    world.carry_out(other, 0)
    futures[1].result(5)


def test_a_pause_is_told_to_who_waits_for_the_run_or_its_batch(world: World, waiter: Waiter, told: list[str]) -> None:
    run, unwatched = world.accept(ONE), world.accept(ONE)
    batch, (of_batch, _), _ = world.accept_batch(2, window=2)
    futures = [waiter.ended(one, partial(ended, world, one)) for one in (run, batch)]
    for one in (run, unwatched, of_batch):
        call = Call(Job(one, 0), world.claim(one).attempt, "person", "person", "draft", 0)
        assert world.runs.pause(call.job, 1, "Look at it.", call.id, output("draft"))
    until(lambda: len(told) == 2)
    world.runs.answer(Job(run, 0), world.task(run).question or "", "")
    world.carry_out(run, 0)
    futures[0].result(5)
    assert told == [run, of_batch]
    assert not futures[1].done()


def test_whoever_waits_when_it_closes_is_told(world: World, told: list[str]) -> None:
    waiter = Waiter(lambda: Store(world.settings, connections=1), told.append)
    run = world.accept(ONE)
    future = waiter.ended(run, partial(ended, world, run))
    waiter.close()
    with pytest.raises(CancelledError):
        future.result(0)


def test_who_gives_up_waiting_is_forgotten(world: World, waiter: Waiter) -> None:
    run = world.accept(ONE)
    patient, hasty = (waiter.ended(run, partial(ended, world, run)) for _ in range(2))
    hasty.cancel()
    assert len(waiter._waiting[run]) == 1
    world.carry_out(run, 0)
    patient.result(5)
    assert not waiter._waiting


def test_a_waiter_that_nobody_used_can_be_closed(world: World, told: list[str]) -> None:
    waiter = Waiter(lambda: Store(world.settings, connections=1), told.append)
    waiter.close()
    assert not any(thread.name == "crewq-waiter" for thread in threading.enumerate())
