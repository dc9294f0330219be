"""B9: durability's price: runs with store, journal, events and leases, against the same agent and pool without them."""

from __future__ import annotations

from benchmarks._report import Row, at_most, interleaved, median
from benchmarks._stage import stage, worker
from benchmarks._work import crewq_runs, forgetful_chains, timed

SLOTS = "50"


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Time both, in turn."""
    items, repeats = (5, 1) if tiny else (300, 5 if full else 3)
    with (
        stage(latency=0.0),
        worker("workers.app", "-c", SLOTS),
        worker("benchmarks._forgetful", "-c", SLOTS, name="forgetful"),
    ):
        interleaved(1, timed(crewq_runs, min(items, 20)), timed(forgetful_chains, min(items, 20)))
        durable, forgetful = interleaved(repeats, timed(crewq_runs, items), timed(forgetful_chains, items))
    price = 100 * (1 - median([off / on for on, off in zip(durable, forgetful, strict=True)]))
    numbers = {"durable s": median(durable), "forgetful s": median(forgetful)}
    return [at_most("B9", "throughput that durability costs", price, 35, "%", **numbers)]
