"""What a fault is, and what several of them need."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TypeAlias

from tests.chaos.stage import LEASE

# Does its damage, yields the seconds until it goes on, and mends what it must. One that finds nothing to hit raises
# `NoTarget`, and is not counted.
Fault: TypeAlias = Generator[float, None, None]

TICK = 0.05  # seconds between two looks at something
LONG = 2 * LEASE + 0.5  # seconds after which nobody can still have a lease


class Tail:
    """The lines that come to a file from now on. It is open only while it is read: a fault may be left in the middle."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = path.stat().st_size

    def tell(self, *words: str) -> bool:
        """Whether a new line has all these words."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        return any(all(word.encode() in line for word in words) for line in whole.splitlines())


__all__ = ["LONG", "TICK", "Fault", "Tail"]
