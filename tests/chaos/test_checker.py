"""The checker must be able to object: each invariant is broken on purpose, by a script that lacks what upholds it.

The same scenes with the scripts as they are must leave it content; so what it objects to is what was broken.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis

from crewq import errors
from crewq.store import Job, scripts
from tests.chaos import evidence as facts
from tests.chaos.crews import inputs
from tests.chaos.evidence import Kickoff
from tests.chaos.scene import Scene
from tests.store.world import LEASE, crew


@pytest.fixture
def scene(redis_url: str) -> Iterator[Scene]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield Scene(client)


# -- scenes -----------------------------------------------------------------------------------------------------------


def a_run(scene: Scene) -> None:
    run = scene.accept("k1")
    scene.carry_out("k1", run, 0)
    scene.carry_out("k1", run, 1)


def a_death_after_an_answer(scene: Scene) -> None:
    run = scene.accept("k1")
    scene.ask("k1", run, 0, "1", scene.claim(run, 0, "1"))
    scene.kill("1")
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")


def a_death_in_a_call(scene: Scene) -> None:
    run = scene.accept("k1")
    scene.ask("k1", run, 0, "1", scene.claim(run, 0, "1"), lost=True)
    scene.kill("1")
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")


def a_zombie_that_records(scene: Scene) -> None:
    run = scene.accept("k1")
    stale = scene.claim(run, 0, "1")
    answer = scene.ask("k1", run, 0, "1", stale)
    scene.kill("1")
    attempt = scene.claim(run, 0, "2")
    scene.complete(run, 0, stale, answer)
    if scene.world.states(run)[0] == "running":
        scene.complete(run, 0, attempt, answer)
    scene.carry_out("k1", run, 1, "2")


def a_second_task_first(scene: Scene) -> None:
    run = scene.accept("k1")
    early = scene.runs.start(Job(run, 1), claim="c", worker="w:1", lease=LEASE)
    scene.carry_out("k1", run, 0)
    attempt = early.attempt or scene.claim(run, 1, "1")
    scene.complete(run, 1, attempt, scene.ask("k1", run, 1, "1", attempt))


def two_workers_at_once(scene: Scene) -> None:
    run = scene.accept("k1")
    first = scene.claim(run, 0, "1")
    second = scene.runs.start(Job(run, 0), claim="other", worker="w:2", lease=LEASE)
    attempt = second.attempt or first
    scene.complete(run, 0, attempt, scene.ask("k1", run, 0, "1", attempt))
    scene.carry_out("k1", run, 1)


def poison(scene: Scene) -> None:
    run = scene.accept("p1", kind="leave")
    for _ in range(3):
        if scene.world.states(run)[0] == "queued":
            scene.claim(run, 0, "1")
            scene.kill("1")


def the_same_key_again(scene: Scene) -> None:
    run = scene.accept("k1", key="once")
    scene.accept("k1", key="once")
    scene.carry_out("k1", run, 0)
    scene.carry_out("k1", run, 1)
    for other in scene.runs.latest(9):
        if other != run:
            scene.runs.cancel(other)


def a_batch(scene: Scene) -> None:
    world = scene.world
    batch = world.store.batches.create(str(uuid.uuid4()), "item")
    spec = crew((), name="item")
    items = [world.new_run(spec, item=at, inputs=inputs(f"k1.{at}")) for at in range(2)]
    for run in world.runs.create(world.order(spec, batch=batch, held=True), items):
        scene.runs.cancel(run)
    world.store.batches.open(batch, 2)


def a_call_after_a_cancel(scene: Scene) -> None:
    run = scene.accept("k1")
    attempt = scene.claim(run, 0, "1")
    scene.runs.cancel(run)
    scene.evidence = replace(scene.evidence, cancels={run: time.time() - 2})
    scene.ask("k1", run, 0, "1", attempt)


# -- what is broken, and what the checker says ------------------------------------------------------------------------

SCENES = (
    a_run,
    a_death_after_an_answer,
    a_death_in_a_call,
    a_zombie_that_records,
    a_second_task_first,
    two_workers_at_once,
    poison,
    the_same_key_again,
    a_batch,
    a_call_after_a_cancel,
)
FINISHED = "if known and string.sub(known, 1, 9) == 'finished ' then"

BROKEN: list[tuple[str, Callable[[Scene], None], str, str, str]] = [
    ("I1", a_run, "_prelude", "close_run(run, about[2] and 'failed' or 'completed', ready)", "do end"),
    ("I2", a_death_after_an_answer, "begin_call", FINISHED, "if false then"),
    ("I3", a_death_in_a_call, "begin_call", "redis.call('HINCRBY', task_key(run, index), 'repeated', 1)", ""),
    (
        "I4",
        a_run,
        "complete_task",
        "'output', hold(run_key(run), output, blobs)",
        "'output', '{\"raw\": \"something else\"}'",
    ),
    ("I5", a_second_task_first, "create_runs", "'queued' or 'waiting'", "'queued' or 'queued'"),
    ("I6", a_zombie_that_records, "complete_task", "if not owns(run, index, attempt) then", "if false then"),
    (
        "I6",
        two_workers_at_once,
        "start_task",
        "then return {'busy'} end",
        "then state = 'queued' move_task(run, index, 'queued') end",
    ),
    ("I7", poison, "sweep", "tonumber(task[2]) >= tonumber(max_attempts)", "true"),
    ("I8", the_same_key_again, "create_runs", "if run.key == '' then return nil end", "do return nil end"),
    ("I9", a_batch, "_prelude", "redis.call('HINCRBY', key, state, 1)", ""),
    ("I9", a_run, "_prelude", "event(run, 'run_' .. state)", ""),
    ("I10", a_call_after_a_cancel, "begin_call", "if not owns(run, index, attempt) then return {'stop'} end", ""),
    ("I11", a_run, "_prelude", "redis.call('EXPIRE', key, text(seconds))", ""),
    ("I11", a_run, "_prelude", "'DEL', key, key .. ':journal', key .. ':events', key .. ':reserved'", "'DEL', key"),
    ("I11", a_run, "_prelude", "redis.call('ZREM', P .. 'ids', run .. '|run|' .. run .. '|')", ""),
    ("I11", the_same_key_again, "_prelude", "free_name(key, run)", ""),
    (
        "I11",
        a_batch,
        "_prelude",
        "redis.call('DEL', key, key .. ':runs', key .. ':held', key .. ':ended', key .. ':reserved')",
        "",
    ),
]


@pytest.mark.parametrize("play", SCENES, ids=lambda play: play.__name__)
def test_the_checker_is_content_with_what_is_whole(scene: Scene, play: Callable[[Scene], None]) -> None:
    play(scene)
    assert scene.objections() == []


@pytest.mark.parametrize(
    ("invariant", "play", "script", "whole", "broken"), BROKEN, ids=[f"{row[0]} {row[1].__name__}" for row in BROKEN]
)
def test_the_checker_objects_to_what_is_broken(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    invariant: str,
    play: Callable[[Scene], None],
    script: str,
    whole: str,
    broken: str,
) -> None:
    source_of = scripts.source_of
    assert whole in source_of(script), "the script has changed, and so must this test"

    def mutated(name: str) -> str:
        return source_of(name).replace(whole, broken) if name == script else source_of(name)

    monkeypatch.setattr(scripts, "source_of", mutated)
    play(scene)
    assert invariant in scene.objections()


# -- what no script upholds -------------------------------------------------------------------------------------------


def test_a_run_that_was_accepted_and_is_gone(scene: Scene) -> None:
    a_run(scene)
    scene.add("kickoffs", Kickoff("k2", "chain", 0.0, run="gone"))
    assert scene.objections() == ["I1"]


def test_a_tool_that_is_called_twice(scene: Scene) -> None:
    a_run(scene)
    scene.call_tool("k1", "1")
    scene.call_tool("k1", "2")
    assert scene.objections() == ["I2"]


@pytest.mark.parametrize(
    ("deaths", "objections"),
    [
        (("1 died", "1 died", "1 died"), ["I7"]),
        (("1 killed", "1 killed", "2 died"), ["I7"]),  # the last time it is alone, so nobody's poison may be beside it
        (("1 died", "1 died", "2 killed"), []),
        (("1 killed", "1 killed", "1 killed"), []),
    ],
)
def test_a_run_fails_by_others_poison_only_if_it_was_killed_when_alone(
    scene: Scene, deaths: tuple[str, ...], objections: list[str]
) -> None:
    run = scene.accept("k1")
    for worker, why in map(str.split, deaths):
        scene.claim(run, 0, worker)
        scene.kill(worker, why)
    assert scene.objections() == objections


def test_a_run_that_failed_for_no_reason(scene: Scene) -> None:
    run = scene.accept("k1")
    scene.runs.fail(Job(run, 0), scene.claim(run, 0, "1"), errors.TaskError(reason="nobody knows"))
    assert scene.objections() == ["I7"]


def test_a_key_that_was_not_there_before(scene: Scene) -> None:
    a_run(scene)
    scene.client.set("{crewq}:forgotten", "x", ex=60)
    assert scene.objections() == ["I11"]


def test_a_key_that_may_stay_and_grows_all_the_same(scene: Scene) -> None:
    a_run(scene)
    scene.client.hset("{crewq}:watermark", mapping={f"lane{at}": "x" * 100 for at in range(1000)})
    scene.client.expire("{crewq}:watermark", 60)
    assert scene.objections() == ["I11"]


@pytest.mark.parametrize(("field", "invariant"), [("left_over", "I11"), ("secrets", "I12")])
def test_what_was_left_or_told(scene: Scene, field: str, invariant: str) -> None:
    a_run(scene)
    scene.add(field, "something")
    assert scene.objections() == [invariant]


def test_a_secret_is_found_in_a_message_as_celery_writes_it() -> None:
    body = "W1siaHVzaC1rMSJdLCB7fSwge31d"  # [["hush-k1"], {}, {}]
    assert facts.tells_a_secret(f'{{"body": "{body}", "headers": {{}}}}')
    assert not facts.tells_a_secret('{"body": "W1sicnVuIiwgMF0sIHt9XQ==", "headers": {}}')
