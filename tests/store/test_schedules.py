"""Schedules in the store: kept, looked at by any number of beats, replaced, removed, and forgotten if no beat comes."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.store import ScheduleRecord
from crewq.store.keys import UNFINISHED
from crewq.terms import Terms
from tests.store.world import ONE, ROW, World

MINUTELY, HOURLY = '{"every": 60}', '{"every": 3600}'


def put(world: World, name: str = "news", timing: str = MINUTELY, **how: bool) -> bool:
    return world.store.schedules.put(name, ONE, {"topic": "Zürich"}, timing, **how)


def due(world: World) -> list[str]:
    return [record.name for record in world.store.schedules.due().schedules]


def look(world: World, name: str = "news") -> ScheduleRecord:
    return world.store.schedules.read(name)


def test_a_schedule_is_kept_whole(world: World) -> None:
    assert put(world)
    record = look(world)
    assert (record.crew, record.spec, record.inputs) == ("demo", ONE.to_json(), {"topic": "Zürich"})
    assert (record.timing, record.created, record.last) == (MINUTELY, world.clock.ms, world.clock.ms)
    assert world.store.schedules.all() == [record]


def test_a_new_one_is_looked_at_at_once_and_then_when_it_was_said(world: World) -> None:
    put(world)
    found = world.store.schedules.due()
    assert (found.now, found.following) == (world.clock.ms, None)
    assert not world.store.schedules.note(found.schedules[0], None, world.clock.ms + 60_000)
    assert due(world) == []
    assert world.store.schedules.due().following == world.clock.ms + 60_000
    world.clock.forward(60)
    assert due(world) == ["news"]


def test_of_two_beats_the_first_sees_to_a_time(world: World) -> None:
    put(world)
    mine, its = look(world), look(world)
    nominal = world.clock.ms + 1
    world.clock.forward(1)
    assert world.store.schedules.note(mine, nominal, nominal + 60_000, run="r1")
    assert not world.store.schedules.note(its, nominal, nominal + 60_000, run="r1")
    assert (look(world).last, look(world).run) == (nominal, "r1")


def test_a_beat_that_comes_late_changes_nothing(world: World) -> None:
    put(world)
    record, begin = look(world), world.clock.ms
    world.clock.forward(300)
    assert world.store.schedules.note(record, begin + 240_000, begin + 360_000, run="r2")
    assert not world.store.schedules.note(record, begin + 120_000, begin + 180_000, run="r1")
    assert (look(world).last, look(world).run) == (begin + 240_000, "r2")
    assert due(world) == []


def test_a_problem_is_kept_until_a_run_is_started(world: World) -> None:
    put(world)
    record, begin = look(world), world.clock.ms
    world.store.schedules.note(record, begin + 1, begin + 2, run="r1")
    world.store.schedules.note(record, begin + 2, begin + 3, problem="no crew")
    assert (look(world).run, look(world).problem) == ("r1", "no crew")
    world.store.schedules.note(record, begin + 3, begin + 4, run="r3")
    assert (look(world).run, look(world).problem) == ("r3", None)


def test_a_name_is_not_taken_twice(world: World) -> None:
    put(world)
    before = look(world)
    assert not put(world, timing=HOURLY)
    assert look(world) == before


def test_one_that_is_replaced_with_the_same_times_goes_on_where_it_was(world: World) -> None:
    put(world)
    record, begin = look(world), world.clock.ms
    world.store.schedules.note(record, begin + 1, begin + 60_000, run="r1")
    world.clock.forward(10)
    assert world.store.schedules.put("news", ROW, {}, MINUTELY, replace=True)
    after = look(world)
    assert (after.id, after.last, after.run) == (record.id, begin + 1, "r1")
    assert (after.spec, after.inputs) == (ROW.to_json(), {})
    assert due(world) == ["news"]


def test_one_that_is_replaced_with_other_times_begins_anew(world: World) -> None:
    put(world)
    record = look(world)
    world.clock.forward(10)
    assert put(world, timing=HOURLY, replace=True)
    assert look(world).id != record.id
    assert look(world).last == world.clock.ms
    assert not world.store.schedules.note(record, world.clock.ms + 1, world.clock.ms + 2, run="of the old one")
    assert look(world).run is None


def test_a_schedule_that_is_removed_is_gone(world: World) -> None:
    put(world)
    record = look(world)
    world.store.schedules.remove("news")
    assert not world.store.schedules.note(record, world.clock.ms + 1, world.clock.ms + 2, run="r")
    assert world.all_keys() == []
    with pytest.raises(errors.UnknownSchedule, match="no schedule 'news'"):
        world.store.schedules.remove("news")


def test_a_name_that_was_mistyped(world: World) -> None:
    put(world)
    with pytest.raises(errors.UnknownSchedule, match="Did you mean 'news'"):
        world.store.schedules.read("nesw")


def test_a_schedule_outlives_its_next_time_however_far_that_is(world: World) -> None:
    put(world)
    put(world, "yearly")
    year = 365 * 86_400
    world.store.schedules.note(look(world, "yearly"), None, world.clock.ms + year * 1000)
    world.store.schedules.note(look(world), None, world.clock.ms + 60_000)
    for key in ("{t}:schedule:yearly", "{t}:schedules"):
        assert world.client.ttl(key) == pytest.approx(year + UNFINISHED, abs=2)
    assert world.client.ttl("{t}:schedule:news") == pytest.approx(UNFINISHED + 60, abs=2)


def test_the_name_of_one_that_went_by_itself_goes_too(world: World) -> None:
    put(world)
    put(world, "other")
    world.client.delete("{t}:schedule:news")  # as its time to live would
    assert due(world) == ["other"]
    assert [record.name for record in world.store.schedules.all()] == ["other"]
    assert world.client.zrange("{t}:schedules", 0, -1) == ["other"]


def test_a_schedule_keeps_the_terms_of_its_runs(world: World) -> None:
    terms = Terms("acme", "high", 0.5, 1000)
    world.store.schedules.put("news", ONE, {}, MINUTELY, terms)
    assert look(world).terms == terms
    world.client.hdel("{t}:schedule:news", "terms")  # as one of an earlier version
    assert look(world).terms == Terms()
    put(world, replace=True)
    assert look(world).terms == Terms()


def spoil(world: World, name: str, how: str) -> None:
    key = f"{{t}}:schedule:{name}"
    if how == "another type":
        world.client.delete(key)
        world.client.set(key, "?", ex=60)
    elif how == "no id":
        world.client.hdel(key, "id")
    else:
        field, _, value = how.partition("=")
        world.client.hset(key, field, value)


WAYS = ["another type", "no id", "last=soon", "inputs={", "inputs=[]", 'terms={"tenant": "a b"}', "terms=[]"]


@pytest.mark.parametrize("how", WAYS)
def test_one_that_cannot_be_read_holds_no_other_up(world: World, how: str) -> None:
    put(world)
    put(world, "spoilt")
    spoil(world, "spoilt", how)
    found = world.store.schedules.due()
    assert [record.name for record in found.schedules] == ["news"]
    (spoilt,) = found.unreadable
    assert spoilt.name == "spoilt"
    assert "schedule:spoilt cannot be read" in str(spoilt.error)
    assert [one.name for one in world.store.schedules.all()] == ["news", "spoilt"]
    with pytest.raises(errors.RecordBroken):
        look(world, "spoilt")
    world.store.schedules.set_aside("spoilt", found.now)
    assert due(world) == ["news"]
    assert world.store.schedules.due().unreadable == ()
    world.clock.forward(60)
    assert [one.name for one in world.store.schedules.due().unreadable] == ["spoilt"]
    world.store.schedules.remove("spoilt")
    assert put(world, "spoilt")
    assert due(world) == ["news", "spoilt"]


@pytest.mark.parametrize("how", [way for way in WAYS if way not in ("another type", "last=soon")])
def test_one_that_cannot_be_read_may_be_replaced(world: World, how: str) -> None:
    put(world)
    spoil(world, "news", how)
    assert put(world, replace=True)
    assert due(world) == ["news"]


def test_one_that_was_removed_is_not_set_aside(world: World) -> None:
    world.store.schedules.set_aside("gone", world.clock.ms)
    assert world.all_keys() == []


def test_a_run_tells_its_schedule(world: World) -> None:
    assert world.read(world.accept(ONE, schedule="news")).schedule == "news"
    assert world.read(world.accept(ONE)).schedule is None
