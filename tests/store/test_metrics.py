"""What is counted: each thing once, in the step in which it happens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crewq import errors
from crewq.limits import Limit
from crewq.store import BOUNDS, Call, Demand, Job, Reading
from crewq.store.keys import UNFINISHED
from crewq.store.metrics import Lane
from crewq.store.redo import KEPT
from tests.store.world import GRACE, LEASE, ONE, PAIR, ROW, World, output

KEY = "{t}:metrics"


def counted(world: World, *names: str) -> dict[tuple[str, ...], float]:
    """The totals that are not nothing; with `names`, only those."""
    return {name: total for name, total in world.store.metrics.read().totals.items() if not names or name[0] in names}


def finish(world: World, call: Call, answer: str = "an answer", seconds: float = 1.0, **usage: Any) -> None:
    world.store.journal.finish(call, answer, usage=json.dumps(usage) if usage else "", seconds=seconds)


def tool(call: Call, digest: str) -> Call:
    return Call(call.job, call.attempt, "tool", "search", digest, 0)


@pytest.fixture(params=["once", "twice"])
def done(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """How often each verb is done whose effect Redis may lose: once, or once more at once, as after such a loss."""
    run = world.store._verbs._run

    def twice(name: str, arguments: list[Any]) -> Any:
        answer = run(name, arguments)
        if name in KEPT:
            run(name, arguments)
        return answer

    if request.param == "twice":
        monkeypatch.setattr(world.store._verbs, "_run", twice)


@pytest.mark.usefixtures("done")
def test_a_story_is_counted_once_however_often_its_verbs_are_done(world: World) -> None:
    good = world.accept(ROW)
    call = world.call(good, attempt=world.claim(good).attempt)
    world.store.journal.begin(call, repeatable=True)
    world.store.journal.fail(call)
    world.store.journal.begin(call, repeatable=True)
    finish(world, call, prompt_tokens=100, completion_tokens=10, cost=0.25)
    finish(world, tool(call, "d1"))
    finish(world, tool(call, "d2"), "\x15it broke")
    world.runs.complete(call.job, call.attempt, output())
    second = world.claim(good, 1)
    world.runs.requeue(Job(good, 1), second.attempt, "again", counts=True)
    finish(world, world.call(good, 1, attempt=second.attempt), prompt_tokens=1, unpriced_requests=1)
    world.runs.complete(Job(good, 1), world.claim(good, 1).attempt, output(), skipped=True)
    world.carry_out(good, 2)
    bad = world.accept(PAIR)
    world.runs.fail(Job(bad, 0), world.claim(bad).attempt, errors.JobBroken(reason="boom"))
    ended = world.accept(PAIR)
    world.claim(ended)
    world.runs.cancel(ended)
    assert counted(world) == {
        ("runs_accepted",): 3,
        ("runs", "completed"): 1,
        ("runs", "failed"): 1,
        ("runs", "cancelled"): 1,
        ("tasks", "completed"): 2,
        ("tasks", "skipped"): 1,
        ("tasks", "failed"): 1,
        ("tasks", "cancelled"): 5,
        ("task_retries",): 1,
        ("model_calls", "gpt", "answered"): 2,
        ("model_calls", "gpt", "failed"): 1,
        ("tool_calls", "answered"): 1,
        ("tool_calls", "failed"): 1,
        ("tokens", "gpt", "prompt"): 101,
        ("tokens", "gpt", "completion"): 10,
        ("cost_dollars", "gpt"): 0.25,
        ("unpriced_calls", "gpt"): 1,
    }
    histograms = world.store.metrics.read().histograms
    taken = {name: series.buckets[-1] for name, series in histograms.items()}
    ended = {("run_seconds",): 2, ("task_seconds",): 4}
    assert taken == ended | {("task_wait_seconds",): 6, ("model_call_seconds", "gpt"): 2}


def test_a_run_that_is_resumed_ends_again(world: World) -> None:
    run = world.accept(ONE)
    world.runs.fail(Job(run, 0), world.claim(run).attempt, errors.JobBroken(reason="boom"))
    world.runs.resume(run)
    world.carry_out(run, 0)
    assert counted(world, "runs") == {("runs", "failed"): 1, ("runs", "completed"): 1}


def test_what_is_lost_and_done_again(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    world.store.journal.begin(call, repeatable=True)
    world.clock.forward(LEASE + 1)
    for _ in range(2):
        world.sweep()
    again = world.call(run, attempt=world.claim(run).attempt)
    for _ in range(2):
        world.store.journal.begin(again, repeatable=True)
    assert counted(world, "recoveries") == {("recoveries", "task"): 1, ("recoveries", "call"): 1}


def test_a_message_and_a_result_that_are_sent_again(world: World) -> None:
    lost = world.accept(ONE)
    world.clock.forward(GRACE + 1)
    world.carry_out(world.accept(ONE), 0)  # overtakes the first
    for _ in range(2):
        assert world.sweep().jobs in ((Job(lost, 0),), ())
    assert counted(world, "recoveries") == {("recoveries", "message"): 1}
    world.clock.forward(GRACE)
    assert len(world.sweep().unsaid) == 1
    assert counted(world, "recoveries") == {("recoveries", "message"): 1, ("recoveries", "result"): 1}


def test_a_task_whose_worker_dies_each_time_fails_and_is_no_recovery_then(world: World) -> None:
    run = world.accept(ONE)
    for _ in range(2):
        world.claim(run)
        world.clock.forward(LEASE + 1)
        world.sweep(max_attempts=2)
    assert counted(world, "recoveries", "tasks") == {("recoveries", "task"): 1, ("tasks", "failed"): 1}


def test_a_call_that_waits_counts_once_however_often_it_asks(world: World) -> None:
    demands = {
        "rate": (Demand("rate", Limit(rpm=1)),),
        "slots": (Demand("slots", Limit(max_concurrency=1)),),
        "provider": (Demand("model@key", Limit()),),
    }

    def begun() -> Call:
        run = world.accept(ONE)
        call = world.call(run, attempt=world.claim(run).attempt)
        world.store.journal.begin(call, repeatable=True)
        return call

    world.store.limits.refuse(begun(), demands["provider"], None, "model@key", pause=30)
    for reason, wanted in demands.items():
        if reason != "provider":
            assert world.store.limits.reserve(begun(), wanted).word == "go"
        late = begun()
        for _ in range(3):
            assert world.store.limits.reserve(late, wanted).word in ("wait", "full", "pause")
    assert counted(world, "limit_waits") == {("limit_waits", reason): 1 for reason in demands}


def test_times_fall_into_the_bucket_that_they_fit(world: World) -> None:
    run = world.accept(ONE)
    attempt = world.claim(run).attempt
    for at, seconds in enumerate((0.0, 0.1, 0.1011, 59.9, 1e6)):
        finish(world, world.call(run, attempt=attempt, ordinal=at), seconds=seconds)
    series = world.store.metrics.read().histograms["model_call_seconds", "gpt"]
    assert len(series.buckets) == len(BOUNDS) + 1
    found = dict(zip((*BOUNDS, "all"), series.buckets, strict=True))
    assert [found[bound] for bound in (0.1, 0.25, 30, 60, 21600, "all")] == [2, 3, 3, 4, 4, 5]
    assert series.seconds == pytest.approx(1e6 + 60.101)


def test_there_are_never_more_than_a_hundred_models(world: World) -> None:
    run = world.accept(ONE)
    attempt = world.claim(run).attempt
    for at, name in enumerate(["x" * 101, "two\x1flines\n", *(f"model {n}" for n in range(120)), "model 0"]):
        finish(world, Call(Job(run, 0), attempt, "model", name, "d", at))
    calls = counted(world, "model_calls")
    assert len(calls) == 101
    assert calls["model_calls", "two lines ", "answered"] == 1, "a mark in a name parts nothing"
    assert calls["model_calls", "model 0", "answered"] == 2
    assert calls["model_calls", "other", "answered"] == 22


def test_a_total_that_cannot_be_counted_costs_no_answer(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    world.client.hset(KEY, "model_calls\x1fgpt\x1fanswered", "not a number")
    finish(world, call, "kept", cost=1e300)
    assert world.store.journal.find(call) == "kept"
    world.client.hdel(KEY, "model_calls\x1fgpt\x1fanswered")
    assert counted(world, "cost_dollars") == {}


def test_totals_are_forgotten_when_nothing_has_happened_for_as_long_as_a_run_may_wait(world: World) -> None:
    run = world.accept(ONE)
    assert world.client.ttl(KEY) == UNFINISHED
    world.client.expire(KEY, 60)
    world.runs.cancel(run)
    assert world.client.ttl(KEY) == UNFINISHED
    world.runs.delete(run)
    assert counted(world, "runs") == {("runs", "cancelled"): 1}, "they do not go with the runs"


def test_how_things_stand(world: World) -> None:
    world.accept(ONE)
    world.clock.forward(5)
    world.claim(world.accept(PAIR))
    later = world.accept(ONE)
    world.runs.requeue(Job(later, 0), world.claim(later).attempt, "later", delay=60)
    world.runs.present("one", {"concurrency": 32})
    world.runs.present("two", {"concurrency": 8})
    reading = world.store.metrics.read()
    assert reading.gauges == {"tasks_queued": 2, "tasks_running": 1, "tasks_delayed": 1}
    assert reading.lanes == (Lane("crewq/3", 2, 5.0),)
    assert reading.runs == {"queued": 1, "running": 2, "paused": 0, "completed": 0, "failed": 0, "cancelled": 0}
    assert sorted(reading.slots) == [8, 32]
    world.clock.forward(61)
    assert world.store.metrics.read().slots == (), "nobody has to be there to notice that nobody is"


def test_what_a_newer_version_counts_is_left_out(world: World) -> None:
    world.accept(ONE)
    world.client.hset(KEY, "dreams\x1fsweet", "7")
    assert counted(world) == {("runs_accepted",): 1}


def test_an_installation_in_which_nothing_has_happened(world: World) -> None:
    states = dict.fromkeys(("queued", "running", "paused", "completed", "failed", "cancelled"), 0)
    gauges = dict.fromkeys(("tasks_queued", "tasks_running", "tasks_delayed"), 0)
    assert world.store.metrics.read() == Reading({}, {}, gauges, (), states, ())
