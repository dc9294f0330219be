"""Conditional tasks: asked in the worker about the output before them; skipped with an empty output, or done."""

from __future__ import annotations

from typing import Any

import pytest

from crewq import ConditionalTask, Crew, Run, Task, errors
from crewq.events import CallFinished, TaskSkipped
from tests.integration import crews
from tests.integration.crews import Echo, agent, scripted
from tests.integration.worker_process import WorkerProcess


def depends(first: str, *, condition: Any = crews.says_go, last: bool = False, **fields: Any) -> Crew:
    """A task with that answer, one that depends on it, and perhaps one more."""
    who, other = agent(scripted(first)), agent(Echo(), max_retry_limit=0)
    tasks = [
        Task(name="first", description="Look.", agent=who),
        ConditionalTask(name="perhaps", description="Go on.", agent=other, condition=condition, **fields),
    ]
    if last:
        tasks.append(Task(name="last", description="Write.", agent=other))
    return Crew(agents=[who, other], tasks=tasks)


def states(run: Run) -> list[str]:
    return [task.state.value for task in run.tasks]


def test_it_is_done_if_the_condition_says_so(fleet: WorkerProcess) -> None:
    run = depends("go").kickoff_async()
    assert "Go on." in run.result(20).raw
    assert states(run) == ["completed", "completed"]


def test_else_it_is_skipped_and_the_output_before_it_counts(fleet: WorkerProcess) -> None:
    run = depends("stay").kickoff_async()
    output = run.result(20)
    assert output.raw == "stay"
    assert [(task.name, task.raw, task.agent) for task in output.tasks_output] == [
        ("first", "stay", "Tester"),
        ("perhaps", "", "Tester"),
    ]
    assert states(run) == ["completed", "skipped"]
    events = list(run.events())
    assert [event.task for event in events if isinstance(event, TaskSkipped)] == [1]
    assert [event.name for event in events if isinstance(event, CallFinished) and event.task == 1] == [
        "condition tests.integration.crews:says_go"
    ]


def test_what_comes_after_a_skipped_task_goes_on_with_what_there_is(fleet: WorkerProcess) -> None:
    run = depends("stay", last=True).kickoff_async()
    said = run.result(20).raw
    assert "What is known from earlier tasks:\nstay\n\nGive the complete answer" in said
    assert states(run) == ["completed", "skipped", "completed"]


def test_it_is_asked_about_the_task_before_it_also_without_that_as_context(fleet: WorkerProcess) -> None:
    run = depends("go", context=[]).kickoff_async()
    said = run.result(20).raw
    assert "Go on." in said
    assert "What is known from earlier tasks" not in said


def test_a_replay_with_an_edited_output_decides_anew(fleet: WorkerProcess) -> None:
    work = depends("stay", context=[])
    run = work.kickoff_async()
    run.result(20)
    again = work.replay_async(run.task_ids[1], outputs={"first": "go"})
    assert "Go on." in again.result(20).raw


def test_a_condition_that_fails_is_named(fleet: WorkerProcess) -> None:
    with pytest.raises(
        errors.RunFailed, match=r"The condition tests.integration.crews:broken_check failed: it raised KeyError"
    ):
        depends("go", condition=crews.broken_check).kickoff()


def no_output() -> bool:
    return True


def test_where_it_cannot_stand_is_said_at_kickoff(fleet: WorkerProcess) -> None:
    work = depends("go")
    with pytest.raises(
        errors.ConditionMisplaced, match=r"'perhaps' of the crew 'crew' is a ConditionalTask, and it is the first"
    ):
        Crew(agents=work.agents, tasks=work.tasks[1:]).kickoff()
    with pytest.raises(errors.ConditionMisplaced, match="it has async_execution"):
        depends("go", async_execution=True).kickoff()
    with pytest.raises(errors.NotPortable, match="The condition of the task 'perhaps' cannot travel"):
        depends("go", condition=lambda output: True).kickoff()
    with pytest.raises(errors.InvalidField, match="a condition takes one argument"):
        depends("go", condition=no_output)
