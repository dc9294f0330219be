"""B7: a worker is killed with 50 calls in flight: how long until the last of them is made again."""

from __future__ import annotations

import time

from benchmarks._crews import tasks_in_a_row
from benchmarks._report import Row, at_most
from benchmarks._stage import stage, wait_until, worker

LATENCY = 60.0  # seconds: nothing ends before the worker dies


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Kill it once; with `full`, at the default lease, else at a short one."""
    calls, lease = (2, 2.0) if tiny else (50, 15.0 if full else 5.0)
    environ = {"CREWQ_LEASE_SECONDS": str(lease)}
    with stage(LATENCY, counted=True) as found, worker("workers.app", "-c", str(calls), environ=environ) as doomed:
        batch = tasks_in_a_row(1).kickoff_for_each_async([{"topic": str(at)} for at in range(calls)])
        wait_until(lambda: found.calls() == calls)
        with worker("workers.app", "-c", str(calls), name="heir", environ=environ) as heir:
            doomed.popen.kill()
            killed = time.perf_counter()
            wait_until(lambda: found.calls() == 2 * calls)
            seconds = time.perf_counter() - killed
            batch.cancel()
            heir.popen.kill()
    return [at_most("B7", f"all {calls} calls made again after a SIGKILL, lease {lease:g} s", seconds, lease + 2, "s")]
