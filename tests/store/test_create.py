"""Accepting runs: ids, idempotency keys, what is taken over from a parent, and finding a run again."""

from __future__ import annotations

import uuid

import pytest

from crewq import errors
from crewq.plan import task_id
from crewq.states import RunState
from crewq.store import Job
from tests.store.world import DIAMOND, ONE, PAIR, ROW, World, crew, output


def test_a_run_is_written_whole(world: World) -> None:
    run = world.accept(DIAMOND, inputs={"topic": "Zürich 🦀", "n": [1, 2.5, None, True]})
    record = world.read(run)
    assert (record.state, record.crew, record.spec) == (RunState.QUEUED, "demo", DIAMOND.digest())
    assert record.inputs == {"topic": "Zürich 🦀", "n": [1, 2.5, None, True]}
    assert [task.id for task in record.tasks] == [task_id(run, at) for at in range(4)]
    assert world.states(run) == ["queued", "waiting", "waiting", "waiting"]
    assert world.runs.spec(record.spec) == DIAMOND
    assert world.events(run) == ["run_queued"]


def test_a_run_may_have_more_tasks_than_one_command_takes_arguments(world: World) -> None:
    tasks = 1200
    run = world.accept(crew(*[()] * tasks))
    assert len(world.read(run).tasks) == tasks
    assert world.runs.find(task_id(run, tasks - 1))[0][2] == Job(run, tasks - 1)


def test_inputs_come_back_to_the_last_digit(world: World) -> None:
    """Redis's own JSON would make floats of these, and lists of empty dicts."""
    inputs = {"large": 2**63 + 1, "exact": 0.1, "empty": {}, "none": [], "zero": "\0"}
    run = world.accept(ONE, inputs=inputs)
    assert world.read(run).inputs == inputs
    assert world.claim(run).inputs == inputs


def test_a_retried_create_writes_nothing_twice(world: World) -> None:
    order, run = world.order(ROW), world.new_run(ROW)
    assert world.runs.create(order, [run]) == [run.id]
    world.carry_out(run.id, 0)
    assert world.runs.create(order, [run]) == [run.id]
    assert world.states(run.id) == ["completed", "queued", "waiting"]
    assert world.events(run.id).count("run_queued") == 1


def test_the_same_key_gives_the_same_run(world: World) -> None:
    first = world.accept(ONE, key="k", fingerprint="f")
    assert world.accept(ONE, key="k", fingerprint="f") == first
    assert world.runs.latest(10) == [first]


def test_a_key_that_is_used_for_something_else_is_refused(world: World) -> None:
    first = world.accept(ONE, key="k", fingerprint="f")
    with pytest.raises(errors.KeyReused, match=first):
        world.accept(ONE, key="k", fingerprint="g")
    assert world.runs.latest(10) == [first]


def test_a_key_is_free_again_when_its_run_is_gone(world: World) -> None:
    first = world.accept(ONE, key="k", fingerprint="f")
    world.carry_out(first, 0)
    world.runs.delete(first)
    assert world.accept(ONE, key="k", fingerprint="other") != first


def test_the_key_of_a_batch_is_free_again_when_the_batch_is_gone(world: World) -> None:
    first = world.store.batches.create(str(uuid.uuid4()), "demo", "k", "f")
    assert world.store.batches.create(str(uuid.uuid4()), "demo", "k", "f") == first
    with pytest.raises(errors.KeyReused, match=first):
        world.store.batches.create(str(uuid.uuid4()), "demo", "k", "other")
    assert world.store.batches.open(first, 1) == ()  # it is empty, so it ends at once
    world.clock.forward(world.settings.retention.completed + 1)
    world.sweep()
    assert world.store.batches.create(str(uuid.uuid4()), "demo", "k", "f") != first


def test_a_batch_is_held_back_until_it_is_whole(world: World) -> None:
    batch = world.store.batches.create(str(uuid.uuid4()), "demo")
    order = world.order(ONE, batch=batch, held=True)
    ids = [world.runs.create(order, [world.new_run(ONE, item=at)])[0] for at in range(3)]
    world.clock.forward(60)
    assert world.sweep().jobs == ()
    assert not world.store.batches.read(batch).opened
    assert world.store.batches.open(batch, 2) == (Job(ids[0], 0), Job(ids[1], 0))
    assert world.store.batches.open(batch, 2) == ()
    assert world.store.batches.runs(batch) == ids


# -- replays -----------------------------------------------------------------------------------------------


def test_outputs_are_taken_over_from_the_parent(world: World) -> None:
    parent = world.accept(ROW)
    world.carry_out(parent, 0, 1, 2)
    child = world.accept(ROW, kept={0: 0, 1: 1}, parent=parent, from_task=task_id(parent, 2))
    record = world.read(child)
    assert [task.state.value for task in record.tasks] == ["completed", "completed", "queued"]
    assert [task.kept for task in record.tasks] == [True, True, False]
    assert record.parent == parent
    assert [world.claim(child, 2).context[1].raw, world.claim(child, 2).word] == ["out 1", "busy"]


def test_a_task_can_take_over_the_output_of_another_place(world: World) -> None:
    parent = world.accept(PAIR)
    world.carry_out(parent, 0, 1)
    child = world.accept(PAIR, kept={0: 1}, parent=parent)
    assert world.task(child, 0).output == world.task(parent, 1).output


def test_an_output_can_be_given(world: World) -> None:
    parent = world.accept(ROW)
    world.carry_out(parent, 0, 1, 2)
    edited = output("edited").model_dump_json()
    child = world.accept(ROW, kept={0: 0}, parent=parent, outputs={1: edited}, edited=("x",))
    assert world.states(child) == ["completed", "completed", "queued"]
    assert world.claim(child, 2).context[1].raw == "edited"
    assert (world.task(child, 1).edited, world.read(child).edited) == (True, ("x",))


def test_a_replay_in_which_nothing_is_left_to_do_ends(world: World) -> None:
    parent = world.accept(ROW)
    world.carry_out(parent, 0, 1, 2)
    last = output("better").model_dump_json()
    child = world.accept(ROW, kept={0: 0, 1: 1}, parent=parent, outputs={2: last})
    assert world.read(child).state is RunState.COMPLETED
    assert world.events(child)[-1] == "run_completed"
    assert world.store.has_ended(child)


# -- finding -----------------------------------------------------------------------------------------------


def test_ids_are_found_by_their_beginning(world: World) -> None:
    run = world.accept(ROW)
    assert world.runs.find(run[:8]) == [(run, "run", None)]
    assert world.runs.find(run[:8].upper()) == [(run, "run", None)]
    task = task_id(run, 1)
    assert world.runs.find(task, ("task",)) == [(task, "task", Job(run, 1))]
    assert world.runs.find(task, ("run",)) == []
    assert world.runs.find("no such") == []


def test_an_id_is_found_among_many_of_another_kind(world: World) -> None:
    """An ambiguous beginning must never look as if it were one id, nor as if there were none."""
    for _ in range(60):
        world.accept(DIAMOND)
    for letter in "0123456789abcdef":
        wanted = [run for run in world.runs.latest(100) if run.startswith(letter)]
        assert len(world.runs.find(letter, ("run",))) == min(len(wanted), 10)


def test_the_latest_runs_come_first(world: World) -> None:
    made = []
    for _ in range(3):
        made.append(world.accept(ONE))
        world.clock.forward(1)
    assert world.runs.latest(2) == made[:0:-1]
    assert world.runs.latest(2, offset=2) == made[:1]


@pytest.mark.parametrize("verb", ["read", "cancel", "delete"])
def test_a_run_that_is_not_there_is_said_to_be_unknown(world: World, verb: str) -> None:
    with pytest.raises(errors.UnknownId, match="nowhere"):
        getattr(world.runs, verb)("nowhere")
    assert world.runs.state("nowhere") is None
    assert world.runs.heads(["nowhere"]) == []
    assert world.store.has_ended("nowhere")


def test_a_run_whose_record_was_changed_is_said_to_be_broken(world: World) -> None:
    run = world.accept(ONE)
    world.client.hset(f"{{t}}:run:{run}", "state", "dancing")
    with pytest.raises(errors.RecordBroken, match=run):
        world.read(run)
