"""One run of three tasks on a warm worker with a model that answers at once, against a plain Celery chain of three jobs."""

from __future__ import annotations

import argparse

from benchmarks._stage import median, stage, table, worker
from benchmarks.throughput import time_bare, time_crewq


def main(arguments: list[str]) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks latency", description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args(arguments)
    with (
        stage(latency=0.0),
        worker("workers.app", "-c", "8"),
        worker("benchmarks._bare", "-P", "threads", "-c", "8", name="bare"),
    ):
        for _ in range(5):
            time_crewq(1), time_bare(1)
        pairs = [(time_crewq(1), time_bare(1)) for _ in range(options.repeats)]
    crewq, bare = (median([pair[at] for pair in pairs]) for at in (0, 1))
    rows = [
        ["bare Celery chain, threads", f"{1000 * bare:.1f}", "1.00"],
        ["crewq", f"{1000 * crewq:.1f}", f"{median([c / b for c, b in pairs]):.2f}"],
    ]
    print(table(["", "ms a run (median)", "time against bare"], rows))
