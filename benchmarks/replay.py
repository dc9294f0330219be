"""B6: a replay from the last of three tasks: one call, and the time of one bare Celery job."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks._crews import three_tasks
from benchmarks._report import Row, at_most, interleaved, median, ratio
from benchmarks._stage import Stage, seconds_of, stage, worker
from benchmarks._work import bare_job

REPEATS = 30


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Time both, in turn, and count calls."""
    repeats = 2 if tiny else REPEATS * (3 if full else 1)
    with (
        stage(latency=0.0, counted=True) as found,
        worker("workers.app", "-c", "8"),
        worker("benchmarks._bare", "-P", "threads", "-c", "8", name="bare"),
    ):
        crew = three_tasks()
        run = crew.kickoff_async({"topic": "replays"})
        run.result()
        last = run.task_ids[-1]
        calls = _calls_of(found, lambda: crew.replay(last))
        interleaved(1 if tiny else 5, lambda: seconds_of(lambda: crew.replay(last)), lambda: seconds_of(bare_job))
        ours, theirs = interleaved(repeats, lambda: seconds_of(lambda: crew.replay(last)), lambda: seconds_of(bare_job))
    numbers = {"replay ms": 1000 * median(ours), "job ms": 1000 * median(theirs)}
    return [
        at_most("B6", "calls of a replay from task 3 of 3", calls, 1, "calls"),
        at_most("B6", "its time, against one bare Celery job", ratio(ours, theirs), 1.5, **numbers),
    ]


def _calls_of(found: Stage, work: Callable[[], object]) -> int:
    before = found.calls()
    work()
    return found.calls() - before
