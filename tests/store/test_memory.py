"""What a crew remembers: its own runs for the same tenant, for as long as they are kept, and no more than may be read."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.outputs import TaskOutput
from crewq.settings import DAY
from crewq.spec import PLAN_KEY, CrewSpec
from crewq.store import Job
from crewq.store.keys import REMEMBERED, Keys
from crewq.store.memory import LONGEST, MOST
from crewq.terms import Terms
from tests.store.keyed import NEW, OLD, everything, with_keys
from tests.store.world import ONE, PAIR, ROW, World, crew

OTHER = crew((), name="other")


def done(world: World, run: str, index: int, text: str, *, skipped: bool = False) -> None:
    """Complete a task of a run with a text, a second later."""
    world.clock.forward(1)
    claim = world.claim(run, index)
    said = TaskOutput(description=f"Task {index} of it", raw=text, agent="R")
    assert world.runs.complete(Job(run, index), claim.attempt, said, skipped=skipped).word == "recorded"


def lived(world: World, text: str, spec: CrewSpec = ONE, tenant: str = "default") -> str:
    run = world.accept(spec, terms=Terms(tenant=tenant))
    done(world, run, 0, text)
    return run


def known(world: World, run: str = "", spec: CrewSpec = ONE, tenant: str = "default") -> list[str]:
    """What a run of a crew is told of others; a new one, unless it is there already."""
    asking = run or world.accept(spec, terms=Terms(tenant=tenant))
    return [one.text for one in world.store.memory.newest(asking)]


# -- whose -----------------------------------------------------------------------------------------------------------


def test_a_first_run_knows_nothing(world: World) -> None:
    assert known(world) == []


def test_it_is_what_the_runs_of_the_crew_put_out_the_newest_first(world: World) -> None:
    runs = [lived(world, text) for text in ("one", "two", "three")]
    assert known(world) == ["three", "two", "one"]
    (newest, *_) = world.store.memory.newest(world.accept(ONE))
    assert (newest.task, newest.text) == ("Task 0 of it", "three")
    assert newest.ended == world.task(runs[-1]).ended


def test_a_crew_is_known_by_its_name_whatever_became_of_it(world: World) -> None:
    lived(world, "as it was", crew((), (0,), name=ONE.name))
    assert known(world, spec=ONE) == ["as it was"]


def test_other_crews_tenants_and_namespaces_are_apart(world: World) -> None:
    lived(world, "mine")
    lived(world, "other crew's", OTHER)
    lived(world, "acme's", tenant="acme")
    lived(world, "other crew's of acme", OTHER, tenant="acme")
    assert known(world) == ["mine"]
    assert known(world, tenant="acme") == ["acme's"]
    assert known(world, spec=OTHER, tenant="acme") == ["other crew's of acme"]
    assert known(world, spec=crew((), name="acme:other"), tenant="default") == []
    assert known(world, tenant="nobody") == []
    elsewhere = World(world.client, type(world.settings)(redis_url="redis://test", namespace="u"))
    assert known(elsewhere) == []


def test_an_index_that_names_another_tenants_run_is_not_followed(world: World) -> None:
    run = lived(world, "acme's", tenant="acme")
    world.client.zadd(Keys("t").memory("default", ONE.name), {f"{run}|0": 1})
    world.client.expire(Keys("t").memory("default", ONE.name), 60)
    assert known(world) == []


def test_a_run_is_not_told_of_itself(world: World) -> None:
    run = world.accept(ROW)
    done(world, run, 0, "its own")
    assert known(world, run) == []
    assert known(world, spec=ROW) == ["its own"], "others are, while it is under way"


def test_whatever_became_of_the_run_what_its_tasks_completed_is_known(world: World) -> None:
    failed, cancelled = world.accept(ROW), world.accept(ROW)
    done(world, failed, 0, "of a failed one")
    world.runs.fail(Job(failed, 1), world.claim(failed, 1).attempt, errors.JobBroken(reason="boom"))
    done(world, cancelled, 0, "of a cancelled one")
    world.runs.cancel(cancelled)
    assert known(world, spec=ROW) == ["of a cancelled one", "of a failed one"]


def test_a_task_that_was_skipped_or_said_nothing_is_not_told_nor_is_a_plan(world: World) -> None:
    run = world.accept(PAIR)
    done(world, run, 0, "", skipped=True)
    done(world, run, 1, " ")
    plan = ONE.tasks[0].model_copy(update={"key": PLAN_KEY})
    lived(world, "a plan", PAIR.model_copy(update={"tasks": (plan,)}))
    assert known(world) == []


# -- replays ---------------------------------------------------------------------------------------------------------


def test_a_run_and_its_replays_are_not_told_of_each_other(world: World) -> None:
    parent = lived(world, "before", ROW)
    lived(world, "of another", ROW)
    first = world.accept(ROW, parent=parent)
    done(world, first, 0, "first replay")
    second = world.accept(ROW, parent=parent)
    done(world, second, 0, "second replay")
    third = world.accept(ROW, parent=first)
    for run in (parent, first, second, third):
        assert known(world, run) == ["of another"]
    assert known(world, spec=ROW) == ["second replay", "first replay", "of another", "before"]


def test_replays_know_each_other_though_the_first_run_is_deleted(world: World) -> None:
    parent = lived(world, "before")
    first = world.accept(ONE, parent=parent)
    done(world, first, 0, "first replay")
    world.runs.delete(parent)
    assert known(world, world.accept(ONE, parent=first)) == []


def test_what_a_replay_takes_over_is_known_once(world: World) -> None:
    parent = lived(world, "before", ROW)
    world.accept(ROW, kept={0: 0}, parent=parent)
    assert known(world, spec=ROW) == ["before"]


# -- how long --------------------------------------------------------------------------------------------------------


def test_a_run_that_is_deleted_is_forgotten(world: World) -> None:
    kept, gone = lived(world, "kept"), lived(world, "gone")
    world.runs.delete(gone)
    assert known(world) == ["kept"]
    world.runs.delete(kept)
    assert not list(world.client.scan_iter("*:memory:*"))


def test_a_run_whose_time_is_over_is_forgotten(world: World) -> None:
    lived(world, "old")
    world.clock.forward(7 * DAY)
    lived(world, "new")
    world.sweep()
    assert known(world) == ["new"]


def test_a_run_that_redis_itself_has_dropped_is_passed_over(world: World) -> None:
    gone = lived(world, "gone")
    lived(world, "kept")
    world.client.delete(Keys("t").run(gone), Keys("t").task(gone, 0))
    assert known(world) == ["kept"]


# -- how much --------------------------------------------------------------------------------------------------------


def test_only_the_newest_are_known_however_many_there_are(world: World) -> None:
    runs = [lived(world, str(at)) for at in range(REMEMBERED + 5)]
    lived(world, "of another crew", OTHER)
    assert known(world) == [str(at) for at in reversed(range(5, REMEMBERED + 5))]
    assert world.client.zcard(Keys("t").memory("default", ONE.name)) == REMEMBERED
    world.runs.delete(runs[-1])
    assert known(world)[0] == str(REMEMBERED + 3)


def test_no_more_is_read_than_may_be(world: World) -> None:
    for at in range(20):
        lived(world, f"{at} {'x' * 30_000}")
    told = known(world)
    assert told[0].startswith("19 x")
    assert {len(text) for text in told} == {LONGEST}
    assert len(told) == MOST // 30_100


def test_long_ones_are_cut_and_no_more_of_them_are_opened_than_may_be(world: World) -> None:
    for at in range(30):
        lived(world, f"{at} {'long ' * 20_000}")
    told = known(world)
    assert [text.split()[0] for text in told] == [str(at) for at in range(29, 29 - MOST // LONGEST, -1)]
    assert {len(text) for text in told} == {LONGEST}


def test_it_takes_few_round_trips_and_other_crews_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(20):
        lived(world, f"mine {at}")
        lived(world, f"theirs {at}", OTHER)
    asking = world.accept(ONE)
    asked = list[object]()
    do = world.store.memory._verbs.do
    monkeypatch.setattr(world.store.memory._verbs, "do", lambda command: asked.append(command) or do(command))
    assert len(known(world, asking)) == 20
    assert len(asked) == 5


# -- what cannot be read ---------------------------------------------------------------------------------------------


def test_one_that_is_damaged_is_passed_over(world: World) -> None:
    lived(world, "sound")
    broken, gone = lived(world, "broken"), lived(world, "long " * 20_000)
    world.client.hset(Keys("t").task(broken, 0), "output", "{")
    world.client.delete(*world.client.scan_iter("{t}:blob:*"))
    assert known(world) == ["sound"]
    with pytest.raises(errors.RecordBroken):
        world.read(gone)


def test_an_index_that_is_damaged_is_an_error_that_says_so(world: World) -> None:
    world.client.zadd(Keys("t").memory("default", ONE.name), {"nonsense": 1})
    world.client.expire(Keys("t").memory("default", ONE.name), 60)
    with pytest.raises(errors.RecordBroken, match="memory:default:demo"):
        known(world)


def test_with_keys_it_is_encrypted_and_known_to_who_has_them(world: World) -> None:
    keyed = with_keys(world, OLD)
    lived(keyed, "marzipan")
    lived(keyed, "marzipan " * 10_000)
    assert "marzipan" not in everything(keyed)
    assert [text[:8] for text in known(keyed)] == ["marzipan"] * 2
    exchanged = with_keys(world, NEW, OLD)
    lived(exchanged, "nougat")
    assert [text[:8] for text in known(exchanged)] == ["nougat", "marzipan", "marzipan"]
    assert known(with_keys(world, NEW)) == ["nougat"], "what it has no key for is passed over"


def test_what_was_forged_or_moved_is_not_told(world: World) -> None:
    keyed = with_keys(world, OLD)
    secret, forged = lived(keyed, "secret", tenant="acme"), lived(keyed, "mine")
    task = Keys("t").task
    world.client.hset(task(forged, 0), "output", str(world.client.hget(task(secret, 0), "output")))
    assert known(keyed) == []
    world.client.hset(task(forged, 0), "output", '{"raw": "forged", "description": "d", "agent": "R"}')
    assert known(keyed) == []
