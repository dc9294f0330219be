"""How the tasks of a crew stand on each other: which outputs each is given, and which tasks it waits for."""

from __future__ import annotations

from collections.abc import Sequence

from crewq import errors
from crewq.members import NOT_SPECIFIED, Task


class Dependencies:
    """Which tasks a task is given, and which it waits for.

    A task that is not async waits for all before it. An async one waits for the last that is not async before it (and
    so for all before that), and for what it names; by default it is given the outputs of what it waits for.

    Args:
        crew: the name of the crew, for an error.
        tasks: its tasks, in order.
    """

    def __init__(self, crew: str, tasks: Sequence[Task]) -> None:
        self._crew = crew
        self._tasks = tasks
        self._places = {id(task): at for at, task in enumerate(tasks)}

    def context(self, at: int) -> tuple[int, ...]:
        """The positions of the tasks whose outputs a task is given.

        Raises:
            ContextNotInCrew, ContextComesLater: it names one that cannot be.
        """
        named = self._tasks[at].context
        if named is NOT_SPECIFIED:
            return tuple(range(self._joined(at)))
        return tuple(self._place(at, task) for task in named or ())

    def after(self, at: int) -> tuple[int, ...]:
        """The positions of the tasks that it waits for."""
        joined = self._joined(at)
        pending = range(self._last_sync(joined) + 1, joined)
        direct = set(pending) or ({joined - 1} if joined else set())
        return tuple(sorted(direct | {other for other in self.context(at) if other >= joined}))

    def _joined(self, at: int) -> int:
        """How many of the first tasks have all ended before task `at` starts."""
        return self._last_sync(at) + 1 if self._tasks[at].async_execution else at

    def _last_sync(self, before: int) -> int:
        return next((at for at in reversed(range(before)) if not self._tasks[at].async_execution), -1)

    def _place(self, at: int, named: Task) -> int:
        place = self._places.get(id(named))
        task = called(self._tasks[at], at)
        if place is None:
            raise errors.ContextNotInCrew(crew=self._crew, task=task, context=repr(named.description[:60]))
        if place >= at:
            raise errors.ContextComesLater(crew=self._crew, task=task, context=called(named, place))
        return place


def called(task: Task, at: int) -> str:
    """What an error calls a task, by its position."""
    return f"{task.name!r}" if task.name else f"{at + 1} ({' '.join(task.description.split()[:6])!r})"


__all__ = ["Dependencies", "called"]
