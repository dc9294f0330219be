"""The small Celery result of a run, so that its `AsyncResult` is one that any Celery program can read."""

from __future__ import annotations

import logging

from celery import states
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from crewq import errors
from crewq.host import Host
from crewq.plan import task_id
from crewq.states import RunState

log = logging.getLogger("crewq.results")


def say(host: Host, run: str) -> None:
    """Write the result of a run that has ended under the id of its last task. Saying it twice changes nothing, and where
    it cannot be written now, a sweeper does it later."""
    try:
        if how := host.store.runs.standing(run):  # else it was deleted meanwhile
            _store(host, run, *how)
    except (KombuError, RedisError, OSError) as error:
        log.warning("the Celery result of run %s is not written yet: %s", run, errors.explain(error))
        return
    host.store.runs.said(run)


def _store(host: Host, run: str, state: RunState, tasks: int) -> None:
    backend = host.app.backend
    last = task_id(run, tasks - 1)
    if state is RunState.COMPLETED:
        backend.store_result(last, {"run": run, "state": state.value}, states.SUCCESS)
    elif state is RunState.CANCELLED:
        backend.store_result(last, RuntimeError(f"The crewq run {run} was cancelled."), states.REVOKED)
    elif state is RunState.FAILED:
        # Not the error itself: it may quote an input or an answer, and Celery's results are seen by everyone.
        backend.store_result(last, RuntimeError(f"The crewq run {run} failed: crewq show {run}"), states.FAILURE)


__all__ = ["say"]
