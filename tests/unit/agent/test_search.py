"""Which pieces of an agent's knowledge a task is told."""

from __future__ import annotations

import time

from crewq.agent.search import _kept_index, found

BEES = "Bees tell each other by dancing where food is."
KAYAKS = "A kayak is a narrow boat, moved by a double-bladed paddle."
TIDES = "Tides come and go twice a day; tide pools stay behind."
ALL = (BEES, KAYAKS, TIDES)


def test_no_more_than_may_be_told_is_told_whole() -> None:
    assert found("anything", ALL, 3) == ALL
    assert found("anything", (), 5) == ()


def test_what_shares_words_with_the_task_is_told_in_its_own_order() -> None:
    assert found("What is a KAYAK made of?", ALL, 1) == (KAYAKS,)
    assert found("Do bees like the tide?", ALL, 2) == (BEES, TIDES)
    assert found("Wie schwimmt man?", ALL, 2) == ()


def test_of_equals_the_first_are_told_and_nothing_is_kept_of_what_does_not_last() -> None:
    before = _kept_index.cache_info().currsize
    pieces = tuple(f"{at} a boat" for at in range(5))
    assert found("the boat", pieces, 2, lasting=False) == pieces[:2]
    assert _kept_index.cache_info().currsize == before


def test_a_rare_word_counts_more_than_many_common_ones() -> None:
    pieces = ("the boat of the man of the sea", "the ox", *["the man of the house"] * 5)
    assert found("the man of the ox", pieces, 1) == ("the ox",)


def test_a_long_piece_is_not_told_for_its_length() -> None:
    assert found("paddle", (f"paddle {'and more ' * 500}", KAYAKS, BEES), 1) == (KAYAKS,)


def test_a_million_characters_hold_nobody_up() -> None:
    pieces = tuple(f"{at} {'some words of no meaning ' * 4}" for at in range(10_000))
    begun = time.perf_counter()
    assert found("the piece 4242", pieces, 1) == (pieces[4242],)
    assert found("the piece 77", pieces, 1) == (pieces[77],)
    assert time.perf_counter() - begun < 5
