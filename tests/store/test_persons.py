"""What waits for a person: a task set aside, the question that it asks, and the answer, each counted once."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.store import Call, Claim, Job
from tests.store.world import ONE, PAIR, World, output


def question(run: str, index: int = 0, digest: str = "draft", ordinal: int = 0, attempt: int = 1) -> Call:
    return Call(Job(run, index), attempt, "person", "person", digest, ordinal)


def ask(world: World, run: str, index: int = 0, **facts: int) -> tuple[Claim, Call]:
    """Claim a task, and set it aside with a question."""
    claim = world.claim(run, index)
    call = question(run, index, attempt=claim.attempt, **facts)
    assert world.runs.pause(call.job, claim.attempt, "Look at it.", call.id, output("draft"))
    return claim, call


def test_a_question_holds_no_worker_and_pauses_the_run(world: World) -> None:
    run = world.accept(ONE)
    ask(world, run)
    task = world.task(run)
    assert (world.read(run).state.value, task.state.value) == ("paused", "paused")
    assert (task.paused_for, task.draft, task.worker) == ("Look at it.", output("draft"), "w1")
    world.clock.forward(1_000_000)
    assert world.sweep().jobs == ()
    assert world.events(run)[-2:] == ["task_paused", "run_paused"]


def test_the_answer_is_in_the_journal_and_the_task_is_ready(world: World) -> None:
    run = world.accept(ONE)
    _, call = ask(world, run)
    assert world.store.journal.find(call) is None
    assert world.runs.answer(Job(run, 0), call.id, "shorter") == (Job(run, 0),)
    assert world.store.journal.find(call) == "shorter"
    assert world.events(run)[-2:] == ["run_resumed", "task_requeued"]
    assert (world.task(run).question, world.task(run).draft, world.task(run).paused_for) == (None, None, None)
    assert world.claim(run).attempt == 2


def test_an_empty_answer_is_an_answer(world: World) -> None:
    run = world.accept(ONE)
    _, call = ask(world, run)
    world.runs.answer(Job(run, 0), call.id, "")
    assert world.store.journal.find(call) == ""


def test_any_number_of_questions_is_no_strike_against_a_task(world: World) -> None:
    run = world.accept(ONE)
    for ordinal in range(5):
        _, call = ask(world, run, ordinal=ordinal)
        world.runs.answer(Job(run, 0), call.id, "again")
    world.claim(run)
    world.clock.forward(1_000)
    assert world.sweep(max_attempts=2).jobs == (Job(run, 0),), "the first worker that dies is not the end"


def test_only_who_has_the_task_may_set_it_aside(world: World) -> None:
    run = world.accept(ONE)
    claim, call = ask(world, run)
    assert world.runs.pause(call.job, claim.attempt, "Again.", call.id, output("other")) is False
    assert world.task(run).draft == output("draft")


def test_a_question_is_answered_once(world: World) -> None:
    run = world.accept(ONE)
    _, call = ask(world, run)
    world.runs.answer(Job(run, 0), call.id, "first")
    with pytest.raises(errors.NotNow, match="not waiting for that answer"):
        world.runs.answer(Job(run, 0), call.id, "second")
    _, later = ask(world, run, ordinal=1)
    with pytest.raises(errors.NotNow):
        world.runs.answer(Job(run, 0), call.id, "late")
    assert world.store.journal.find(call) == "first"
    assert world.store.journal.find(later) is None
    with pytest.raises(errors.UnknownId):
        world.runs.answer(Job("00000000-0000-4000-8000-000000000000", 0), call.id, "nobody")


def test_a_run_is_paused_only_when_nothing_else_of_it_is_under_way(world: World) -> None:
    run = world.accept(PAIR)
    _, first = ask(world, run, 0)
    assert world.read(run).state.value == "running"
    _, second = ask(world, run, 1)
    assert world.read(run).state.value == "paused"
    world.runs.answer(Job(run, 1), second.id, "ok")
    world.carry_out(run, 1)
    assert world.read(run).state.value == "paused"
    world.runs.answer(Job(run, 0), first.id, "ok")
    world.carry_out(run, 0, 2)
    assert world.read(run).state.value == "completed"


def test_the_deadline_waits_while_the_run_is_paused(world: World) -> None:
    run = world.accept(ONE, deadline=60.0)
    before = world.claim(run)
    call = question(run)
    world.runs.pause(call.job, before.attempt, "Look at it.", call.id, output("draft"))
    world.clock.forward(3600)
    world.runs.answer(Job(run, 0), call.id, "ok")
    after = world.claim(run)
    assert after.seconds_left == before.seconds_left == 60


def test_a_resume_answers_no_question(world: World) -> None:
    run = world.accept(ONE)
    ask(world, run)
    with pytest.raises(errors.NotNow, match="waiting for a person"):
        world.runs.resume(run, "skip")


def test_a_question_that_was_cancelled_is_asked_again_after_a_resume(world: World) -> None:
    run = world.accept(ONE)
    _, call = ask(world, run)
    world.runs.cancel(run)
    with pytest.raises(errors.NotNow):
        world.runs.answer(Job(run, 0), call.id, "late")
    assert world.runs.resume(run) == (Job(run, 0),)
    assert world.task(run).draft is None
    ask(world, run)


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (errors.JobBroken(reason="r"), ["model:m:0", "tool:guardrail-g:0", "tool:t:0"]),
        (errors.AnswerUnusable(model="m", tries=3, reason="r"), ["tool:guardrail-g:0", "tool:t:0"]),
        (errors.FunctionBroken(kind="guardrail", function="f", reason="r"), ["model:m:0", "tool:t:0"]),
        (errors.GuardrailFailed(guardrail="g", tries=3, message="r"), ["tool:t:0"]),
    ],
)
def test_a_resume_asks_again_for_what_could_not_be_used(
    world: World, error: errors.CrewqError, kept: list[str]
) -> None:
    run = world.accept(ONE)
    claim = world.claim(run)
    for kind, digest in (("model", "m"), ("tool", "guardrail-g"), ("tool", "t")):
        call = Call(Job(run, 0), claim.attempt, kind, "name", digest, 0)  # type: ignore[arg-type]
        world.store.journal.begin(call, repeatable=True)
        world.store.journal.finish(call, "answer", seconds=0.1)
    world.runs.fail(Job(run, 0), claim.attempt, error)
    world.runs.resume(run)
    fields = world.client.hkeys(f"{{t}}:run:{run}:journal")
    assert sorted(field.removeprefix("0:") for field in fields) == kept
