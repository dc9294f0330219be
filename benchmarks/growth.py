"""B5: batches of 100 to 50,000 items: the time and the memory of Redis that each takes stay flat; what waits in the broker
meanwhile; and long inputs."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Mapping
from functools import partial

from benchmarks._crews import three_tasks
from benchmarks._report import Row, at_most, median, plain
from benchmarks._stage import Stage, stage

SIZES = (100, 1_000, 10_000)
FLAT = 1.1  # within 10 %
LARGEST = 100_000  # items, of which is told what they take
REPEATED = 2_000  # items of small batches in all
LONG = 200_000  # characters of a document that is an input


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """No worker is there: what is measured is what accepting and keeping the runs takes."""
    sizes = (10, 20) if tiny else (*SIZES, 50_000) if full else SIZES
    with stage(latency=0.0) as found:
        _batch(found, 50)  # what there is once: scripts, indexes, the crew
        figures = {size: _typical(found, size) for size in sizes}
        small, large = sizes[0], sizes[-1]
        told, memory = (LARGEST, _batch(found, LARGEST)[1]) if full else (large, figures[large][1])
        waiting = _messages(found)
        shared = _batch(found, sizes[0], document=_document(0))[1]
        own = _batch(found, sizes[0], each=True)[1]
    millis = {f"{size} items ms": 1000 * seconds for size, (seconds, _) in figures.items()}
    bytes_ = {f"{size} items bytes": memory for size, (_, memory) in figures.items()}
    time_grows, memory_grows = (figures[large][at] / figures[small][at] for at in (0, 1))
    return [
        at_most("B5", f"time of an item, {large:,} against {small:,}", time_grows, FLAT, **millis),
        at_most("B5", f"Redis memory of an item, {large:,} against {small:,}", memory_grows, FLAT, **bytes_),
        plain("B5", f"Redis memory of an item of {told:,}: a run of three tasks", memory, "bytes"),
        plain("B5", f"messages in the broker with a batch of {told:,} accepted", waiting, "messages"),
        plain(
            "B5", f"Redis memory of one with an input of {LONG:,} characters that all {small:,} have", shared, "bytes"
        ),
        plain("B5", f"the same with such an input of its own, of {small:,}", own, "bytes"),
    ]


def _typical(found: Stage, size: int) -> tuple[float, float]:
    """Of several batches of that size, if it is small: one of a hundred is over in the time of a hiccup."""
    several = [_batch(found, size) for _ in range(max(1, REPEATED // size))]
    return median([seconds for seconds, _ in several]), median([memory for _, memory in several])


def _batch(found: Stage, size: int, document: str = "", *, each: bool = False) -> tuple[float, float]:
    """Seconds and bytes for each item.

    Args:
        found: the servers.
        size: how many items.
        document: an input that all of them have.
        each: whether each has one of its own.
    """
    client = found.client()
    before, began = int(client.info("memory")["used_memory"]), time.perf_counter()
    three_tasks().kickoff_for_each_async(map(partial(_item, document, each), range(size)))
    seconds = time.perf_counter() - began
    return seconds / size, (int(client.info("memory")["used_memory"]) - before) / size


def _messages(found: Stage) -> int:
    """How many wait in Celery's queues."""
    with found.client() as client:
        queues = [key for key in client.scan_iter("crewq*", _type="list") if not key.startswith("crewq:")]
        return sum(client.llen(queue) for queue in queues)


def _item(document: str, each: bool, at: int) -> Mapping[str, str]:
    text = _document(at) if each else document
    return {"topic": str(at)} | ({"document": text} if text else {})


def _document(seed: int) -> str:
    """Words that are about as easily compressed as prose."""
    letters = random.Random(seed)
    words = ["".join(letters.choices(string.ascii_lowercase, k=letters.randint(2, 9))) for _ in range(2_000)]
    text = " ".join(letters.choices(words, k=LONG // 5))
    return text[:LONG]
