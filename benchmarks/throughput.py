"""Durability's price: many runs of three tasks through one worker process, against plain Celery chains.

Both make the same litellm calls to the same model server, which answers at once; so what is measured is what they add.
"""

from __future__ import annotations

import argparse

from benchmarks._stage import median, seconds_of, stage, table, worker

SLOTS = "50"


def main(arguments: list[str]) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks throughput", description=__doc__)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    with (
        stage(latency=0.0),
        worker("workers.app", "-c", SLOTS),
        worker("benchmarks._bare", "-P", "threads", "-c", SLOTS, name="bare"),
    ):
        time_crewq(20), time_bare(20)  # warm: connections, litellm's first call
        pairs = [(time_crewq(options.items), time_bare(options.items)) for _ in range(options.repeats)]
    tasks = 3 * options.items
    crewq, bare = (median([pair[at] for pair in pairs]) for at in (0, 1))
    ratio = median([b / c for c, b in pairs])
    rows = [
        ["bare Celery chain, threads", f"{tasks / bare:.0f}", "1.00"],
        ["crewq", f"{tasks / crewq:.0f}", f"{ratio:.2f}"],
    ]
    print(table(["", "tasks/s (median)", "throughput against bare"], rows))


def time_crewq(items: int) -> float:
    from benchmarks._crews import three_tasks

    crew = three_tasks()
    return seconds_of(lambda: crew.kickoff_for_each([{"topic": str(at)} for at in range(items)]))


def time_bare(items: int) -> float:
    from celery import chain

    from benchmarks._bare import ask  # which reads the environment that the stage has set

    def run() -> None:
        ask.app.set_current()
        chains = [
            chain(ask.s("", f"topic {at}"), ask.s("step 1"), ask.s("step 2")).apply_async() for at in range(items)
        ]
        for result in chains:
            result.get(timeout=300)

    return seconds_of(run)
