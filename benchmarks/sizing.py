"""Sizing: the memory of a worker and of its slots, its connections to Redis, and the memory of Redis that a run takes."""

from __future__ import annotations

from benchmarks._crews import tasks_in_a_row
from benchmarks._report import Row, plain
from benchmarks._stage import Process, Stage, stage, wait_until, worker
from benchmarks._work import crewq_runs
from crewq.producer import disconnect

NAME = "sizing"
SLOTS = 32  # as a worker has them if nobody says otherwise
LATENCY = 8.0  # seconds: long enough for all slots to be at work at once
TEXT = 10_000  # letters


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Look at all of it."""
    slots, runs = (4, 5) if tiny else (SLOTS, 1_000 if full else 300)
    return [*_worker(slots, 0.5 if tiny else LATENCY), *_runs(runs)]


# -- a worker ---------------------------------------------------------------------------------------------------------


def _worker(slots: int, latency: float) -> list[Row]:
    with stage(latency=latency, counted=True) as found:
        client = found.client()
        nobody = _connections(found)
        with worker("workers.app", "-c", str(slots)) as process:
            crewq_runs(1)  # warm: what is loaded once
            disconnect()
            idle = process.megabytes, _connections(found) - nobody
            calls = found.calls()
            batch = tasks_in_a_row(1).kickoff_for_each_async([{"topic": str(at)} for at in range(slots)])
            wait_until(lambda: found.calls() - calls >= slots)
            busy, together = process.megabytes, _connections(found) - nobody
            batch.results()
            connections = _connections(found) - nobody
            disconnect()
            ours = connections - (_connections(found) - nobody)
            rows = _about(process, idle, (busy, together - ours), slots)
        client.close()
        return [*rows, plain(NAME, "connections of a producer that has its results", ours, "of Redis")]


def _about(process: Process, idle: tuple[float, int], busy: tuple[float, int], slots: int) -> list[Row]:
    return [
        plain(NAME, "memory of a worker that has nothing to do", idle[0], "MB"),
        plain(NAME, f"memory of a slot, {slots} at work", (busy[0] - idle[0]) / slots, "MB", **{"busy MB": busy[0]}),
        plain(NAME, f"connections of a worker with {slots} slots, all at work", busy[1], "of Redis", idle=idle[1]),
        plain(NAME, "from a worker's start to its first answer to a ping", process.ready, "s"),
    ]


def _connections(found: Stage) -> int:
    """How many connections there are, but for the one that asks."""
    with found.client() as client:
        return len(client.client_list()) - 1


# -- runs -------------------------------------------------------------------------------------------------------------


def _runs(runs: int) -> list[Row]:
    """Of three tasks with one model call each, that were carried out and have ended."""
    with stage(latency=0.0) as found, worker("workers.app", "-c", str(SLOTS)):
        _kept(found, 20, 5)  # what there is once: scripts, indexes, the crew
        short, long = _kept(found, runs, 5), _kept(found, runs // 5 or 1, TEXT)
    return [
        plain(NAME, "memory of Redis for a run of three tasks with short texts", short / 1024, "kB"),
        plain(NAME, f"memory of Redis for one whose input has {TEXT:,} letters", long / 1024, "kB"),
    ]


def _kept(found: Stage, runs: int, letters: int) -> float:
    """Bytes of Redis for each run."""
    with found.client() as client:
        before = int(client.info("memory")["used_memory"])
        topic = "x" * letters
        tasks_in_a_row(3).kickoff_for_each_async([{"topic": topic} for _ in range(runs)]).results()
        return (int(client.info("memory")["used_memory"]) - before) / runs
