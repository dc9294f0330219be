"""B2: 200 items of three tasks on 100 slots and a slow model: how near the makespan is to the ideal, and the first result.

Bare Celery and those peers that are installed (`./run bench peers`) do the same, on as many slots and processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks._crews import three_tasks
from benchmarks._peers import CREWAI_AT_ONCE, CREWAI_ON_THREADS, DBOS, DRAMATIQ, Peer, Spent, at_work
from benchmarks._report import Row, absent, at_least, at_most, plain
from benchmarks._stage import seconds_of, stage, worker
from benchmarks._work import bare_spent, crewq_runs

SLOTS, ITEMS, TASKS = 100, 200, 3
GOALS = {1.0: 90.0, 10.0: 98.0}
PEERS = (DRAMATIQ, DBOS, CREWAI_ON_THREADS, CREWAI_AT_ONCE)
PROCESSES = os.cpu_count() or 1  # one for each core


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Time one batch at each latency; with `full`, the others too where the model takes long."""
    slots, items = (4, 4) if tiny else (SLOTS, ITEMS)
    rows: list[Row] = []
    for latency, goal in {0.05: 1.0}.items() if tiny else GOALS.items():
        with stage(latency):
            with _workers("workers.app", slots):
                rows += _on_crewq(latency, goal, slots, items)
            if latency < 2 or full:
                rows += _on_bare(latency, slots, items)
                rows += [row for peer in PEERS for row in _on(peer, latency, slots, items, full=full)]
    return rows


@contextmanager
def _workers(app: str, slots: int, *options: str) -> Iterator[None]:
    with ExitStack() as workers:
        for at in range(PROCESSES):
            workers.enter_context(worker(app, *options, "-c", str(slots // PROCESSES), name=f"{app}{at}"))
        yield


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
    what = f"{items} items, {latency:g} s model"
    ends_first = {"first s": first, "one run s": alone}
    return [
        at_least("B2", f"{what}: of the ideal makespan", 100 * ideal / makespan, goal, "%", **numbers),
        at_most("B2", f"{what}: first result, against one run", first / alone, 1.15, **ends_first),
    ]


def _on_bare(latency: float, slots: int, items: int) -> list[Row]:
    with _workers("benchmarks._bare", slots, "-P", "threads"):
        bare_spent(slots)
        return [_shown("bare Celery's threads", latency, slots, items, bare_spent(items))]


def _on(peer: Peer, latency: float, slots: int, items: int, *, full: bool) -> list[Row]:
    """CrewAI has no more than a few calls in flight: a quarter of the items says as much, and a slow model no more."""
    warm = slots
    if peer is CREWAI_AT_ONCE:
        if latency > 1:
            return []
        warm, items = PROCESSES, items if full else items // 4
    if not peer.python:
        return [absent("B2", _what(peer.name, latency, items), peer.name)]
    with at_work(peer, processes=PROCESSES, slots=slots) as runs:
        runs(warm)
        return [_shown(peer.name, latency, slots, items, runs(items))]


def _shown(name: str, latency: float, slots: int, items: int, spent: Spent) -> Row:
    share = 100 * _ideal(latency, slots, items) / spent.seconds
    numbers = {"makespan s": spent.seconds, "first s": spent.first}
    return plain("B2", _what(name, latency, items), share, "%", **numbers)


def _what(name: str, latency: float, items: int) -> str:
    return f"{items} items, {latency:g} s model, on {name}: of the ideal makespan"


def _ideal(latency: float, slots: int, items: int) -> float:
    return TASKS * items * latency / slots
