"""Who may work beside whom in one worker process: a task that may be what kills workers is worked on alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Many beside each other, or one alone. Whoever wants to be alone goes first: nobody new enters meanwhile."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._wanted_alone = 0
        self._alone = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Be one of many."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._wanted_alone)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, patience: float) -> Iterator[bool]:
        """Be the only one. False: the others did not all leave within `patience` seconds, and nothing is to be done."""
        with self._changed:
            self._wanted_alone += 1
            mine = self._changed.wait_for(lambda: not self._alone and not self._inside, timeout=patience)
            self._alone = self._alone or mine
            self._wanted_alone -= 1
            self._changed.notify_all()
        try:
            yield mine
        finally:
            with self._changed:
                self._alone = self._alone and not mine
                self._changed.notify_all()


__all__ = ["Gate"]
