"""B3: many runs of three tasks through one worker process, against bare Celery chains with the same litellm calls.

Then with one worker process a core, against those peers that are installed (`./run bench peers`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from benchmarks._peers import CREWAI, CREWAI_ON_CELERY, DBOS, DRAMATIQ, Peer, Spent, at_work
from benchmarks._report import Row, absent, at_least, at_most, interleaved, median, plain, ratio
from benchmarks._stage import Process, stage, worker
from benchmarks._work import bare_chains, crewq_runs, crewq_spent, timed

SLOTS = 50
TASKS = 3  # of each run
OF_A_TASK = "commands of workers to Redis for a task with one call"
PEERS = (CREWAI, CREWAI_ON_CELERY, DRAMATIQ, DBOS)


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Time many runs, in turn, and count what they cost."""
    items, repeats = (5, 1) if tiny else (300, 5 if full else 3)
    return [*_against_bare_celery(items, repeats), *_against_peers(items, repeats)]


# -- one worker process -----------------------------------------------------------------------------------------------


def _against_bare_celery(items: int, repeats: int) -> list[Row]:
    with (
        stage(latency=0.0) as found,
        worker("workers.app", "-c", str(SLOTS)) as ours,
        worker("benchmarks._bare", "-P", "threads", "-c", str(SLOTS), name="bare") as theirs,
    ):
        few = min(items, 20)
        interleaved(1, timed(crewq_runs, few), timed(bare_chains, few))
        pairs = interleaved(repeats, timed(crewq_runs, items), timed(bare_chains, items))
        costs = interleaved(
            repeats, lambda: _cpu_of(ours, crewq_runs, items), lambda: _cpu_of(theirs, bare_chains, items)
        )
        some = min(items, 100)
        asked = [found.asked_by_workers(lambda work=work: work(some)) for work in (crewq_runs, bare_chains)]
    rates = [TASKS * items / median(seconds) for seconds in pairs]
    cpu = [1000 * median(seconds) / (TASKS * items) for seconds in costs]
    commands = [one.total() / (TASKS * some) for one in asked]
    scripts = asked[0]["evalsha"] / (TASKS * some)
    numbers = {"crewq a s": rates[0], "bare a s": rates[1]}
    spent = {"crewq ms": cpu[0], "bare ms": cpu[1]}
    counted = {"crewq": commands[0], "bare": commands[1]}
    return [
        at_least("B3", "tasks a second, against bare Celery", ratio(pairs[1], pairs[0]), 0.8, **numbers),
        at_most("B3", "CPU of the worker, against bare Celery", ratio(*costs), 1.25, **spent),
        at_most("B3", f"{OF_A_TASK}, beyond bare Celery's", commands[0] - commands[1], 8, "commands", **counted),
        at_most("B3", f"{OF_A_TASK}: scripts of crewq's own", scripts, 8, "scripts"),
    ]


def _cpu_of(process: Process, work: Callable[[int], None], items: int) -> float:
    before = process.cpu
    work(items)
    return process.cpu - before


# -- one worker process a core ----------------------------------------------------------------------------------------


def _against_peers(items: int, repeats: int) -> list[Row]:
    processes = os.cpu_count() or 1
    rows: list[Row] = []
    with stage(latency=0.0), ExitStack() as workers:
        ours = [
            workers.enter_context(worker("workers.app", "-c", str(SLOTS // processes), name=f"crewq{at}"))
            for at in range(processes)
        ]
        crewq_runs(min(items, 20))
        for peer in PEERS:
            if peer.python:
                pairs = _pairs(peer, ours, items, repeats)
                rows += _rows(peer, pairs, items)
            else:
                rows += [absent("B3", _rate_of(peer), peer.name), absent("B3", _cost_of(peer), peer.name)]
    return rows


def _pairs(peer: Peer, ours: Sequence[Process], items: int, repeats: int) -> list[tuple[Spent, Spent]]:
    with at_work(peer, processes=len(ours), slots=SLOTS) as runs:
        runs(min(items, 20))  # warm
        return [(crewq_spent(ours, items), runs(items)) for _ in range(repeats)]


def _rows(peer: Peer, pairs: Sequence[tuple[Spent, Spent]], items: int) -> list[Row]:
    ours, theirs = [our for our, _ in pairs], [their for _, their in pairs]
    faster = ratio([their.seconds for their in theirs], [our.seconds for our in ours])
    cheaper = ratio([our.cpu for our in ours], [their.cpu for their in theirs])
    tasks, each = TASKS * items, {"crewq": ours, "peer": theirs}
    rates = {f"{who} a s": tasks / median([one.seconds for one in spent]) for who, spent in each.items()}
    costs = {f"{who} ms": 1000 * median([one.cpu for one in spent]) / tasks for who, spent in each.items()}
    if peer is CREWAI:
        return [
            at_least("B3", _rate_of(peer), faster, 3, **rates),
            at_most("B3", _cost_of(peer), cheaper, 0.5, **costs),
        ]
    return [plain("B3", _rate_of(peer), faster, "x", **rates), plain("B3", _cost_of(peer), cheaper, "x", **costs)]


def _rate_of(peer: Peer) -> str:
    return f"tasks a second, a worker process a core, against {peer.name}"


def _cost_of(peer: Peer) -> str:
    return f"CPU for a task, of workers and producer, against {peer.name}"
