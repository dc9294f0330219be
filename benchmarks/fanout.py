"""B2: 200 items of three tasks on 100 slots and a slow model: how near the makespan is to the ideal, and the first result."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

from benchmarks._crews import three_tasks
from benchmarks._report import Row, at_least, at_most
from benchmarks._stage import seconds_of, stage, worker
from benchmarks._work import bare_chains, crewq_runs

SLOTS, ITEMS, TASKS = 100, 200, 3
GOALS = {1.0: 90.0, 10.0: 98.0}


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Time one batch at each latency; with `full`, on bare Celery too where the model takes long."""
    slots, items = (4, 4) if tiny else (SLOTS, ITEMS)
    rows: list[Row] = []
    for latency, goal in {0.05: 1.0}.items() if tiny else GOALS.items():
        with stage(latency), ExitStack() as workers:
            processes = os.cpu_count() or 1  # one for each core
            for at in range(processes):
                workers.enter_context(worker("workers.app", "-c", str(slots // processes), name=f"crewq{at}"))
            rows += _on_crewq(latency, goal, slots, items)
        if latency < 2 or full:
            rows.append(_on_bare(latency, slots, items))
    return rows


def _on_crewq(latency: float, goal: float, slots: int, items: int) -> list[Row]:
    crewq_runs(slots)  # warm: connections, litellm's first call
    alone = seconds_of(lambda: crewq_runs(1))
    began = time.perf_counter()
    batch = three_tasks().kickoff_for_each_async([{"topic": str(at)} for at in range(items)])
    ends = iter(batch.as_completed())
    next(ends)
    first = time.perf_counter() - began
    batch.results()
    makespan = time.perf_counter() - began
    ideal = _ideal(latency, slots, items)
    numbers = {"makespan s": makespan, "ideal s": ideal}
    return [
        at_least(
            "B2",
            f"{items} items, {latency:g} s model: of the ideal makespan",
            100 * ideal / makespan,
            goal,
            "%",
            **numbers,
        ),
        at_most(
            "B2",
            f"{items} items, {latency:g} s model: first result, against one run",
            first / alone,
            1.15,
            **{"first s": first, "one run s": alone},
        ),
    ]


def _on_bare(latency: float, slots: int, items: int) -> Row:
    with stage(latency), worker("benchmarks._bare", "-P", "threads", "-c", str(slots), name="bare"):
        bare_chains(slots)
        makespan = seconds_of(lambda: bare_chains(items))
    share = 100 * _ideal(latency, slots, items) / makespan
    numbers = {"value": share, "makespan s": makespan}
    return Row("B2", f"the same on bare Celery, {slots} threads", f"{share:.0f}%", numbers=numbers)


def _ideal(latency: float, slots: int, items: int) -> float:
    return TASKS * items * latency / slots
