"""B7: a worker is killed with 50 calls in flight: how long until the last of them is made again.

On DBOS and dramatiq too, where they are installed (`./run bench peers`): a new process is started at once.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks._crews import tasks_in_a_row
from benchmarks._peers import DBOS, DRAMATIQ, Peer, begin, kill, order
from benchmarks._report import Row, absent, at_most, plain
from benchmarks._stage import Stage, stage, wait_until, worker

LATENCY = 60.0  # seconds: nothing ends before the worker dies
BOUND = 90.0  # seconds that are waited for a peer


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Kill it once; with `full`, at the default lease, else at a short one; dramatiq only with that."""
    calls, lease = (2, 2.0) if tiny else (50, 15.0 if full else 5.0)
    peers = (DBOS, DRAMATIQ) if full else (DBOS,)
    return [_on_crewq(calls, lease), *(_on(peer, calls) for peer in peers)]


def _on_crewq(calls: int, lease: float) -> Row:
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
    return at_most("B7", f"all {calls} calls made again after a SIGKILL, lease {lease:g} s", seconds, lease + 2, "s")


def _on(peer: Peer, calls: int) -> Row:
    what = f"all {calls} calls made again after a SIGKILL and a new start, on {peer.name}"
    if not peer.python:
        return absent("B7", what, peer.name)
    with stage(LATENCY, counted=True) as found, ExitStack() as started:
        seconds = _back_after(peer, calls, found, started)
    return Row("B7", what, f"not within {BOUND:g} s") if seconds is None else plain("B7", what, seconds, "s")


def _back_after(peer: Peer, calls: int, found: Stage, started: ExitStack) -> float | None:
    """Seconds; None: not within the bound. Where there are workers, one of them dies, and else the program itself."""
    program, doomed, replacement = begin(peer, calls, found.ledger.with_name("peer.log"), started)
    order(program, calls)
    wait_until(lambda: found.calls() == calls)
    killed = kill(doomed)
    replacement()
    try:
        wait_until(lambda: found.calls() == 2 * calls, BOUND)
    except TimeoutError:
        return None
    return time.time() - killed
