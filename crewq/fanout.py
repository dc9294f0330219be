"""Kickoffs: a run is accepted and let go; the runs of one batch are accepted in chunks before the first of them starts.

The manifest comes first, so a batch is in the store whole before anything is paid for; then its runs are let go a window
at a time, as Celery groups of chains. Where several batches have runs to let go, tenants take turns.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from crewq import errors
from crewq.handle import told_where
from crewq.plan import new_tasks, task_id
from crewq.producer import Producer
from crewq.spec import CrewSpec
from crewq.store import Job, NewRun, Order
from crewq.terms import DEFAULT_TENANT, Terms
from crewq.tracing import workflow

CHUNK = 250  # runs that one script accepts: a few milliseconds of Redis's time
LEAST_WINDOW = 128  # runs of a batch under way where no worker is known yet: four for each slot of one


def new_run(
    spec: CrewSpec, inputs: dict[str, Any], *, key: str = "", run: str = "", terms: Terms | None = None
) -> NewRun:
    """A run as the store is told of it; with a `key`, it is told apart from others by what it is to do, and for whom.

    Args:
        spec: the crew.
        inputs: checked.
        key: its idempotency key.
        run: its id; a new one otherwise.
        terms: for whom it is.
    """
    about = [spec.digest(), inputs, *_whose(terms)]
    text = json.dumps(about, sort_keys=True, ensure_ascii=False) if key else ""
    return _numbered(spec, run or str(uuid.uuid4()), inputs, key=key, fingerprint=_digest(text) if key else "")


def start_run(producer: Producer, spec: CrewSpec, run: NewRun, *, deadline: float, terms: Terms) -> str:
    """Accept a run and let it go.

    Args:
        producer: this process's way to Redis.
        spec: the crew.
        run: as `new_run` has it.
        deadline: seconds from now; 0: none.
        terms: for whom it is, how urgent, and what it may cost.

    Returns:
        Its id, or that of the run which its key names already.

    Raises:
        KeyReused: its key names a run of other work.
    """
    tasks = new_tasks(spec, batch=False, priority=terms.priority)
    with told_where("run", run.id), workflow(spec.name, run.id) as trace:
        order = Order(spec, tasks, deadline=deadline, terms=terms, trace=trace)
        accepted = producer.accept(order, [run])[0]
        if accepted == run.id:
            first = [Job(run.id, at) for at, task in enumerate(spec.tasks) if not task.after]
            producer.publish(spec, first, priority=terms.priority)
    return accepted


def start_batch(
    producer: Producer,
    spec: CrewSpec,
    inputs: Iterable[dict[str, Any]],
    *,
    key: str = "",
    window: int | None = None,
    terms: Terms | None = None,
) -> str:
    """Accept a run for each of the inputs, and let the first of them go.

    Args:
        producer: this process's way to Redis.
        spec: the crew.
        inputs: checked; read as they are needed, and never all held at once.
        key: makes it idempotent: the same key and crew go on with the same batch, wherever its producer died.
        window: how many runs may be under way at once; None: a few for each slot of the workers.
        terms: for whom it is, how urgent, and what all its runs together may cost.

    Returns:
        The id of the batch.

    Raises:
        UsageError: one of the inputs is wrong; nothing is left of the batch then.
        KeyReused: the key names a batch of another crew.
    """
    store = producer.store
    terms = terms or Terms()
    fingerprint = _digest("".join((spec.to_json(), *_whose(terms))))
    batch = store.batches.create(str(uuid.uuid4()), spec.name, key, fingerprint, terms)
    tasks = new_tasks(spec, batch=True, priority=terms.priority)
    with workflow(spec.name, batch, batch=True) as trace:
        own = replace(terms, max_cost=None, max_tokens=None)
        order = Order(spec, tasks, batch=batch, held=True, terms=own, trace=trace)
    with told_where("batch", batch):
        try:
            for chunk in _chunks(_numbered(spec, _run_id(batch, at), one, item=at) for at, one in enumerate(inputs)):
                producer.accept(order, chunk)
        except (errors.UsageError, KeyboardInterrupt) as stopped:
            if isinstance(stopped, errors.UsageError) or not key:  # by its key, it is gone on with
                store.batches.abandon(batch)
            raise
        producer.publish_any(store.batches.open(batch, window or _window(producer)))
    return batch


def _whose(terms: Terms | None) -> list[str]:
    """What a kickoff's key stands for beside the work itself: the same key of another tenant is another kickoff's."""
    return [terms.tenant] if terms and terms.tenant != DEFAULT_TENANT else []


def _run_id(batch: str, item: int) -> str:
    """The same for the same item, so that a batch filled twice over holds each run once."""
    return str(uuid.uuid5(uuid.UUID(batch), str(item)))


def _numbered(
    spec: CrewSpec, run: str, inputs: dict[str, Any], *, item: int = 0, key: str = "", fingerprint: str = ""
) -> NewRun:
    tasks = tuple(task_id(run, at) for at in range(len(spec.tasks)))
    return NewRun(run, inputs, tasks, item=item, key=key, fingerprint=fingerprint)


def _window(producer: Producer) -> int:
    slots = sum(int(about["concurrency"]) for about in producer.store.runs.workers().values())
    return max(LEAST_WINDOW, 2 * slots)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _chunks(runs: Iterable[NewRun]) -> Iterator[list[NewRun]]:
    rest = iter(runs)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


__all__ = ["new_run", "start_batch", "start_run"]
