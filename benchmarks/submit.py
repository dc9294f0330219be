"""B4: submit 10,000 items, and await all of them: the rate, the memory and the connections of the producer, and no polling."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._crews import three_tasks
from benchmarks._report import Row, at_least, at_most, plain
from benchmarks._stage import Stage, own_ports, stage
from crewq import Batch, CrewqError

QUIET = 5.0  # seconds in which the commands of those who wait are counted


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """No worker is there: what is measured is the producer. In the end the runs are cancelled, which wakes who awaits them."""
    items = 20 if tiny else 50_000 if full else 10_000
    with stage(latency=0.0) as found:
        crew = three_tasks()
        crew.kickoff_for_each_async([{"topic": "warm"}]).cancel()
        before, began = _megabytes(), time.perf_counter()
        batch = crew.kickoff_for_each_async({"topic": str(at)} for at in range(items))
        seconds = time.perf_counter() - began
        submitted = _megabytes() - before, _connections(found)
        waited = asyncio.run(_await_all(found, batch, 0.5 if tiny else QUIET))
    return [
        at_least("B4", f"{items:,} items submitted", items / seconds, 2000, "items/s", seconds=seconds),
        at_most("B4", "memory that the producer grew by, submitting", submitted[0], 50, "MB"),
        at_most("B4", f"memory that it grew by, with {items:,} runs awaited", waited.megabytes - before, 50, "MB"),
        at_most("B4", "connections of the producer to Redis", max(submitted[1], waited.connections), 3, "connections"),
        at_most("B4", f"commands a second while {items:,} runs are awaited", waited.commands, 2, "commands/s"),
        plain("B4", f"all {items:,} woken by a cancel", waited.seconds, "s"),
    ]


@dataclass(frozen=True)
class Waited:
    """What it took to await them all: until the last was woken, and in the quiet before."""

    seconds: float
    commands: float
    megabytes: float
    connections: int


async def _await_all(found: Stage, batch: Batch, quiet: float) -> Waited:
    runs = await asyncio.to_thread(lambda: batch.runs)
    waiting = asyncio.gather(*runs, return_exceptions=True)
    await _until_nobody_asks(found)  # all have registered
    before = _asked(found)
    await asyncio.sleep(quiet)
    commands = (_asked(found) - before) / quiet
    megabytes, connections = _megabytes(), _connections(found)
    began = time.perf_counter()
    await asyncio.to_thread(batch.cancel)
    ended = await waiting
    assert all(isinstance(one, CrewqError) for one in ended)
    return Waited(time.perf_counter() - began, commands, megabytes, connections)


async def _until_nobody_asks(found: Stage) -> None:
    before = -1
    while before != (now := _asked(found)):
        before = now
        await asyncio.sleep(0.5)


def _asked(found: Stage) -> int:
    """The commands so far, but for those that ask for their number."""
    own = ("info", "hello", "auth", "client|setinfo", "select")
    return sum(calls for name, calls in found.commands().items() if name not in own)


def _connections(found: Stage) -> int:
    """Those that this process has to Redis, but for the one that counts them."""
    with found.client() as client:
        clients = {str(about["addr"]).rpartition(":")[2] for about in client.client_list()}
        mine = str(client.client_info()["addr"]).rpartition(":")[2]
        return len(clients & {str(port) for port in own_ports()} - {mine})


def _megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
