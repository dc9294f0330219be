"""B3: many runs of three tasks through one worker process, against bare Celery chains with the same litellm calls.

With the interpreter of an environment in which CrewAI is installed in `BENCH_CREWAI_PYTHON`, against that, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks._peers import crewai_python, crewai_runs
from benchmarks._report import Row, at_least, at_most, interleaved, median, ratio
from benchmarks._stage import Process, Stage, seconds_of, stage, worker
from benchmarks._work import bare_chains, crewq_runs, timed

SLOTS = "50"
TASKS = 3  # of each run


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Time many runs, in turn, and count what they cost."""
    items, repeats = (5, 1) if tiny else (300, 5) if full else (200, 3)
    rows = _against_bare_celery(items, repeats)
    return [*rows, *_against_crewai(items // 2, repeats)] if crewai_python() else rows


def _against_bare_celery(items: int, repeats: int) -> list[Row]:
    with (
        stage(latency=0.0) as found,
        worker("workers.app", "-c", SLOTS) as ours,
        worker("benchmarks._bare", "-P", "threads", "-c", SLOTS, name="bare") as theirs,
    ):
        interleaved(1, timed(crewq_runs, min(items, 20)), timed(bare_chains, min(items, 20)))
        pairs = interleaved(repeats, timed(crewq_runs, items), timed(bare_chains, items))
        scripts = _commands_a_task(found, items, "evalsha")
        costs = interleaved(
            repeats, lambda: _cpu_of(ours, crewq_runs, items), lambda: _cpu_of(theirs, bare_chains, items)
        )
    rates = [TASKS * items / median(seconds) for seconds in pairs]
    cpu = [1000 * median(seconds) / (TASKS * items) for seconds in costs]
    numbers = {"crewq a s": rates[0], "bare a s": rates[1]}
    spent = {"crewq ms": cpu[0], "bare ms": cpu[1]}
    return [
        at_least("B3", "tasks a second, against bare Celery", ratio(pairs[1], pairs[0]), 0.8, **numbers),
        at_most("B3", "CPU of the worker, against bare Celery", ratio(*costs), 1.25, **spent),
        at_most("B3", "scripts of crewq's at Redis for a task with one call", scripts, 8, "scripts"),
    ]


def _against_crewai(items: int, repeats: int) -> list[Row]:
    processes = os.cpu_count() or 1
    with stage(latency=0.0), ExitStack() as workers:
        ours = [
            workers.enter_context(worker("workers.app", "-c", str(int(SLOTS) // processes), name=f"crewq{at}"))
            for at in range(processes)
        ]
        crewq_runs(20)
        pairs = []
        for _ in range(repeats):
            before = sum(process.cpu for process in ours)
            wall = seconds_of(lambda: crewq_runs(items))
            pairs.append((wall, sum(process.cpu for process in ours) - before, crewai_runs(items)))
    faster = ratio([theirs.seconds for _, _, theirs in pairs], [wall for wall, _, _ in pairs])
    cheaper = ratio([cpu for _, cpu, _ in pairs], [theirs.cpu for _, _, theirs in pairs])
    millis = 1000 / (TASKS * items)
    spent = {
        "crewq ms": millis * median([cpu for _, cpu, _ in pairs]),
        "CrewAI ms": millis * median([theirs.cpu for _, _, theirs in pairs]),
    }
    rates = {
        "crewq a s": TASKS * items / median([wall for wall, _, _ in pairs]),
        "CrewAI a s": TASKS * items / median([theirs.seconds for _, _, theirs in pairs]),
    }
    return [
        at_least("B3", f"tasks a second on {processes} processes, against CrewAI", faster, 3, **rates),
        at_most("B3", "CPU for a task, against CrewAI", cheaper, 0.5, **spent),
    ]


def _cpu_of(process: Process, work: Callable[[int], None], items: int) -> float:
    before = process.cpu
    work(items)
    return process.cpu - before


def _commands_a_task(found: Stage, items: int, command: str) -> float:
    before = found.commands().get(command, 0)
    crewq_runs(items)
    return (found.commands()[command] - before) / (TASKS * items)
