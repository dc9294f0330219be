"""What Redis had not written when it died is done again by whoever did it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from crewq.events import CallStarted
from crewq.fanout import new_run, start_run
from crewq.leases import Leases
from crewq.producer import Producer
from crewq.server import join
from crewq.settings import Settings
from crewq.store import Job, Store
from crewq.store.keys import Keys
from crewq.store.redo import HEALING, Redo
from crewq.terms import Terms
from tests.store.world import ONE, World, output
from tests.waiting import until

KEYS = Keys(Settings(redis_url="redis://test").namespace)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A store on a Redis of its own, in Redis's own time."""
    with join(tmp_path, kinds=("installed", "bundled")) as server:
        settings = Settings(redis_url=server.url)
        with redis.Redis.from_url(server.url, decode_responses=True) as admin:
            world = World(admin, settings)
            world.store = Store(settings, patience=20)
            world.runs = world.store.runs
            yield world
            world.store.close()


@pytest.fixture
def lose_all(world: World, tmp_path: Path) -> Callable[[], None]:
    """Kill Redis, and let it come back with nothing, while no command is under way: so none fails."""

    def start() -> str:
        try:
            about = world.client.info()
            return "" if about["loading"] else str(about["run_id"])
        except redis.ConnectionError:
            return ""

    def lose() -> None:
        before = start()
        os.kill(json.loads((tmp_path / "server.json").read_text())["pid"], signal.SIGKILL)
        until(lambda: start() not in ("", before))
        world.client.flushall()

    return lose


def test_a_run_that_was_accepted(world: World, lose_all: Callable[[], None]) -> None:
    run = world.accept(ONE)
    lose_all()
    assert world.runs.read(run).state.value == "queued"


def test_a_claim_and_a_call_that_began(world: World, lose_all: Callable[[], None]) -> None:
    """A call that must not be repeated is still known to have begun, so whoever comes after asks a person."""
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    assert world.store.journal.begin(call, repeatable=False).word == "go"
    lose_all()
    assert world.states(run) == ["running"]
    journal = world.client.hgetall(KEYS.journal(run))
    assert journal == {f"0:{call.id}": "started 1"}
    started = [event for event in world.runs.events(run, "0-0", count=100) if isinstance(event, CallStarted)]
    assert [event.call for event in started] == [call.id]


def test_a_claim_after_one_that_was_over(world: World, lose_all: Callable[[], None]) -> None:
    """A sweep is not done again, so Redis does not know any more that the first worker had lost the task."""
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run, lease=0.05).attempt)
    world.store.journal.begin(call, repeatable=True)
    until(lambda: world.runs.sweep(grace=0.0, max_attempts=3).jobs)
    again = replace(call, attempt=world.runs.start(call.job, claim="2", worker="w2", lease=30).attempt)
    world.store.journal.begin(again, repeatable=True)
    lose_all()
    task = world.task(run)
    assert (task.state.value, task.attempt, task.worker, task.repeated) == ("running", 2, "w2", 1)
    assert world.runs.complete(call.job, call.attempt, output()).word == "refused"
    assert world.runs.complete(call.job, again.attempt, output()).word == "recorded"


@pytest.mark.parametrize(("again", "state"), [(False, "failed 1"), (True, "started 1")])
def test_a_call_that_failed_and_perhaps_began_once_more(
    world: World, lose_all: Callable[[], None], again: bool, state: str
) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    world.store.journal.begin(call, repeatable=True)
    world.store.journal.fail(call)
    if again:
        world.store.journal.begin(call, repeatable=True)
    lose_all()
    assert world.states(run) == ["running"]
    assert world.client.hgetall(KEYS.journal(run)) == {f"0:{call.id}": state}


def test_a_worker_that_has_nothing_to_do(world: World, lose_all: Callable[[], None]) -> None:
    """One that asks nothing more would not notice, and its last task would be done again by another."""
    leases = Leases(Store(world.settings, patience=1, connections=1, beside=world.store), lease=30)
    leases.start()
    run = world.accept(ONE)
    job, attempt = Job(run, 0), world.claim(run).attempt
    with leases.hold(job, attempt):
        pass
    world.runs.complete(job, attempt, output())
    lose_all()
    until(lambda: world.client.hget(KEYS.run(run), "state") == "completed")
    leases.stop()


def test_a_producer_that_asks_nothing_more(world: World, lose_all: Callable[[], None]) -> None:
    producer = Producer(world.settings)
    run = start_run(producer, ONE, new_run(ONE, {}), deadline=0.0, terms=Terms())
    lose_all()
    until(lambda: world.client.hget(KEYS.run(run), "state") == "queued")
    producer.close()


def test_what_was_counted(world: World, lose_all: Callable[[], None]) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    world.store.journal.begin(call, repeatable=True)
    world.store.journal.finish(call, "paid", usage='{"cost": 0.5}', seconds=1.0)
    world.runs.complete(call.job, call.attempt, output())
    before = world.store.metrics.read()
    assert before.totals["cost_dollars", "gpt"] == 0.5
    lose_all()
    assert world.store.metrics.read().totals == before.totals


def test_what_had_no_effect_is_done_again_until_what_it_stands_on_is_back() -> None:
    redo = Redo()
    redo.remember("finish_call", ["run"])
    done: list[str] = []
    answers = iter([["gone"], ["recorded"]])

    def run(name: str, arguments: list[Any]) -> Any:
        done.append(name)
        return next(answers)

    redo.doubt()
    redo.settle(run)
    redo.settle(run)  # at once: not yet
    assert done == ["finish_call"]
    redo._again_at -= HEALING
    redo.settle(run)
    redo._again_at -= HEALING
    redo.settle(run)
    assert done == ["finish_call", "finish_call"]


def test_what_comes_while_others_still_heal_is_done_again_too() -> None:
    """An answer that arrives before the producer has accepted the run once more is not dropped."""
    redo = Redo()
    redo.doubt()
    redo.settle(lambda name, arguments: None)
    redo.remember("finish_call", ["run"], ["gone"])
    redo._again_at -= HEALING
    done: list[str] = []
    redo.settle(lambda name, arguments: done.append(name))
    assert done == ["finish_call"]


def test_who_ends_waits_for_the_disk_and_does_again_what_is_lost_meanwhile(world: World, tmp_path: Path) -> None:
    world.client.config_set("appendfsync", "no")  # so that its disk has nothing for as long as one waits
    run = world.accept(ONE)
    parting = threading.Thread(target=world.store.wait_for_disk)
    parting.start()
    until(lambda: any(client["cmd"] == "waitaof" for client in world.client.client_list()))
    shutil.rmtree(tmp_path / "appendonlydir")
    os.kill(json.loads((tmp_path / "server.json").read_text())["pid"], signal.SIGKILL)
    parting.join(20)
    assert not parting.is_alive()
    assert world.client.exists(KEYS.run(run))


def test_who_did_nothing_lately_ends_at_once(world: World) -> None:
    world.store.ping()
    world.store.wait_for_disk()
    assert "cmdstat_waitaof" not in world.client.info("commandstats")
