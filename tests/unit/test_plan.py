"""From a crew to Celery: every task has its place in one chain, and a chain never runs ahead of the order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from crewq.app import PRIORITY_BATCH, PRIORITY_SINGLE, PRIORITY_STEPS, make_app
from crewq.freeze import freeze
from crewq.members import Task
from crewq.plan import alike, chain_from, new_tasks, next_in_chain, segment, signature, task_id, wakes
from crewq.spec import CrewSpec
from crewq.store import Head, Job
from crewq.terms import Priority
from tests.store.world import DIAMOND, ONE, PAIR, ROW, crew
from tests.unit.parts import EMBEDDED, REMOTE, agent, plan, task

RUN = "3f2b1c54-8a5e-4e57-9a53-0d2f3c1b6a77"


@st.composite
def crews(draw: st.DrawFn) -> CrewSpec:
    """Any crew: tasks async or not, with any of the tasks before them as context, none, or what is the default."""
    tasks: list[Task] = []
    for at in range(draw(st.integers(1, 9))):
        named = draw(st.none() | st.lists(st.sampled_from(tasks), max_size=3, unique_by=id) if tasks else st.none())
        context = {} if draw(st.booleans()) else {"context": named}
        tasks.append(task(f"Task {at}", async_execution=draw(st.booleans()), **context))
    return freeze(plan(*tasks), REMOTE)


def heads(spec: CrewSpec) -> list[int]:
    followers = {next_in_chain(spec, at) for at in range(len(spec.tasks))}
    return [at for at in range(len(spec.tasks)) if at not in followers]


def before(spec: CrewSpec, at: int) -> set[int]:
    """All tasks that have ended when this one starts."""
    direct = spec.tasks[at].after
    return set(direct).union(*(before(spec, other) for other in direct))


@given(crews())
def test_every_task_is_in_one_segment_and_segments_keep_the_order(spec: CrewSpec) -> None:
    segments = [segment(spec, head) for head in heads(spec)]
    assert sorted(at for row in segments for at in row) == list(range(len(spec.tasks)))
    for row in segments:
        for first, second in pairwise(row):
            assert spec.tasks[second].after == (first,)
            assert wakes(spec, first) == (second,)


@given(crews())
def test_what_a_task_is_given_has_ended_when_it_starts(spec: CrewSpec) -> None:
    for at, frozen in enumerate(spec.tasks):
        assert set(frozen.context) <= before(spec, at)
        assert all(other < at for other in frozen.after)
        assert frozen.after == tuple(sorted(set(frozen.after)))


@given(crews())
def test_whoever_is_waited_for_wakes_whoever_waits(spec: CrewSpec) -> None:
    tasks = new_tasks(spec, batch=False)
    for at, new in enumerate(tasks):
        assert new.needs == len(spec.tasks[at].after) == sum(at in other.wakes for other in tasks)


@given(crews(), st.data())
def test_a_crew_runs_to_its_end_in_any_order_of_luck(spec: CrewSpec, data: st.DataObject) -> None:
    """Whichever of the tasks that are ready is done next, all are done in the end."""
    needs = {at: new.needs for at, new in enumerate(new_tasks(spec, batch=False))}
    done: list[int] = []
    while ready := [at for at, left in needs.items() if left == 0 and at not in done]:
        at = data.draw(st.sampled_from(ready))
        assert before(spec, at) <= set(done)
        done.append(at)
        for other in wakes(spec, at):
            needs[other] -= 1
    assert sorted(done) == list(range(len(spec.tasks)))


def test_a_crew_of_sync_tasks_is_one_chain() -> None:
    assert (heads(ROW), segment(ROW, 0), segment(ROW, 1)) == ([0], [0, 1, 2], [1, 2])
    assert (heads(ONE), segment(ONE, 0)) == ([0], [0])


def test_where_tasks_branch_or_join_a_segment_begins() -> None:
    assert heads(DIAMOND) == [0, 1, 2, 3]
    assert heads(PAIR) == [0, 1, 2]
    fan = crew((), (0,), (1,), (1,), (3,))
    assert [segment(fan, head) for head in heads(fan)] == [[0, 1], [2], [3, 4]]


def test_what_is_there_already_is_not_waited_for() -> None:
    tasks = new_tasks(DIAMOND, batch=False, kept={0: 0, 1: 3}, given=(2,))
    assert [(new.needs, new.kept) for new in tasks] == [(0, 0), (0, 3), (0, None), (0, None)]


def test_later_tasks_go_before_the_first_ones_of_the_next_item() -> None:
    def priorities(batch: bool) -> list[int]:
        return [int(new.lane.rpartition("/")[2]) for new in new_tasks(ROW, batch=batch)]

    single, batch = priorities(False), priorities(True)
    assert single[1:] == batch[1:] == [min(batch)] * 2
    assert min(batch) < single[0] < batch[0]  # on Redis, the lower number goes first


def test_of_the_same_urgency_a_single_kickoff_goes_before_a_batch() -> None:
    def first(batch: bool, priority: Priority) -> int:
        return int(new_tasks(ONE, batch=batch, priority=priority)[0].lane.rpartition("/")[2])

    order = [first(batch, priority) for priority in ("high", "normal", "low") for batch in (False, True)]
    assert order == sorted(set(order)), "no two of them share a lane"
    later = {new_tasks(ROW, batch=True, priority=priority)[1].lane for priority in ("high", "normal", "low")}
    assert later == {"crewq/0"}, "what has begun goes on first, however urgent it is"
    assert {0, *order} == set(PRIORITY_STEPS), "each lane is a list of its own in Redis"


def test_the_store_tells_lanes_of_batches_by_their_being_even() -> None:
    assert {priority % 2 for priority in PRIORITY_BATCH.values()} == {0}
    assert {priority % 2 for priority in PRIORITY_SINGLE.values()} == {1}
    assert 0 < min(PRIORITY_BATCH.values()) <= max(PRIORITY_BATCH.values()) < 10


def chained(app: Celery, spec: CrewSpec, first: int) -> list[Any]:
    """The messages of a chain in the order in which they are worked on; Celery takes the next one from the end."""
    head: Any = chain_from(app, spec, Job(RUN, first))
    return [head, *reversed(head.options["chain"] or [])]


def test_a_task_goes_through_its_own_queue_else_its_agents_else_the_crews(app: Celery) -> None:
    painter = agent(queue="gpu")
    tasks = [task("Draw", painter), task("Print", painter, queue="press"), task("Tell")]
    for wanted, standard in (("office", "office"), (None, "crewq")):
        spec = freeze(plan(*tasks, queue=wanted), REMOTE)
        queues = ["gpu", "press", standard]
        assert [new.lane.rpartition("/")[0] for new in new_tasks(spec, batch=False)] == queues
        row = chained(app, spec, 0)  # one chain through all of them
        assert [one.options["queue"] for one in row] == queues


def test_in_embedded_mode_the_one_worker_does_all() -> None:
    spec = freeze(plan(task("Draw", queue="gpu"), queue="office"), EMBEDDED)
    assert {new.lane.rpartition("/")[0] for new in new_tasks(spec, batch=False)} == {"crewq"}


def test_jobs_that_are_published_alike_stand_together_in_their_order() -> None:
    heads = [
        Head("a", "s1", "b1"),
        Head("b", "s1", "b2"),
        Head("c", "s2", "b1"),
        Head("d", "s1", ""),
        Head("e", "s1", "b1", "low"),
    ]
    jobs = [Job("b", 0), Job("a", 0), Job("a", 1), Job("gone", 0), Job("c", 0), Job("a", 2), Job("d", 0), Job("e", 0)]
    rows = alike(jobs, heads)
    assert [str(job) for _, row in rows for job in row] == [str(job) for job in jobs if job.run != "gone"]
    assert [len(row) for _, row in rows] == [3, 1, 1, 1, 1]
    assert [head.spec for head, _ in rows] == ["s1", "s2", "s1", "s1", "s1"]


def test_a_tasks_id_can_be_told_from_its_run() -> None:
    assert task_id(RUN, 0) == task_id(RUN, 0)
    assert len({task_id(RUN, at) for at in range(20)} | {task_id(RUN[:-1] + "8", 0)}) == 21


# -- signatures --------------------------------------------------------------------------------------------


@pytest.fixture
def app() -> Iterator[Celery]:
    app = make_app(REMOTE)
    yield app
    app.close()


def test_a_message_carries_ids_and_nothing_else(app: Celery) -> None:
    secret = crew((), name="demo")
    secret = secret.model_copy(update={"tasks": (secret.tasks[0].model_copy(update={"description": "hunter2"}),)})
    message: Any = signature(app, secret, Job(RUN, 0), batch=False)
    assert message.args == (RUN, 0)
    assert message.immutable
    assert message.options["task_id"] == task_id(RUN, 0)
    assert (message.options["argsrepr"], message.options["kwargsrepr"]) == ("", "")
    assert "hunter2" not in json.dumps(message)


def test_a_chain_is_a_segment_from_the_task_on(app: Celery) -> None:
    for first in range(3):
        row = chained(app, ROW, first)
        assert [message.options["task_id"] for message in row] == [task_id(RUN, at) for at in range(first, 3)]
        assert [message.args for message in row] == [(RUN, at) for at in range(first, 3)]


def test_a_job_is_called_by_the_names_that_people_gave_and_never_by_what_it_is_to_do() -> None:
    spec = freeze(plan(task("Fire Bob", name="letter"), task("Fire Bob")), REMOTE)
    jobs = [signature(make_app(REMOTE), spec, Job(RUN, at), batch=False) for at in range(2)]
    assert [job.options["shadow"] for job in jobs] == [f"{spec.name}/letter", f"{spec.name}/task 2"]
    assert "Bob" not in json.dumps(jobs)
