"""B1: one run of three tasks on warm workers with a model that answers at once, against a bare Celery chain of three jobs.

And against the peers that are installed (`./run bench peers`): CrewAI and DBOS do it in the process that asks.
"""

from __future__ import annotations

from benchmarks._peers import CREWAI, CREWAI_ON_CELERY, DBOS, DRAMATIQ, Peer, at_work
from benchmarks._report import Row, absent, at_most, interleaved, median, plain, ratio
from benchmarks._stage import stage, worker
from benchmarks._work import bare_chains, crewq_runs, timed

WARM, REPEATS, SLOTS = 5, 40, 8
PEERS = (CREWAI, CREWAI_ON_CELERY, DRAMATIQ, DBOS)


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Time single runs, in turn."""
    warm, repeats = (1, 2) if tiny else (WARM, REPEATS * (3 if full else 1))
    with stage(latency=0.0), worker("workers.app", "-c", str(SLOTS)):
        return [_against_bare_celery(warm, repeats), *(_against(peer, warm, repeats) for peer in PEERS)]


def _against_bare_celery(warm: int, repeats: int) -> Row:
    crewq, bare = timed(crewq_runs, 1), timed(bare_chains, 1)
    with worker("benchmarks._bare", "-P", "threads", "-c", str(SLOTS), name="bare"):
        interleaved(warm, crewq, bare)
        ours, theirs = interleaved(repeats, crewq, bare)
    numbers = {"crewq ms": 1000 * median(ours), "bare ms": 1000 * median(theirs)}
    return at_most("B1", "time of one run of 3 tasks, against bare Celery", ratio(ours, theirs), 1.5, **numbers)


def _against(peer: Peer, warm: int, repeats: int) -> Row:
    what = f"time of one run of 3 tasks, against {peer.name}"
    if not peer.python:
        return absent("B1", what, peer.name)
    with at_work(peer, slots=SLOTS) as runs:
        interleaved(warm, timed(crewq_runs, 1), lambda: runs(1).seconds)
        ours, theirs = interleaved(repeats, timed(crewq_runs, 1), lambda: runs(1).seconds)
    numbers = {"crewq ms": 1000 * median(ours), "peer ms": 1000 * median(theirs)}
    if peer is CREWAI:
        return at_most("B1", what, ratio(ours, theirs), 1, **numbers)
    return plain("B1", what, ratio(ours, theirs), "x", **numbers)
