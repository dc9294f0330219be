"""Replay: which tasks keep their outputs, which run again, and when a crew is not the one that ran."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest

from crewq import errors
from crewq.replay import find_task, start_replay
from crewq.spec import CrewSpec, TaskSpec
from crewq.states import RunState, TaskState
from crewq.store import Job, RunRecord, TaskRecord
from tests.store.world import DIAMOND, PAIR, ROW, World, crew


class Studio:
    """A store, and a producer that writes down what it is asked to publish."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.published: list[Job] = []
        self.producer: Any = SimpleNamespace(
            store=world.store,
            settings=world.settings,
            accept=world.store.runs.create,
            publish=lambda spec, jobs, priority: self.published.extend(jobs),
        )

    def finished(self, spec: CrewSpec, **facts: Any) -> str:
        run = self.world.accept(spec, **facts)
        self.world.carry_out(run, *range(len(spec.tasks)))
        return run

    def replay(self, run: str, index: int, spec: CrewSpec | None = None, **options: Any) -> str:
        self.published.clear()
        return start_replay(self.producer, Job(run, index), spec, **options)[0]

    def outputs(self, run: str) -> list[str | None]:
        """What each task has before any of it runs: `3` was kept from the parent's task 3; None: it runs."""
        found = [task.output for task in self.world.read(run).tasks]
        return [output and output.raw.removeprefix("out ") for output in found]

    def starts(self) -> list[int]:
        return [job.index for job in self.published]


@pytest.fixture
def studio() -> Iterator[Studio]:
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
    studio = Studio(World(client))
    yield studio
    assert studio.world.immortal() == []
    client.close()


def rewritten(spec: CrewSpec, at: int, **changes: Any) -> CrewSpec:
    """The crew with one task changed, as a person would: its key changes with it."""
    key = f"{spec.tasks[at].name}:{changes}"
    tasks = list(spec.tasks)
    tasks[at] = tasks[at].model_copy(update={"key": key, **changes})
    return spec.model_copy(update={"tasks": tuple(tasks)})


# -- what runs again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "start", "outputs", "starts"),
    [
        (ROW, 0, [None, None, None], [0]),
        (ROW, 1, ["0", None, None], [1]),
        (ROW, 2, ["0", "1", None], [2]),
        (DIAMOND, 1, ["0", None, "2", None], [1]),
        (DIAMOND, 3, ["0", "1", "2", None], [3]),
        (DIAMOND, 0, [None] * 4, [0]),
        (PAIR, 0, [None, "1", None], [0]),
    ],
)
def test_the_task_named_and_what_comes_after_it_run_again(
    studio: Studio, spec: CrewSpec, start: int, outputs: list[str | None], starts: list[int]
) -> None:
    parent = studio.finished(spec, inputs={"x": 1})
    child = studio.replay(parent, start)
    assert studio.outputs(child) == outputs
    assert studio.starts() == starts
    record = studio.world.read(child)
    assert (record.parent, record.from_task, record.inputs) == (parent, studio.world.task(parent, start).id, {"x": 1})
    for at in [at for at, output in enumerate(outputs) if output is None]:
        studio.world.carry_out(child, at)
    assert studio.world.read(child).state == "completed"


def test_inputs_may_be_given_anew(studio: Studio) -> None:
    parent = studio.finished(ROW, inputs={"x": 1})
    assert studio.world.read(studio.replay(parent, 1, inputs={"x": 2})).inputs == {"x": 2}
    with pytest.raises(errors.UnsupportedInput):
        studio.replay(parent, 1, inputs={"x": {1}})
    asking = rewritten(ROW, 1, description="{y}")
    with pytest.raises(errors.MissingInputs, match="y"):
        studio.replay(parent, 1, asking)


def test_what_failed_or_never_began_runs_too(studio: Studio) -> None:
    run = studio.world.accept(PAIR)
    studio.world.carry_out(run, 1)
    studio.world.runs.fail(Job(run, 0), studio.world.claim(run, 0).attempt, errors.JobBroken(reason="boom"))
    assert studio.outputs(studio.replay(run, 2)) == [None, "1", None]
    assert studio.starts() == [0]
    assert studio.outputs(studio.replay(run, 0)) == [None, "1", None]


def test_a_cancelled_run_can_be_replayed(studio: Studio) -> None:
    run = studio.world.accept(ROW)
    studio.world.carry_out(run, 0)
    studio.world.runs.cancel(run)
    assert studio.outputs(studio.replay(run, 2)) == ["0", None, None]
    assert studio.starts() == [1]


def test_a_replay_can_be_replayed(studio: Studio) -> None:
    child = studio.replay(studio.finished(ROW), 2)
    studio.world.carry_out(child, 2)
    assert studio.outputs(studio.replay(child, 1)) == ["0", None, None]
    assert studio.outputs(studio.replay(studio.world.read(child).id, 2)) == ["0", "1", None]


# -- edited outputs ----------------------------------------------------------------------------------------


def readers() -> CrewSpec:
    """Four in a row, of which 2 is given 0 only, and 3 is given 1 and 2."""
    row = crew((), (0,), (1,), (2,))
    contexts = ((), (0,), (0,), (1, 2))
    tasks = [task.model_copy(update={"context": context}) for task, context in zip(row.tasks, contexts, strict=True)]
    return row.model_copy(update={"tasks": tuple(tasks)})


def test_an_edited_output_has_its_readers_run_again_and_nobody_else(studio: Studio) -> None:
    parent = studio.finished(readers())
    child = studio.replay(parent, 3, outputs={"t1": "edited"})
    assert studio.outputs(child) == ["0", "edited", "2", None]
    child = studio.replay(parent, 1, outputs={"t1": "edited"})
    assert studio.outputs(child) == ["0", "edited", "2", None]
    assert studio.starts() == [3]
    child = studio.replay(parent, 3, outputs={"t0": "edited"})
    assert studio.outputs(child) == ["edited", None, None, None]


def test_an_output_is_edited_by_name_or_id(studio: Studio) -> None:
    parent = studio.finished(ROW)
    name = studio.world.task(parent, 1).id
    child = studio.replay(parent, 2, outputs={name: "edited"})
    assert studio.outputs(child) == ["0", "edited", None]
    assert studio.world.read(child).edited == (name,)
    assert studio.world.claim(child, 2).context[1].raw == "edited"
    with pytest.raises(errors.UnknownId, match="t9"):
        studio.replay(parent, 2, outputs={"t9": "x"})
    with pytest.raises(errors.UnknownId):
        studio.replay(parent, 2, outputs={"": "x"})


def test_the_last_output_may_be_edited_and_then_nothing_runs(studio: Studio) -> None:
    child = studio.replay(studio.finished(ROW), 2, outputs={"t2": "edited"})
    assert studio.outputs(child) == ["0", "1", "edited"]
    assert studio.world.read(child).state == "completed"


def test_several_outputs_may_be_edited(studio: Studio) -> None:
    child = studio.replay(studio.finished(DIAMOND), 3, outputs={"t1": "a", "t2": "b"})
    assert studio.outputs(child) == ["0", "a", "b", None]
    assert studio.starts() == [3]


# -- with today's crew -------------------------------------------------------------------------------------


def test_a_task_that_was_rewritten_counts_by_its_name(studio: Studio) -> None:
    parent = studio.finished(ROW)
    child = studio.replay(parent, 1, rewritten(ROW, 1, description="Better"))
    assert studio.outputs(child) == ["0", None, None]
    assert studio.world.read(child).spec == rewritten(ROW, 1, description="Better").digest()


def test_a_task_without_a_name_counts_by_its_place(studio: Studio) -> None:
    nameless = ROW.model_copy(update={"tasks": tuple(task.model_copy(update={"name": None}) for task in ROW.tasks)})
    parent = studio.finished(nameless)
    assert studio.outputs(studio.replay(parent, 1, rewritten(nameless, 1, description="Better"))) == ["0", None, None]
    with pytest.raises(errors.ReplayMismatch):
        studio.replay(parent, 1, rewritten(nameless, 1, name="named", description="Better"))


def test_tasks_are_matched_by_what_they_are_and_not_by_their_place(studio: Studio) -> None:
    parent = studio.finished(ROW)
    first, second, third = ROW.tasks
    new = TaskSpec(key="new", name="new", description="New", agent=0, after=(0,), context=(0,))
    tasks = (
        first,
        new,
        second.model_copy(update={"after": (1,), "context": (0, 1)}),
        third.model_copy(update={"after": (2,)}),
    )
    child = studio.replay(parent, 2, ROW.model_copy(update={"tasks": tasks}))
    assert studio.outputs(child) == ["0", None, None, None]
    assert studio.starts() == [1]
    swapped = PAIR.model_copy(update={"tasks": (PAIR.tasks[1], PAIR.tasks[0], PAIR.tasks[2])})
    assert studio.outputs(studio.replay(studio.finished(PAIR), 2, swapped)) == ["1", "0", None]


def test_tasks_after_the_one_named_may_come_and_go(studio: Studio) -> None:
    parent = studio.finished(ROW)
    shorter = ROW.model_copy(update={"tasks": ROW.tasks[:2]})
    assert studio.outputs(studio.replay(parent, 1, shorter)) == ["0", None]
    longer = crew((), (0,), (1,), (2,))
    assert studio.outputs(studio.replay(parent, 1, longer)) == ["0", None, None, None]


def test_a_crew_that_lacks_a_task_before_is_not_the_one_that_ran(studio: Studio) -> None:
    parent = studio.finished(ROW)
    with pytest.raises(errors.ReplayMismatch) as caught:
        studio.replay(parent, 2, rewritten(ROW, 1, description="Better"))
    assert parent in str(caught.value)
    assert "as they were: 't1'; new or changed ones: 't1'" in str(caught.value)
    without = ROW.model_copy(
        update={"tasks": (ROW.tasks[0], ROW.tasks[2].model_copy(update={"after": (0,), "context": (0,)}))}
    )
    with pytest.raises(errors.ReplayMismatch, match="as they were: 't1'; new or changed ones: none"):
        studio.replay(parent, 2, without)
    assert studio.published == []


def test_a_crew_that_lacks_the_task_named_is_not_the_one_that_ran(studio: Studio) -> None:
    parent = studio.finished(ROW)
    with pytest.raises(errors.ReplayMismatch):
        studio.replay(parent, 1, crew((), name="other"))
    with pytest.raises(errors.ReplayMismatch):
        studio.replay(parent, 1, rewritten(ROW, 1, name="renamed", description="Better"))


# -- finding the task --------------------------------------------------------------------------------------


def test_a_task_is_found_by_the_beginning_of_its_id(studio: Studio) -> None:
    run = studio.world.accept(ROW)
    name = studio.world.task(run, 1).id
    assert find_task(studio.producer, name) == find_task(studio.producer, name[:12]) == Job(run, 1)
    for unknown in ("", "zz", run, str(uuid.uuid4())):
        with pytest.raises(errors.UnknownId):
            find_task(studio.producer, unknown)


def test_an_ambiguous_beginning_is_told_with_its_candidates(studio: Studio) -> None:
    for _ in range(20):
        studio.world.accept(DIAMOND)
    shared = studio.world.task(studio.world.runs.latest(1)[0]).id[0]
    with pytest.raises(errors.AmbiguousId, match=shared):
        find_task(studio.producer, shared)


def test_a_name_counts_before_the_beginning_of_an_id() -> None:
    tasks = tuple(
        TaskRecord(at, task, name, f"k{at}", TaskState.WAITING)
        for at, (task, name) in enumerate([("b001", "a"), ("a002", "b"), ("b003", "c")])
    )
    run = RunRecord("r", RunState.QUEUED, "crew", "s", {}, datetime.now(UTC), tasks)
    found = {name: [task.index for task in run.tasks_called(name)] for name in ("a", "b", "b0", "a0", "", "z")}
    assert found == {"a": [0], "b": [1], "b0": [0, 2], "a0": [1], "": [], "z": []}
