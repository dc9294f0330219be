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
from crewq.outputs import TaskOutput, UsageMetrics
from crewq.settings import Settings
from crewq.store import Call, Job, scripts
from tests.chaos import evidence as facts
from tests.chaos import oblivion
from tests.chaos.checker import JUDGES, check
from tests.chaos.crews import MODEL_TIMEOUT, inputs
from tests.chaos.evidence import Cut, Evidence, Kickoff, ModelCall, ToolCall
from tests.store.world import LEASE, World, crew

KEYS = {"1": "sk-one", "2": "sk-two"}  # of the workers `w:1` and `w:2`
DEAD = float("inf")


class Scene:
    """A store with real scripts, and ledgers as the model server and the tools would keep them."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.world = World(client, Settings(redis_url="redis://scene", namespace="crewq"))
        self.runs = self.world.runs
        self.evidence = Evidence(workers=KEYS)
        self.before = oblivion.holdings(client)

    def accept(self, name: str, kind: str = "chain", key: str = "") -> str:
        """Kick off a run of two tasks, one after the other."""
        run = self.world.accept(crew((), (0,), name=kind), inputs=inputs(name), key=key, fingerprint=key)
        self._add("kickoffs", Kickoff(name, kind, time.time(), run=run))
        return run

    def claim(self, run: str, index: int, worker: str) -> int:
        """Claim a task; answers the attempt."""
        token = uuid.uuid4().hex
        claim = self.runs.start(Job(run, index), claim=token, worker=f"w:{worker}", lease=LEASE)
        assert claim.word == "yours", claim.word
        return claim.attempt

    def ask(self, name: str, run: str, index: int, worker: str, attempt: int, *, lost: bool = False) -> str:
        """Make a call, unless it was made before; `lost`: its worker dies before it is written down."""
        call = Call(Job(run, index), attempt, "model", "any", "d", 0)
        finding = self.world.store.journal.begin(call, repeatable=True)
        if finding.word != "go":
            return finding.answer
        number = len(self.evidence.model_calls) + 1
        now = time.time()
        self._add("model_calls", ModelCall(number, name, index, "d", KEYS[worker], "", now, now, 200))
        if lost:
            return ""
        usage = UsageMetrics(successful_requests=1).model_dump_json(exclude_defaults=True)
        return self.world.store.journal.finish(call, f"said (answer {number})", usage=usage, seconds=0.0)

    def complete(self, run: str, index: int, attempt: int, text: str) -> None:
        """Record an output."""
        self.runs.complete(Job(run, index), attempt, TaskOutput(raw=text))

    def carry_out(self, name: str, run: str, index: int, worker: str = "1") -> None:
        """Do a task."""
        attempt = self.claim(run, index, worker)
        self.complete(run, index, attempt, self.ask(name, run, index, worker, attempt))

    def kill(self, worker: str) -> None:
        """The worker dies, and the leases of what it held run out."""
        self._add("cuts", Cut(KEYS[worker], time.time(), DEAD, "died"))
        self.world.clock.forward(LEASE + 1)
        self.world.sweep()

    def call_tool(self, name: str, worker: str, tool: str = "note") -> None:
        """A tool writes to its ledger."""
        now = time.time()
        self._add("tool_calls", ToolCall(name, 0, tool, KEYS[worker], now, now))

    def _add(self, field: str, value: object) -> None:
        self.evidence = replace(self.evidence, **{field: (*getattr(self.evidence, field), value)})

    def objections(self) -> list[str]:
        """The numbers of the invariants that the checker finds broken, also when all runs are forgotten in the end."""
        runs = self.runs.latest(1000)
        found = replace(
            self.evidence,
            runs=tuple(facts.run_facts(self.world.store, self.client, run) for run in runs),
            batches=facts.batch_facts(self.world.store, self.client),
            immortal=facts.immortal(self.client),
        )
        oblivion.forget(self.client, self.world.settings, self.world.clock.ms / 1000, runs)
        left = oblivion.remains(self.client, self.before, runs)
        found = replace(found, left_over=(*found.left_over, *left))
        return sorted({objection.invariant for objection in check(found)}, key=list(JUDGES).index)


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
    ("I4", a_run, "complete_task", "'output', output", "'output', '{\"raw\": \"something else\"}'"),
    ("I5", a_second_task_first, "create_runs", "'queued' or 'waiting')", "'queued' or 'queued')"),
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
    ("I11", a_run, "_prelude", "redis.call('DEL', key, key .. ':journal', key .. ':events')", "redis.call('DEL', key)"),
    ("I11", a_run, "_prelude", "redis.call('ZREM', P .. 'ids', run .. '|run|' .. run .. '|')", ""),
    ("I11", the_same_key_again, "_prelude", "free_name(key, run)", ""),
    ("I11", a_batch, "_prelude", "redis.call('DEL', key, key .. ':runs', key .. ':held', key .. ':ended')", ""),
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
    scene._add("kickoffs", Kickoff("k2", "chain", 0.0, run="gone"))
    assert scene.objections() == ["I1"]


def test_a_tool_that_is_called_twice(scene: Scene) -> None:
    a_run(scene)
    scene.call_tool("k1", "1")
    scene.call_tool("k1", "2")
    assert scene.objections() == ["I2"]


def test_a_run_that_others_poison_has_killed(scene: Scene) -> None:
    run = scene.accept("k1")
    for _ in range(3):
        scene.claim(run, 0, "1")
        scene.kill("1")
    assert scene.objections() == ["I7"]


def test_a_run_that_failed_for_no_reason(scene: Scene) -> None:
    run = scene.accept("k1")
    scene.runs.fail(Job(run, 0), scene.claim(run, 0, "1"), errors.TaskError(reason="nobody knows"))
    assert scene.objections() == ["I7"]


@pytest.mark.parametrize(
    ("seconds", "objections"), [(LEASE / 2, ["I2"]), (LEASE + 1, [])], ids=["short", "longer than the lease"]
)
def test_a_cut_off_excuses_only_if_the_lease_ran_out_in_it(scene: Scene, seconds: float, objections: list[str]) -> None:
    run = scene.accept("k1")
    scene.ask("k1", run, 0, "1", scene.claim(run, 0, "1"), lost=True)
    begin = time.time() - 0.1
    scene._add("cuts", Cut(KEYS["1"], begin, begin + seconds, "cut off"))
    scene.evidence = replace(scene.evidence, lease=LEASE)
    scene.world.clock.forward(LEASE + 1)
    scene.world.sweep()
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")
    assert scene.objections() == objections


@pytest.mark.parametrize(("seconds", "objections"), [(MODEL_TIMEOUT, []), (MODEL_TIMEOUT / 2, ["I2", "I3"])])
def test_an_answer_that_nobody_waited_for_any_more(scene: Scene, seconds: float, objections: list[str]) -> None:
    run = scene.accept("k1")
    call = Call(Job(run, 0), scene.claim(run, 0, "1"), "model", "any", "d", 0)
    scene.world.store.journal.begin(call, repeatable=True)
    scene.world.store.journal.fail(call)
    now = time.time()
    scene._add("model_calls", ModelCall(0, "k1", 0, "d", KEYS["1"], "", now + seconds - 0.1, now + seconds, 200))
    late = ModelCall(9, "k1", 0, "d", KEYS["2"], "", now + seconds + 1, now + seconds + 2, 200)
    scene._add("model_calls", late)
    scene.world.store.journal.finish(call, "said (answer 9)", usage='{"successful_requests": 1}', seconds=0.0)
    scene.complete(run, 0, call.attempt, "said (answer 9)")
    scene.carry_out("k1", run, 1)
    assert scene.objections() == objections


@pytest.mark.parametrize("status", [429, 200])
def test_only_a_call_that_did_not_fail_has_to_be_counted_as_repeated(scene: Scene, status: int) -> None:
    run = scene.accept("k1")
    now = time.time()
    scene._add("model_calls", ModelCall(0, "k1", 0, "d", KEYS["1"], "", now, now, status))
    scene._add("cuts", Cut(KEYS["1"], now, DEAD, "killed"))
    scene.carry_out("k1", run, 0, "2")
    scene.carry_out("k1", run, 1, "2")
    assert scene.objections() == (["I3"] if status == 200 else [])


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
    scene._add(field, "something")
    assert scene.objections() == [invariant]


def test_a_secret_is_found_in_a_message_as_celery_writes_it() -> None:
    body = "W1siaHVzaC1rMSJdLCB7fSwge31d"  # [["hush-k1"], {}, {}]
    assert facts.tells_a_secret(f'{{"body": "{body}", "headers": {{}}}}')
    assert not facts.tells_a_secret('{"body": "W1sicnVuIiwgMF0sIHt9XQ==", "headers": {}}')
