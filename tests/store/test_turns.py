"""Limits of calls per minute, kept over the whole fleet."""

from __future__ import annotations

import pytest

from tests.store.world import World


def test_a_minutes_worth_goes_at_once_and_each_next_one_a_minute_later(world: World) -> None:
    waits = [world.store.take_turn("s", 10) for _ in range(30)]
    assert waits == [0.0] * 10 + [pytest.approx(60, abs=0.01)] * 10 + [pytest.approx(120, abs=0.01)] * 10


def test_time_that_passes_gives_turns_back(world: World) -> None:
    for _ in range(10):
        world.store.take_turn("s", 10)
        world.clock.forward(3)
    assert world.store.take_turn("s", 10) == pytest.approx(30)
    world.clock.forward(3600)
    assert [world.store.take_turn("s", 10) for _ in range(11)] == [0.0] * 10 + [pytest.approx(60)]


def test_in_no_minute_are_more_calls_let_go_than_the_limit_allows(world: World) -> None:
    made = []
    for _ in range(200):
        made.append(world.clock.ms / 1000 + world.store.take_turn("s", 30))
        world.clock.forward(0.5)
    assert max(sum(start <= at < start + 59.99 for at in made) for start in made) == 30


def test_scopes_do_not_disturb_each_other(world: World) -> None:
    for _ in range(5):
        world.store.take_turn("a", 1)
    assert world.store.take_turn("b", 1) == 0


def test_turns_far_ahead_are_not_forgotten(world: World) -> None:
    """Ten callers under one call per minute: the last waits nine minutes, and who comes then waits ten."""
    waits = [world.store.take_turn("s", 1) for _ in range(10)]
    assert waits[-1] == pytest.approx(540)
    assert world.client.pttl("{t}:limit:s") > 540_000
