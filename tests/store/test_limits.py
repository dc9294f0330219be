"""Limits over the whole fleet: calls and tokens per minute, and providers that want to be left alone."""

from __future__ import annotations

import pytest

from crewq.limits import Limit
from crewq.store import Demand, Turn
from tests.store.asker import Asker
from tests.store.world import LEASE, World

# -- calls per minute --------------------------------------------------------------------------------------


def test_a_minutes_worth_goes_at_once_and_the_next_a_minute_later(world: World) -> None:
    asker = Asker(world, rpm=10)
    waits = [asker.ask().seconds for _ in range(20)]
    assert waits == [0.0] * 10 + [60.0] * 10


def test_time_that_passes_gives_turns_back(world: World) -> None:
    asker = Asker(world, rpm=10)
    for _ in range(10):
        assert asker.ask().word == "go"
        world.clock.forward(3)
    assert asker.ask() == Turn("wait", 30.0, "s")
    world.clock.forward(3600)
    assert [asker.ask().word for _ in range(11)] == ["go"] * 10 + ["wait"]


def test_in_no_minute_are_more_calls_let_go_than_the_limit_allows(world: World) -> None:
    made = Asker(world, rpm=30).crowd(400)
    assert len(made) > 120, "and so many are let go"
    assert max(sum(start <= at < start + 60 for at in made) for start in made) == 30


def test_who_comes_first_goes_first(world: World) -> None:
    asker = Asker(world, rpm=1)
    assert asker.ask().word == "go"
    first, second = asker.begin(), asker.begin()
    assert asker.ask(first).seconds == 60
    world.clock.forward(1)
    assert asker.ask(second).seconds == 60, "nobody is told to wait longer before he asks again"
    world.clock.forward(59)
    assert asker.ask(second).word == "wait"
    assert asker.ask(first).word == "go"
    world.clock.forward(60)
    assert asker.ask(second).word == "go"


def test_a_place_in_the_line_is_the_calls_in_any_attempt(world: World) -> None:
    asker = Asker(world, rpm=1)
    asker.ask()
    first, other = asker.begin(), asker.begin()
    asker.ask(first)
    world.clock.forward(1)
    asker.ask(other)
    asker.park(first)
    world.clock.forward(59.5)
    assert [job for job in world.sweep().jobs if job == first.job]
    assert asker.ask(other).word == "wait"
    assert asker.ask(asker.again(first)).word == "go"


@pytest.mark.parametrize("how", ["cancelled", "silent"])
def test_who_does_not_come_any_more_holds_nobody_up(world: World, how: str) -> None:
    asker = Asker(world, rpm=1)
    asker.ask()
    gone, other = asker.begin(), asker.begin()
    asker.ask(gone)
    world.clock.forward(1)
    asker.ask(other)
    world.clock.forward(60)
    if how == "cancelled":
        world.runs.cancel(gone.job.run)
    else:
        assert asker.ask(other).word == "wait"
        world.clock.forward(60)
    assert asker.ask(other).word == "go"


def test_scopes_do_not_disturb_each_other(world: World) -> None:
    for _ in range(5):
        Asker(world, scope="a", rpm=1).ask()
    assert Asker(world, scope="b", rpm=1).ask().word == "go"


def test_a_call_goes_only_if_all_its_limits_have_room(world: World) -> None:
    asker = Asker(world)
    both = (Demand("model", Limit(rpm=2)), Demand("crew", Limit(rpm=1)))
    assert asker.ask(demands=both).word == "go"
    assert asker.ask(demands=both) == Turn("wait", 60.0, "crew")
    assert asker.ask(demands=both[:1]).word == "go", "what the crew holds up is not taken from the model"


# -- tokens per minute -------------------------------------------------------------------------------------


def test_tokens_are_booked_by_their_estimate(world: World) -> None:
    asker = Asker(world, tpm=1000, tokens=300)
    assert [asker.ask().word for _ in range(4)] == ["go"] * 3 + ["wait"]


def test_in_no_minute_are_more_tokens_let_go_than_the_limit_allows(world: World) -> None:
    made = Asker(world, tpm=1000, tokens=100).crowd(150)
    assert len(made) >= 20
    assert max(sum(start <= at < start + 60 for at in made) for start in made) == 10


def test_an_answer_shorter_than_thought_makes_room_and_a_longer_one_takes_it(world: World) -> None:
    asker = Asker(world, tpm=1000, tokens=500)
    calls = [asker.begin() for _ in range(4)]
    turns = [asker.ask(call) for call in calls]
    assert [turn.word for turn in turns] == ["go", "go", "wait", "wait"]
    asker.settle(calls[0], turns[0], tokens=10)
    asker.settle(calls[0], turns[0], tokens=10)  # twice does nothing more
    assert asker.ask(calls[2]).word == "wait", "490 are free"
    asker.settle(calls[1], turns[1], tokens=400)
    turn = asker.ask(calls[2])
    assert turn.word == "go"
    asker.settle(calls[2], turn, tokens=2000)
    world.clock.forward(50)
    assert asker.ask(calls[3]).word == "wait"
    world.clock.forward(11)
    assert asker.ask(calls[3]).word == "go"


def test_what_nobody_knows_counts_as_it_was_estimated(world: World) -> None:
    asker = Asker(world, tpm=1000, tokens=600)
    call = asker.begin()
    asker.settle(call, asker.ask(call), tokens=None)
    assert asker.ask().word == "wait"


def test_a_call_larger_than_the_limit_goes_alone(world: World) -> None:
    asker = Asker(world, tpm=1000, tokens=5000)
    assert asker.ask().word == "go"
    late = asker.begin()
    assert asker.ask(late).word == "wait"
    world.clock.forward(61)
    assert asker.ask(late).word == "go"


# -- a provider that refuses -------------------------------------------------------------------------------


def test_a_refusal_holds_up_everybody_for_as_long_as_the_provider_says(world: World) -> None:
    asker = Asker(world)
    call, other = asker.begin(), asker.begin()
    turn = asker.ask(call)
    assert world.store.limits.refuse(call, asker.demands, turn, "s", 20) == 1
    assert asker.ask(other) == Turn("pause", 20.0, "s")
    world.clock.forward(5)
    assert world.store.limits.refuse(other, asker.demands, None, "s", 3) == 1
    assert asker.ask(other).seconds == 15, "a shorter pause shortens no longer one"
    assert Asker(world, scope="other model").ask().word == "go"
    world.clock.forward(16)
    assert asker.ask(call).word == asker.ask(other).word == "go"


def test_refusals_of_a_call_are_counted_over_its_attempts(world: World) -> None:
    asker = Asker(world)
    call = asker.begin()
    for times in (1, 2, 3):
        assert world.store.limits.refuse(call, asker.demands, asker.ask(call), "s", 1) == times
        world.clock.forward(2)
        asker.park(call, delay=1)
        world.clock.forward(2)
        world.sweep()
        call = asker.again(call)
    asker.settle(call, asker.ask(call))
    assert world.store.limits.refuse(call, asker.demands, None, "s", 1) == 1


def test_a_refused_call_gives_its_slot_and_its_tokens_back(world: World) -> None:
    asker = Asker(world, tpm=1000, tokens=1000, max_concurrency=1)
    call, other = asker.begin(), asker.begin()
    world.store.limits.refuse(call, asker.demands, asker.ask(call), "s", 1)
    world.clock.forward(1.5)
    assert asker.ask(other).word == "go"


def test_who_begins_a_call_is_told_that_some_model_is_left_alone(world: World) -> None:
    asker = Asker(world)
    call, other = asker.begin(), asker.begin()
    assert not world.store.journal.begin(call, repeatable=True).slowed
    world.store.limits.refuse(call, asker.demands, None, "s", 20)
    assert world.store.journal.begin(other, repeatable=True).slowed


# -- the journal, and what is left -------------------------------------------------------------------------


def test_a_call_that_waits_is_not_under_way(world: World) -> None:
    """So a worker that dies while it waits has made no call twice."""
    asker = Asker(world, rpm=1)
    asker.ask()
    call = asker.begin(lease=LEASE)
    assert world.store.journal.begin(call, repeatable=False).word == "go"
    assert asker.ask(call).word == "wait"
    world.clock.forward(LEASE + 1)
    world.sweep()
    call = asker.again(call)
    assert world.store.journal.begin(call, repeatable=False).word == "go"
    world.clock.forward(60)
    assert asker.ask(call).word == "go"
    world.runs.requeue(call.job, call.attempt, "crashed")
    assert world.store.journal.begin(asker.again(call), repeatable=False).word == "doubt"
    assert world.task(call.job.run).repeated == 0


def test_whoever_lost_the_task_gets_no_turn(world: World) -> None:
    asker = Asker(world, rpm=1)
    call = asker.begin()
    world.runs.requeue(call.job, call.attempt, "why")
    assert asker.ask(call).word == "stop"
    assert not world.runs.postpone(call.job, call.attempt, "waits", delay=1)


def test_nothing_of_a_limit_stays_for_ever(world: World) -> None:
    asker = Asker(world, rpm=1, tpm=10, tokens=1, max_concurrency=1)
    asker.ask()
    late = asker.begin()
    asker.ask(late)
    asker.park(late)
    world.store.limits.refuse(asker.begin(), asker.demands, None, "s", 5)
    assert {key.rpartition(":")[2] for key in world.all_keys() if ":limit:s:" in key} == {
        "calls",
        "tokens",
        "slots",
        "line",
        "awaited",
        "parked",
        "pause",
        "refused",
    }
    assert world.immortal() == []
