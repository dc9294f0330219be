"""To wait for a fact instead of a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(fact: Callable[[], T], seconds: float = 10.0) -> T:
    """What `fact` answers, as soon as that is true; a failure after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := fact()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {fact}"
        time.sleep(0.005)
    return answer
