"""The journal: a call is made once, counted when it is repeated, and its answer stands whoever brings it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from crewq.events import Token
from crewq.store import Call, Finding, Job
from tests.store.world import LEASE, ONE, PAIR, World


def begin(world: World, call: Call, repeatable: bool = True) -> Finding:
    return world.store.journal.begin(call, repeatable=repeatable)


def finish(world: World, call: Call, answer: str = "answer", usage: str = "") -> str:
    return world.store.journal.finish(call, answer, usage=usage, seconds=0.25)


def crash(world: World, run: str) -> int:
    """The worker of task 0 dies, and another claims the task; answers the new attempt."""
    world.clock.forward(LEASE + 1)
    world.sweep()
    return world.claim(run).attempt


def test_a_finished_call_is_answered_from_the_journal(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    assert begin(world, call) == Finding("go")
    assert finish(world, call, "Zürich 🦀") == "Zürich 🦀"
    assert begin(world, call) == Finding("answer", "Zürich 🦀")
    assert begin(world, replace(call, attempt=crash(world, run))) == Finding("answer", "Zürich 🦀")
    events = [event for event in world.runs.events(run, "0-0") if event.type.startswith("call")]
    assert [(event.type, getattr(event, "reused", None)) for event in events] == [
        ("call_started", None),
        ("call_finished", False),
        ("call_finished", True),
        ("call_finished", True),
    ]


@pytest.mark.parametrize("answer", ["", "finished ", "started 1", '{"a": 1}'])
def test_any_answer_comes_back_as_it_was(world: World, answer: str) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    begin(world, call)
    finish(world, call, answer)
    assert begin(world, call) == Finding("answer", answer)


def test_calls_are_told_apart(world: World) -> None:
    run = world.accept(PAIR)
    world.claim(run, 0)
    world.claim(run, 1)
    call = world.call(run)
    begin(world, call)
    finish(world, call)
    others = [
        replace(call, digest="other"),
        replace(call, ordinal=1),
        replace(call, kind="tool"),
        world.call(run, index=1),
    ]
    assert [begin(world, other).word for other in others] == ["go"] * 4


def test_the_first_answer_wins_and_is_paid_once(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    begin(world, call)
    usage = json.dumps({"total_tokens": 7})
    assert finish(world, call, "first", usage) == "first"
    assert finish(world, call, "second", usage) == "first"
    assert world.read(run).usage.total_tokens == 7


def test_a_stale_attempts_answer_counts(world: World) -> None:
    run = world.accept(ONE)
    stale = world.call(run, attempt=world.claim(run).attempt)
    begin(world, stale)
    fresh = replace(stale, attempt=crash(world, run))
    assert finish(world, stale, "late") == "late"
    assert begin(world, fresh) == Finding("answer", "late")
    assert world.task(run).repeated == 0


def test_a_call_under_way_at_a_crash_is_repeated_and_counted(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    begin(world, call)
    again = replace(call, attempt=crash(world, run))
    assert begin(world, again) == Finding("go")
    assert begin(world, again) == Finding("go")  # the same question, asked twice by an impatient client
    assert world.task(run).repeated == 1


def test_a_call_that_failed_is_made_again_and_not_counted(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    begin(world, call)
    world.store.journal.fail(call)
    (entry,) = world.store.export(run)["journal"]
    assert (entry["state"], entry["attempt"]) == ("failed", 1)
    again = replace(call, attempt=crash(world, run))
    assert begin(world, again) == Finding("go")
    assert world.task(run).repeated == 0


def test_a_failure_says_nothing_of_another_attempts_call_or_of_an_answer(world: World) -> None:
    run = world.accept(ONE)
    stale = world.call(run, attempt=world.claim(run).attempt)
    begin(world, stale)
    call = replace(stale, attempt=crash(world, run))
    begin(world, call)
    world.store.journal.fail(stale)
    last = replace(call, attempt=crash(world, run))
    begin(world, last)
    assert world.task(run).repeated == 2
    finish(world, last, "stands")
    world.store.journal.fail(last)
    assert begin(world, last) == Finding("answer", "stands")


def test_who_was_away_for_longer_than_its_lease_does_not_know_that_its_call_failed(world: World) -> None:
    """It wakes, and its deadlines have passed; but the answer was sent meanwhile, and has to be paid."""
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    begin(world, call)
    world.clock.forward(LEASE + 1)
    world.sweep()
    world.store.journal.fail(call)
    assert begin(world, replace(call, attempt=world.claim(run).attempt)) == Finding("go")
    assert world.task(run).repeated == 1


def test_a_call_that_must_not_be_repeated_is_in_doubt(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    assert begin(world, call, repeatable=False) == Finding("go")
    assert begin(world, call, repeatable=False) == Finding("go")
    again = replace(call, attempt=crash(world, run))
    assert begin(world, again, repeatable=False) == Finding("doubt")
    assert world.task(run).repeated == 0


@pytest.mark.parametrize("how", ["crash", "cancel", "delete"])
def test_who_lost_the_task_makes_no_new_call(world: World, how: str) -> None:
    run = world.accept(ONE)
    stale = world.call(run, attempt=world.claim(run).attempt)
    if how == "crash":
        crash(world, run)
    else:
        world.runs.cancel(run)
    if how == "delete":
        world.runs.delete(run)
    assert begin(world, stale) == Finding("stop")


def test_an_answer_for_a_run_that_ended_is_kept_as_long_as_the_run(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    begin(world, call)
    world.runs.cancel(run)
    assert finish(world, call, "late", json.dumps({"cost": 0.5})) == "late"
    assert world.read(run).usage.cost == 0.5
    journal, record = (world.client.ttl(f"{{t}}:run:{run}{part}") for part in (":journal", ""))
    assert abs(journal - record) <= 1


def test_an_answer_for_a_run_that_is_gone_leaves_nothing_behind(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    begin(world, call)
    world.runs.cancel(run)
    world.runs.delete(run)
    assert finish(world, call, "late") == "late"
    assert [key for key in world.all_keys() if run in key] == []


def test_usage_is_summed_over_calls_for_the_task_and_the_run(world: World) -> None:
    run = world.accept(PAIR)
    for index in range(2):
        attempt = world.claim(run, index).attempt
        for ordinal in range(3):
            call = world.call(run, index, attempt, ordinal=ordinal)
            begin(world, call)
            finish(world, call, usage=json.dumps({"total_tokens": 10, "cost": 1.5e-05, "unpriced_requests": 0}))
    assert world.task(run, 0).usage.total_tokens == 30
    assert world.task(run, 1).usage.cost == pytest.approx(4.5e-05)
    assert world.read(run).usage.total_tokens == 60
    assert world.read(run).usage.cost == pytest.approx(9e-05)
    assert world.read(run).usage.cost_known


def test_a_piece_of_an_answer_is_told_while_its_attempt_owns_the_task(world: World) -> None:
    run = world.accept(ONE)
    call = world.call(run, attempt=world.claim(run).attempt)
    begin(world, call)
    world.store.journal.tell(call, "Writer", "Zürich 🦀", 0)
    world.store.journal.tell(call, "Writer", "{}", 0, "search")
    later = replace(call, attempt=crash(world, run))
    world.store.journal.tell(call, "Writer", "from a lost worker", 9)
    world.store.journal.tell(later, "Writer", "anew", 0)
    told = [event for event in world.runs.events(run, "0-0") if isinstance(event, Token)]
    assert [(one.text, one.offset, one.tool, one.attempt) for one in told] == [
        ("Zürich 🦀", 0, "", 1),
        ("{}", 0, "search", 1),
        ("anew", 0, "", 2),
    ]
    assert {(one.call, one.agent, one.task) for one in told} == {(call.id, "Writer", 0)}


# -- shared results ----------------------------------------------------------------------------------------


def test_a_shared_result_answers_equal_calls_of_other_tasks(world: World) -> None:
    run, other = world.accept(PAIR), world.accept(ONE)
    attempts = [world.claim(run, at).attempt for at in range(2)]
    calls = [replace(world.call(run, index=at), attempt=attempt) for at, attempt in enumerate(attempts)]
    journal = world.store.journal
    assert journal.begin(calls[0], repeatable=True, shared="weather") == Finding("go")
    assert journal.begin(calls[1], repeatable=True, shared="weather") == Finding("go")  # nobody has shared it yet
    finish(world, calls[0], "sunny")
    journal.share(Job(run, 0), "weather", "sunny")
    journal.share(Job(run, 1), "weather", "rainy")
    later = [replace(call, ordinal=1) for call in calls]
    assert journal.begin(later[1], repeatable=True, shared="weather") == Finding("answer", "sunny")
    assert journal.begin(later[1], repeatable=True) == Finding("answer", "sunny")  # it is this call's own now
    assert journal.begin(later[0], repeatable=True, shared="other") == Finding("go")
    elsewhere = replace(world.call(other), attempt=world.claim(other).attempt)
    assert journal.begin(elsewhere, repeatable=True, shared="weather") == Finding("go")


def test_a_result_is_not_shared_with_a_run_that_is_gone(world: World) -> None:
    world.store.journal.share(Job("gone", 0), "weather", "sunny")
    assert not any("gone" in key for key in world.all_keys())
