"""How a peer's program is asked: a number of runs on each line that comes in, and what they took on each that goes out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable


def serve(work: Callable[[int], Iterable[object]]) -> None:
    """Do so many runs for each line, until there are no more.

    Args:
        work: does so many runs and gives their results, each when the caller has it.
    """
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    _silence()
    for line in orders:
        began, cpu, first = time.perf_counter(), time.process_time(), 0.0
        for _ in work(int(line)):
            first = first or time.perf_counter() - began
        spent = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "first": first}
        print(json.dumps(spent), file=answers, flush=True)


def _silence() -> None:
    """What a library prints is no answer, and one that asks the user something finds nobody."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
