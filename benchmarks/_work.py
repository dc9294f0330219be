"""The work that is measured, on crewq and on its peers: runs of three tasks in a row, one model call each."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from celery import Celery, chain
from celery.canvas import Signature

from benchmarks._crews import three_tasks
from benchmarks._peers import Spent
from benchmarks._stage import Process, seconds_of

PATIENCE = 600.0  # seconds


def crewq_runs(items: int) -> None:
    """So many runs on crewq, awaited."""
    three_tasks().kickoff_for_each([{"topic": str(at)} for at in range(items)])


def crewq_spent(workers: Sequence[Process], items: int) -> Spent:
    """What that takes of the processor too, of the workers and of this process, which submits and awaits."""
    before, own = sum(worker.cpu for worker in workers), time.process_time()
    seconds = seconds_of(lambda: crewq_runs(items))
    cpu = sum(worker.cpu for worker in workers) - before + time.process_time() - own
    return Spent(seconds, cpu, first=seconds)


def bare_chains(items: int) -> None:
    """The same calls as Celery chains, each job of which is given what the one before it said."""
    deque(_chains("bare", items), maxlen=0)


def bare_spent(items: int) -> Spent:
    """Seconds of that, to its end and to the first result."""
    began = time.perf_counter()
    ends = [time.perf_counter() - began for _ in _chains("bare", items)]
    return Spent(seconds=ends[-1], cpu=0.0, first=ends[0])


def forgetful_chains(items: int) -> None:
    """The same with crewq's agent and pool, but without store, journal, events and leases."""
    deque(_chains("forgetful", items), maxlen=0)


def bare_job() -> None:
    """One job of such a chain."""
    _ask("bare", "", "step 2").apply_async().get(timeout=PATIENCE)


def _chains(queue: str, items: int) -> Iterator[object]:
    sent = [
        chain(_ask(queue, "", f"topic {at}"), _ask(queue, "step 1"), _ask(queue, "step 2")).apply_async()
        for at in range(items)
    ]
    for result in sent:
        yield result.get(timeout=PATIENCE)


def _ask(queue: str, *arguments: str) -> Signature[Any]:
    return _producer(os.environ["CREWQ_REDIS_URL"], queue).signature(f"{queue}.ask", arguments)


@cache
def _producer(url: str, queue: str) -> Celery:
    """One for each stage: it keeps its connections, as crewq's does."""
    app = Celery(broker=url, backend=url, set_as_current=False)
    app.conf.task_default_queue = queue
    return app


def timed(work: Callable[[int], None], items: int) -> Callable[[], float]:
    """The seconds that some work takes, as a measure."""
    return lambda: seconds_of(lambda: work(items))
