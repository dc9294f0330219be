"""B5: batches of 100 to 50,000 items: the time and the memory of Redis that each item takes stay flat."""

from __future__ import annotations

import time

from benchmarks._crews import three_tasks
from benchmarks._report import Row, at_most
from benchmarks._stage import Stage, stage

SIZES = (100, 1_000, 10_000)
FLAT = 1.1  # within 10 %


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """No worker is there: what is measured is what accepting and keeping the runs takes."""
    sizes = (10, 20) if tiny else (*SIZES, 50_000) if full else SIZES
    with stage(latency=0.0) as found:
        _batch(found, 50)  # what there is once: scripts, indexes, the crew
        figures = {size: _batch(found, size) for size in sizes}
    small, large = sizes[0], sizes[-1]
    millis = {f"{size} items ms": 1000 * seconds for size, (seconds, _) in figures.items()}
    bytes_ = {f"{size} items kB": memory / 1024 for size, (_, memory) in figures.items()}
    return [
        at_most(
            "B5", f"time of an item, {large:,} against {small:,}", figures[large][0] / figures[small][0], FLAT, **millis
        ),
        at_most(
            "B5",
            f"Redis memory of an item, {large:,} against {small:,}",
            figures[large][1] / figures[small][1],
            FLAT,
            **bytes_,
        ),
    ]


def _batch(found: Stage, size: int) -> tuple[float, float]:
    """Seconds and bytes for each item."""
    client = found.client()
    before, began = int(client.info("memory")["used_memory"]), time.perf_counter()
    three_tasks().kickoff_for_each_async({"topic": str(at)} for at in range(size))
    seconds = time.perf_counter() - began
    return seconds / size, (int(client.info("memory")["used_memory"]) - before) / size
