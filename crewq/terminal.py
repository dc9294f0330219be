"""The person at the terminal of a kickoff: is shown what the tasks of the run ask, and answers on the spot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from crewq import errors
from crewq.batch import Batch
from crewq.events import TaskPaused
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


def attend(run: Run) -> CrewOutput:
    """Wait for the end of a run, and have the person here answer what its tasks ask; at the end of the input, whoever else
    does.

    Raises:
        RunFailed, RunCancelled: that is how it ended.
    """
    try:
        for event in run.events():
            if isinstance(event, TaskPaused):
                _ask(run, event.reason)
    except EOFError:
        sys.stdout.write(f"\nThe run waits for an answer: crewq answer {run.id}\n")
    return run.result()


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


__all__ = ["ASK", "attend", "somebody_is_there", "told", "watched"]
