"""B1: one run of three tasks on warm workers with a model that answers at once, against a bare Celery chain of three jobs."""

from __future__ import annotations

from benchmarks._report import Row, at_most, interleaved, median, ratio
from benchmarks._stage import stage, worker
from benchmarks._work import bare_chains, crewq_runs, timed

WARM, REPEATS, SLOTS = 5, 40, "8"


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Time single runs, in turn."""
    with (
        stage(latency=0.0),
        worker("workers.app", "-c", SLOTS),
        worker("benchmarks._bare", "-P", "threads", "-c", SLOTS, name="bare"),
    ):
        crewq, bare = timed(crewq_runs, 1), timed(bare_chains, 1)
        interleaved(1 if tiny else WARM, crewq, bare)
        ours, theirs = interleaved(2 if tiny else REPEATS * (3 if full else 1), crewq, bare)
    numbers = {"crewq ms": 1000 * median(ours), "bare ms": 1000 * median(theirs)}
    return [at_most("B1", "time of one run of 3 tasks, against bare Celery", ratio(ours, theirs), 1.5, **numbers)]
