"""What excuses a call that was made again: each excuse holds just as far as it should."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from crewq.store import Call, Job
from tests.chaos.crews import MODEL_TIMEOUT
from tests.chaos.evidence import Cut, Kickoff, ModelCall
from tests.chaos.scene import DEAD, KEYS, Scene
from tests.store.world import LEASE


@pytest.fixture
def scene(redis_url: str) -> Iterator[Scene]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield Scene(client)


@pytest.mark.parametrize(
    ("seconds", "objections"), [(LEASE / 2, ["I2"]), (LEASE + 1, [])], ids=["short", "longer than the lease"]
)
def test_a_cut_off_excuses_only_if_the_lease_ran_out_in_it(scene: Scene, seconds: float, objections: list[str]) -> None:
    run = scene.accept("k1")
    scene.ask("k1", run, 0, "1", scene.claim(run, 0, "1"), lost=True)
    begin = time.time() - 0.1
    scene.add("cuts", Cut(KEYS["1"], begin, begin + seconds, "cut off"))
    scene.evidence = replace(scene.evidence, lease=LEASE)
    scene.world.clock.forward(LEASE + 1)
    scene.world.sweep()
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")
    assert scene.objections() == objections


@pytest.mark.parametrize(
    ("begin", "end", "objections"), [(0.1, LEASE + 2, []), (-LEASE - 2, -1.0, ["I2"])], ids=["after it", "before it"]
)
def test_a_freeze_just_after_a_call_was_noted_excuses_what_is_sent_at_the_thaw(
    scene: Scene, begin: float, end: float, objections: list[str]
) -> None:
    scene.evidence = replace(scene.evidence, lease=LEASE)
    run = scene.accept("k1")
    call = Call(Job(run, 0), scene.claim(run, 0, "1"), "model", "any", "d", 0)
    scene.world.store.journal.begin(call, repeatable=True)
    now = time.time()
    sent = now + max(end, 0) + 0.1
    scene.add("cuts", Cut(KEYS["1"], now + begin, now + end, "frozen"))
    scene.add("model_calls", ModelCall(1, "k1", 0, "d", KEYS["1"], "", sent, sent + 0.1, 200))
    _another_does_it(scene, call, sent + 3)
    assert scene.objections() == objections


def _another_does_it(scene: Scene, call: Call, at: float) -> None:
    """The lease of a call's task runs out, another worker makes the call at that time, and does the rest of the run."""
    run = call.job.run
    scene.world.clock.forward(LEASE + 1)
    scene.world.sweep()
    again = replace(call, attempt=scene.claim(run, 0, "2"))
    scene.world.store.journal.begin(again, repeatable=True)
    scene.add("model_calls", ModelCall(9, "k1", 0, "d", KEYS["2"], "", at, at + 0.1, 200))
    scene.world.store.journal.finish(again, "said (answer 9)", usage='{"successful_requests": 1}', seconds=0.0)
    scene.complete(run, 0, again.attempt, "said (answer 9)")
    scene.carry_out("k1", run, 1)


def _cut_in_a_call(scene: Scene, begin: float, why: str) -> float:
    """A worker notes a call, and so many seconds from now it is cut off, for longer than a lease; another does its run. When
    it is back."""
    scene.evidence = replace(scene.evidence, lease=LEASE)
    run = scene.accept("k1")
    call = Call(Job(run, 0), scene.claim(run, 0, "1"), "model", "any", "d", 0)
    scene.world.store.journal.begin(call, repeatable=True)
    back = time.time() + LEASE + 5
    scene.add("cuts", Cut(KEYS["1"], time.time() + begin, back, why))
    scene.world.clock.forward(LEASE + 1)
    scene.world.sweep()
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")
    return back


@pytest.mark.parametrize(
    ("begin", "objections"), [(0.1, []), (-1.0, ["I2"])], ids=["noted before the freeze", "noted within it"]
)
def test_who_is_frozen_just_after_it_noted_a_call_may_send_it_at_the_thaw_and_be_answered(
    scene: Scene, begin: float, objections: list[str]
) -> None:
    thaw = _cut_in_a_call(scene, begin, "frozen")
    scene.add("model_calls", ModelCall(9, "k1", 0, "d", KEYS["1"], "", thaw + 0.1, thaw + 0.2, 200))
    assert scene.objections() == objections


@pytest.mark.parametrize(
    ("why", "after", "status", "objections"),
    [
        ("off the network", LEASE / 2, None, []),
        ("off the network", LEASE / 2, 200, ["I2"]),
        ("off the network", LEASE + 7, None, ["I2"]),
        ("cut off", LEASE / 2, None, ["I2"]),
    ],
    ids=["broken off", "answered", "later than TCP tries", "the network to the model was there"],
)
def test_what_was_sent_as_the_network_went_may_come_late_but_not_be_paid(
    scene: Scene, why: str, after: float, status: int | None, objections: list[str]
) -> None:
    late = _cut_in_a_call(scene, -0.1, why) + after
    scene.add("model_calls", ModelCall(9, "k1", 0, "d", KEYS["1"], "", late, late + 0.01, status))
    assert scene.objections() == objections


@pytest.mark.parametrize(("seconds", "objections"), [(MODEL_TIMEOUT, []), (MODEL_TIMEOUT / 2, ["I2", "I3"])])
def test_an_answer_that_nobody_waited_for_any_more(scene: Scene, seconds: float, objections: list[str]) -> None:
    run = scene.accept("k1")
    call = Call(Job(run, 0), scene.claim(run, 0, "1"), "model", "any", "d", 0)
    scene.world.store.journal.begin(call, repeatable=True)
    scene.world.store.journal.fail(call)
    now = time.time()
    scene.add("model_calls", ModelCall(0, "k1", 0, "d", KEYS["1"], "", now + seconds - 0.1, now + seconds, 200))
    late = ModelCall(9, "k1", 0, "d", KEYS["2"], "", now + seconds + 1, now + seconds + 2, 200)
    scene.add("model_calls", late)
    scene.world.store.journal.finish(call, "said (answer 9)", usage='{"successful_requests": 1}', seconds=0.0)
    scene.complete(run, 0, call.attempt, "said (answer 9)")
    scene.carry_out("k1", run, 1)
    assert scene.objections() == objections


@pytest.mark.parametrize(
    ("fields", "objections"),
    [
        ({}, ["I2"]),
        ({"outages": (0.5, 1.2)}, []),
        ({"starved": (KEYS["1"], -1.0, 1.5)}, []),
        ({"starved": (KEYS["2"], -1.0, 1.5)}, ["I2"]),
    ],
    ids=["undisturbed", "Redis was away again", "starved", "another was starved"],
)
def test_an_answer_has_two_undisturbed_seconds_to_be_written_down(
    scene: Scene, fields: dict[str, tuple[Any, ...]], objections: list[str]
) -> None:
    run = scene.accept("k1")
    scene.ask("k1", run, 0, "1", scene.claim(run, 0, "1"), lost=True)
    ended = scene.evidence.model_calls[0].ended or 0
    for field, (*who, begin, end) in fields.items():
        scene.add(field, (*who, ended + begin, ended + end))
    scene.add("cuts", Cut(KEYS["1"], ended + 3, DEAD, "killed"))
    scene.world.clock.forward(LEASE + 1)
    scene.world.sweep()
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")
    assert scene.objections() == objections


@pytest.mark.parametrize(("dies_after", "objections"), [(1.0, []), (4.0, ["I3"])])
def test_a_call_that_redis_forgot_is_not_counted_if_its_worker_died_at_once(
    scene: Scene, dies_after: float, objections: list[str]
) -> None:
    run = scene.accept("k1")
    now = time.time() - 10
    scene.add("model_calls", ModelCall(0, "k1", 0, "d", KEYS["1"], "", now, None, None))
    scene.add("rolled_back", (now + 0.1, now + 0.5))
    scene.add("cuts", Cut(KEYS["1"], now + dies_after, DEAD, "killed"))
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")
    assert scene.objections() == objections


@pytest.mark.parametrize("status", [429, 200])
def test_only_a_call_that_did_not_fail_has_to_be_counted_as_repeated(scene: Scene, status: int) -> None:
    run = scene.accept("k1")
    now = time.time()
    scene.add("model_calls", ModelCall(0, "k1", 0, "d", KEYS["1"], "", now, now, status))
    scene.add("cuts", Cut(KEYS["1"], now, DEAD, "killed"))
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")
    assert scene.objections() == (["I3"] if status == 200 else [])


@pytest.mark.parametrize(("back", "objections"), [(1.5, []), (3.0, ["I3"])], ids=["before", "after"])
def test_a_call_that_its_worker_gave_up_before_another_made_it_is_not_counted(
    scene: Scene, back: float, objections: list[str]
) -> None:
    """As after a freeze that took longer than the call may, while Redis was away, so that nobody took the task over."""
    scene.evidence = replace(scene.evidence, lease=2.0)
    run = scene.accept("k1")
    call = Call(Job(run, 0), scene.claim(run, 0, "1"), "model", "any", "d", 0)
    scene.world.store.journal.begin(call, repeatable=True)
    now = time.time()
    scene.add("model_calls", ModelCall(0, "k1", 0, "d", KEYS["1"], "", now, now + 0.1, 200))
    scene.add("cuts", Cut(KEYS["1"], now + 0.1, now + back, "frozen"))
    scene.world.store.journal.fail(call)
    _another_does_it(scene, call, now + 2.0)
    assert scene.objections() == objections


@pytest.mark.parametrize(("seconds", "objections"), [(LEASE / 2, ["I2"]), (LEASE + 1, [])], ids=["short", "long"])
def test_a_task_that_takes_all_of_its_worker_excuses_as_a_freeze_does(
    scene: Scene, seconds: float, objections: list[str]
) -> None:
    scene.evidence = replace(scene.evidence, lease=LEASE)
    run = scene.accept("k1")
    scene.ask("k1", run, 0, "1", scene.claim(run, 0, "1"), lost=True)
    begin = time.time() - 0.1
    scene.add("starved", (KEYS["1"], begin, begin + seconds))
    scene.world.clock.forward(LEASE + 1)
    scene.world.sweep()
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")
    assert scene.objections() == objections


@pytest.mark.parametrize(("away", "objections"), [(False, ["I2"]), (True, [])], ids=["undisturbed", "Redis was away"])
def test_what_a_tool_said_may_wait_for_redis_until_its_worker_is_frozen(
    scene: Scene, away: bool, objections: list[str]
) -> None:
    scene.evidence = replace(scene.evidence, lease=2.0)
    run = scene.accept("k1")
    scene.call_tool("k1", "1")
    ended = scene.evidence.tool_calls[0].ended or 0
    if away:
        scene.add("outages", (ended - 0.1, ended + 3.0))
    scene.add("cuts", Cut(KEYS["1"], ended + 3.5, ended + 8.0, "frozen"))
    scene.call_tool("k1", "2")
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")
    assert scene.objections() == objections


@pytest.mark.parametrize(
    ("lost", "died", "objections"),
    [
        ((0.3, 1.0), 0.2, []),
        ((0.3, 1.0), None, ["I1", "I10"]),
        ((0.3, 1.0), 8.0, ["I1", "I10"]),
        ((4.0, 5.0), 0.2, ["I1", "I10"]),
    ],
    ids=["both at once", "the producer lived on", "it died when all was back", "Redis lost it later"],
)
def test_what_a_producer_did_is_lost_if_both_it_and_redis_are_killed_within_a_second(
    scene: Scene, lost: tuple[float, float], died: float | None, objections: list[str]
) -> None:
    now = time.time()
    scene.add("kickoffs", Kickoff("k1", "chain", now, run="gone"))
    run = scene.accept("k2")
    scene.carry_out("k2", run, 0)
    scene.carry_out("k2", run, 1)
    scene.evidence = replace(scene.evidence, cancels={run: now})
    scene.add("rolled_back", (now + lost[0], now + lost[1]))
    if died is not None:
        scene.add("bereaved", now + died)
    assert [one for one in scene.objections() if one in ("I1", "I10")] == objections
