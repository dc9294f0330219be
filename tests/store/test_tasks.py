"""The life of a task: claim, lease, output, failure, another try, cancel."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.states import RunState
from crewq.store import Job
from tests.store.world import DIAMOND, LEASE, ONE, PAIR, ROW, TERMINAL, World, crew, output

PROBLEM = errors.JobBroken(reason="boom")


# -- start -------------------------------------------------------------------------------------------------


def test_a_claim_has_all_that_the_work_needs(world: World) -> None:
    run = world.accept(DIAMOND, inputs={"a": 1}, deadline=60.0)
    world.carry_out(run, 0, 1, 2)
    claim = world.claim(run, 3)
    assert (claim.word, claim.attempt, claim.tries, claim.spec) == ("yours", 1, 0, DIAMOND.digest())
    assert {at: given.raw for at, given in claim.context.items()} == {1: "out 1", 2: "out 2"}
    assert claim.created.timestamp() * 1000 == claim.now_ms == world.clock.ms
    assert claim.seconds_left == 60


@pytest.mark.parametrize("forged", ["soon", "nan", "-1e300", "9" * 30, ""])
def test_a_time_that_is_none_is_the_failure_of_its_task(world: World, forged: str) -> None:
    """The run ends all the same, and sweeps go on."""
    run = world.accept(ONE, deadline=60.0)
    world.client.hset(f"{{t}}:run:{run}", mapping={"created": forged, "deadline": "soon"})
    claim = world.claim(run)
    for time in ("created", "seconds_left"):
        with pytest.raises(errors.RecordBroken, match=f"run:{run}"):
            getattr(claim, time)
    world.runs.fail(Job(run, 0), claim.attempt, errors.RecordBroken(where=f"run:{run}", reason="it holds no time."))
    assert world.client.hget(f"{{t}}:run:{run}", "state") == "failed"
    assert world.sweep().jobs == ()


def test_the_same_claim_is_answered_the_same(world: World) -> None:
    run = world.accept(ONE)
    first, again = (world.claim(run, claim="me") for _ in range(2))
    assert first == again
    assert world.events(run).count("task_started") == 1


def test_a_second_worker_is_told_that_the_task_is_taken(world: World) -> None:
    run = world.accept(ONE)
    world.claim(run)
    assert world.claim(run).word == "busy"
    assert world.task(run).attempt == 1


def test_a_task_does_not_start_before_what_it_stands_on(world: World) -> None:
    run = world.accept(DIAMOND)
    assert world.claim(run, 3).word == "early"
    world.carry_out(run, 0, 1)
    assert world.claim(run, 3).word == "early"
    world.carry_out(run, 2)
    assert world.claim(run, 3).word == "yours"


def test_a_task_that_is_done_is_not_done_again(world: World) -> None:
    run = world.accept(ROW)
    world.carry_out(run, 0)
    assert world.claim(run, 0).word == "done"


def test_nothing_starts_in_a_run_that_has_ended(world: World) -> None:
    run = world.accept(PAIR)
    world.runs.cancel(run)
    assert [world.claim(run, at).word for at in range(3)] == ["stop"] * 3


def test_a_run_that_is_gone_is_said_to_be(world: World) -> None:
    run = world.accept(ONE)
    world.carry_out(run, 0)
    world.runs.delete(run)
    assert world.claim(run).word == "gone"
    assert world.claim("never").word == "gone"


# -- leases ------------------------------------------------------------------------------------------------


def test_a_renewed_lease_does_not_expire(world: World) -> None:
    run = world.accept(ONE)
    held = [(Job(run, 0), world.claim(run).attempt)]
    for _ in range(5):
        world.clock.forward(LEASE - 1)
        assert world.runs.renew(held, LEASE) == {}
        assert world.sweep().jobs == ()
    assert world.states(run) == ["running"]


def test_a_lease_is_refused_to_who_lost_it(world: World) -> None:
    run, other = world.accept(ONE), world.accept(ONE)
    lost, kept = (Job(run, 0), world.claim(run).attempt), (Job(other, 0), world.claim(other).attempt)
    world.clock.forward(LEASE + 1)
    world.runs.renew([kept], LEASE)
    world.sweep()
    assert world.runs.renew([lost, kept], LEASE) == {lost: "queued"}
    world.claim(run)
    assert world.runs.renew([lost, kept], LEASE) == {lost: "running"}
    world.runs.cancel(run)
    assert world.runs.renew([lost, kept], LEASE) == {lost: "cancelled"}
    world.runs.delete(run)
    assert world.runs.renew([lost, kept], LEASE) == {lost: "gone"}


def test_nothing_is_asked_for_nothing(world: World) -> None:
    assert world.runs.renew([], LEASE) == {}


# -- complete ----------------------------------------------------------------------------------------------


def test_an_output_is_recorded_once(world: World) -> None:
    run = world.accept(ONE)
    attempt = world.claim(run).attempt
    assert world.runs.complete(Job(run, 0), attempt, output("first")).word == "recorded"
    again = world.runs.complete(Job(run, 0), attempt, output("second"))
    assert (again.word, again.run_state, again.ready) == ("again", "completed", ())
    assert world.task(run).output == output("first")
    assert world.events(run).count("task_completed") == 1


def test_a_stale_attempt_may_not_record(world: World) -> None:
    run = world.accept(ONE)
    stale = world.claim(run).attempt
    world.clock.forward(LEASE + 1)
    world.sweep()
    assert world.runs.complete(Job(run, 0), stale, output()).word == "refused"
    fresh = world.claim(run).attempt
    assert world.runs.complete(Job(run, 0), stale, output("stale")).word == "refused"
    assert world.runs.fail(Job(run, 0), stale, PROBLEM).word == "refused"
    assert not world.runs.requeue(Job(run, 0), stale, "late")
    assert world.runs.complete(Job(run, 0), fresh, output("fresh")).word == "recorded"
    assert world.task(run).output == output("fresh")


def test_the_one_who_completes_is_told_what_became_ready(world: World) -> None:
    run = world.accept(DIAMOND)
    claim = world.claim(run, 0)
    assert world.runs.complete(Job(run, 0), claim.attempt, output()).ready == (Job(run, 1), Job(run, 2))
    first, second = world.claim(run, 1), world.claim(run, 2)
    assert world.runs.complete(Job(run, 2), second.attempt, output()).ready == ()
    assert world.runs.complete(Job(run, 1), first.attempt, output()).ready == (Job(run, 3),)
    last = world.runs.complete(Job(run, 3), world.claim(run, 3).attempt, output())
    assert (last.run_state, last.ready) == ("completed", ())


def test_a_skipped_task_wakes_the_next(world: World) -> None:
    run = world.accept(ROW)
    ending = world.runs.complete(Job(run, 0), world.claim(run).attempt, output(""), skipped=True)
    assert ending.ready == (Job(run, 1),)
    assert world.claim(run, 0).word == "done"
    assert "task_skipped" in world.events(run)


def test_the_events_of_a_run_tell_all_of_it(world: World) -> None:
    run = world.accept(crew((), (0,)))
    world.carry_out(run, 0, 1)
    assert world.events(run) == [
        "run_queued",
        "run_started",
        "task_started",
        "task_completed",
        "task_started",
        "task_completed",
        "run_completed",
    ]
    record = world.read(run)
    assert (record.started, record.ended) == (record.tasks[0].started, record.tasks[1].ended)


# -- fail --------------------------------------------------------------------------------------------------


def test_a_failure_ends_the_run_and_cancels_what_has_not_begun(world: World) -> None:
    run = world.accept(ROW)
    ending = world.runs.fail(Job(run, 0), world.claim(run).attempt, PROBLEM)
    assert (ending.word, ending.run_state) == ("recorded", "failed")
    record = world.read(run)
    assert world.states(run) == ["failed", "cancelled", "cancelled"]
    assert (record.failed_task, str(record.error), str(record.tasks[0].error)) == (0, "boom", "boom")
    assert world.events(run)[-2:] == ["task_failed", "run_failed"]


def test_a_task_under_way_may_finish_before_a_failed_run_ends(world: World) -> None:
    run = world.accept(PAIR)
    bad, good = world.claim(run, 0), world.claim(run, 1)
    ending = world.runs.fail(Job(run, 0), bad.attempt, PROBLEM)
    assert ending.run_state == "running"
    assert world.runs.renew([(Job(run, 1), good.attempt)], LEASE) == {}
    ending = world.runs.complete(Job(run, 1), good.attempt, output("paid for"))
    assert (ending.word, ending.run_state, ending.ready) == ("recorded", "failed", ())
    assert world.states(run) == ["failed", "completed", "cancelled"]
    assert [kind for kind in world.events(run) if kind in TERMINAL] == ["run_failed"]


def test_the_first_failure_is_the_runs(world: World) -> None:
    run = world.accept(PAIR)
    claims = [world.claim(run, at) for at in range(2)]
    for at in (1, 0):
        world.runs.fail(Job(run, at), claims[at].attempt, errors.JobBroken(reason=f"boom {at}"))
    record = world.read(run)
    assert (record.failed_task, str(record.error)) == (1, "boom 1")
    assert [str(task.error) for task in record.tasks[:2]] == ["boom 0", "boom 1"]


# -- another try -------------------------------------------------------------------------------------------


def test_a_task_tried_again_waits_for_its_time(world: World) -> None:
    run = world.accept(ONE)
    assert world.runs.requeue(Job(run, 0), world.claim(run).attempt, "rate limit", delay=2.5, counts=True)
    assert world.claim(run).word == "early"
    world.clock.forward(2.4)
    assert world.sweep().jobs == ()
    world.clock.forward(0.1)
    assert world.sweep().jobs == (Job(run, 0),)
    claim = world.claim(run)
    assert (claim.word, claim.attempt, claim.tries) == ("yours", 2, 1)


@pytest.mark.parametrize("delay", [0.4, 1.0, 2.5])
def test_the_event_of_another_try_tells_when(world: World, delay: float) -> None:
    run = world.accept(ONE)
    world.runs.requeue(Job(run, 0), world.claim(run).attempt, "why", delay=delay)
    event = world.runs.events(run, "0-0")[-1]
    assert (event.type, event.reason, event.delay) == ("task_requeued", "why", delay)  # type: ignore[attr-defined]


def test_a_task_handed_back_is_ready_at_once_and_costs_no_try(world: World) -> None:
    run = world.accept(ONE)
    for at in range(10):
        claim = world.claim(run)
        assert (claim.word, claim.attempt, claim.tries) == ("yours", at + 1, 0)
        world.runs.requeue(Job(run, 0), claim.attempt, "stopping")
    world.clock.forward(LEASE + 1)
    world.sweep()
    assert world.states(run) == ["queued"]


# -- cancel ------------------------------------------------------------------------------------------------


def test_a_cancelled_run_ends_at_once(world: World) -> None:
    run = world.accept(PAIR)
    attempt = world.claim(run, 0).attempt
    assert world.runs.cancel(run) == (True, ())
    assert world.runs.cancel(run) == (False, ())
    assert world.read(run).state is RunState.CANCELLED
    assert world.runs.complete(Job(run, 0), attempt, output()).word == "refused"
    assert world.runs.fail(Job(run, 0), attempt, PROBLEM).word == "refused"
    assert [kind for kind in world.events(run) if kind in TERMINAL] == ["run_cancelled"]
    world.clock.forward(1000)
    assert world.sweep().jobs == ()


def test_what_has_its_output_keeps_it_through_a_cancel(world: World) -> None:
    run = world.accept(ROW)
    world.carry_out(run, 0)
    world.runs.cancel(run)
    assert world.states(run) == ["completed", "cancelled", "cancelled"]
    assert world.runs.cancel(run) == (False, ())


def test_a_run_that_ended_cannot_be_cancelled(world: World) -> None:
    run = world.accept(ONE)
    world.carry_out(run, 0)
    assert world.runs.cancel(run) == (False, ())
    assert world.read(run).state is RunState.COMPLETED


# -- warnings ----------------------------------------------------------------------------------------------


def test_a_warning_is_noted_beside_the_task(world: World) -> None:
    run = world.accept(ONE)
    world.runs.warn(Job(run, 0), "the callback failed")
    event = world.runs.events(run, "0-0")[-1]
    assert (event.type, event.task, event.reason) == ("task_warned", 0, "the callback failed")  # type: ignore[attr-defined]
    assert world.states(run) == ["queued"]


def test_a_warning_about_a_run_that_is_gone_leaves_nothing_behind(world: World) -> None:
    run = world.accept(ONE)
    world.carry_out(run, 0)
    world.runs.delete(run)
    world.runs.warn(Job(run, 0), "late")
    assert [key for key in world.all_keys() if run in key] == []
