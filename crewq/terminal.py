"""The person at a kickoff: is told what happens in a run that is verbose, and is asked at the terminal what its tasks ask."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator
from typing import Any

from crewq import errors
from crewq.batch import Batch
from crewq.events import (
    CallFinished,
    Event,
    TaskCompleted,
    TaskFailed,
    TaskPaused,
    TaskRequeued,
    TaskSkipped,
    TaskStarted,
    TaskWarned,
)
from crewq.outputs import CrewOutput
from crewq.run import Run
from crewq.store import TaskRecord

ASK = "Press Enter if that will do, or say what to change: "


def somebody_is_there() -> bool:
    """Whether this process talks with a person: what it reads and what it writes is a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def watched(handle: Run | Batch, wait: Callable[[], Any]) -> Any:
    """Wait, and say where to find it again if the person at the keyboard stops waiting."""
    try:
        return wait()
    except KeyboardInterrupt:
        sys.stderr.write(f"\nThe {handle.kind} goes on without you. Back to it: crewq watch {handle.id}\n")
        raise


def attend(run: Run, *, asks: bool = True, told_of: Container[int] = ()) -> CrewOutput:
    """Wait for the end of a run.

    Args:
        run: the run.
        asks: have the person here answer what its tasks ask; at the end of the input, whoever else does.
        told_of: the positions of the tasks of which it is told what happens.

    Raises:
        RunFailed, RunCancelled: that is how it ended.
    """
    teller = Teller(run, told_of)
    try:
        for event in run.events():
            sys.stdout.writelines(f"{line}\n" for line in teller.lines(event))
            sys.stdout.flush()
            if asks and isinstance(event, TaskPaused):
                _ask(run, event.reason)
    except EOFError:
        sys.stdout.write(f"\nThe run waits for an answer: crewq answer {run.id}\n")
    except errors.StoreError:
        if asks:
            raise
        # What was only to be told is not worth the run's output, which can be waited for longer.
    return run.result()


class Teller:
    """Tells what happens in some tasks of a run, a line for each thing.

    Args:
        run: the run.
        tasks: their positions.
    """

    def __init__(self, run: Run, tasks: Container[int]) -> None:
        self._run = run
        self._tasks = tasks
        self._names = [task.name for task in run.tasks]

    def lines(self, event: Event) -> Iterator[str]:
        """What there is to tell of an event."""
        if event.task is None or event.task not in self._tasks:
            return
        begin = f"task {event.task + 1}/{len(self._names)} {self._names[event.task]}:"
        if isinstance(event, TaskStarted):
            yield f"{begin} begun" if event.attempt == 1 else f"{begin} begun again, attempt {event.attempt}"
        elif isinstance(event, CallFinished):
            did = "answered" if event.kind == "model" else "was used"
            used = f", {event.usage.total_tokens:,} tokens" if event.usage else ""
            how = "kept from before" if event.reused else f"{event.seconds:.1f} s{used}"
            yield f"{begin} {event.kind} {event.name} {did} ({how})"
        elif isinstance(event, TaskCompleted):
            output = self._run.tasks[event.task].output
            yield f"{begin} completed{f' by {output.agent}' if output else ''}"
            yield from (f"    {line}" for line in str(output or "").splitlines())
        elif isinstance(event, (TaskPaused, TaskRequeued, TaskWarned)):
            yield f"{begin} {event.type.removeprefix('task_')}: {event.reason}"
        elif isinstance(event, (TaskFailed, TaskSkipped)):
            yield f"{begin} {event.type.removeprefix('task_')}"


def _ask(run: Run, reason: str) -> None:
    questions = run.questions()
    if not questions:
        sys.stdout.write(f"\nThe run {run.id} is paused. {reason}\n")
    for task in questions:
        said = input(f"\n{told(task)}\n{ASK}")
        try:
            run.answer(said, task.id)
        except errors.NotNow as late:
            sys.stdout.write(f"{late}\n")


def told(task: TaskRecord) -> str:
    """The answer that a task asks about, and whose it is."""
    draft = task.draft
    return f"The task {task.name!r} has this answer{f' by {draft.agent}' if draft else ''}:\n\n{draft}\n"


__all__ = ["ASK", "Teller", "attend", "somebody_is_there", "told", "watched"]
