"""B3: many runs of three tasks through one worker process, against bare Celery chains with the same litellm calls."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks._report import Row, at_least, at_most, interleaved, median, plain
from benchmarks._stage import Process, Stage, stage, worker
from benchmarks._work import bare_chains, crewq_runs, timed

SLOTS = "50"
TASKS = 3  # of each run
CREWAI_CPU = 11.1  # ms a task of CrewAI's kickoff_for_each, as measured on another machine; see docs/performance.md


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Time many runs, in turn, and count what they cost."""
    items, repeats = (5, 1) if tiny else (300, 5) if full else (200, 3)
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
    ratio = median([bare / crewq for crewq, bare in zip(*pairs, strict=True)])
    rates = [TASKS * items / median(seconds) for seconds in pairs]
    cpu = [1000 * median(seconds) / (TASKS * items) for seconds in costs]
    cpu_ratio = median([crewq / bare for crewq, bare in zip(*costs, strict=True)])
    return [
        at_least(
            "B3", "tasks a second, against bare Celery", ratio, 0.8, **{"crewq a s": rates[0], "bare a s": rates[1]}
        ),
        at_most(
            "B3", "CPU of the worker, against bare Celery", cpu_ratio, 1.25, **{"crewq ms": cpu[0], "bare ms": cpu[1]}
        ),
        plain("B3", "CPU of the worker for a task", cpu[0], "ms", **{"CrewAI elsewhere ms": CREWAI_CPU}),
        at_most("B3", "scripts of crewq's at Redis for a task with one call", scripts, 8, "scripts"),
    ]


def _cpu_of(process: Process, work: Callable[[int], None], items: int) -> float:
    before = process.cpu
    work(items)
    return process.cpu - before


def _commands_a_task(found: Stage, items: int, command: str) -> float:
    before = found.commands().get(command, 0)
    crewq_runs(items)
    return (found.commands()[command] - before) / (TASKS * items)
