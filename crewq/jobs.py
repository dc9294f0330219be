"""The job: what a worker does with one Celery message.

    claim → load → work → record → release

A message is only a hint: the claim decides whether the task is this worker's to work on. Whatever becomes of the work, a
good answer, an error, a loss of the task, or the end of the worker, is one `Outcome`, and they share one ending.
"""

from __future__ import annotations

import logging
import random
import traceback
import uuid
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from celery.exceptions import Ignore, SoftTimeLimitExceeded
from kombu.exceptions import KombuError

from crewq import errors
from crewq.assignment import Assignment, Done, carry_out, load
from crewq.calls import NoLongerOurs, PersonNeeded
from crewq.charges import OverBudget
from crewq.host import Host
from crewq.leases import Hold
from crewq.limited import TurnFarOff
from crewq.logs import working_on
from crewq.plan import next_in_chain, task_id
from crewq.pool import Terminated, TimeLimitReached, interruptible
from crewq.results import say
from crewq.states import RunState
from crewq.store import Claim, Ending, Job
from crewq.tracing import Recording, below, recording

log = logging.getLogger("crewq.jobs")

ALONE_PATIENCE = 60.0  # seconds that a worker takes in nothing new, so that one task may be alone in it
ASK_AGAIN = 0.5  # seconds

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a task that failed is tried again
TRACEBACK_KEPT = 8_000  # characters; the end of a traceback says most


@dataclass(frozen=True)
class Failed:
    """The task failed, for good or until it is tried again."""

    error: errors.CrewqError


@dataclass(frozen=True)
class SetAside:
    """A person decides how the task goes on, or a day with a new budget."""

    about: PersonNeeded | OverBudget


@dataclass(frozen=True)
class PutOff:
    """The next call has to wait for a limit: the task is taken up again when that has room, and the worker is free."""

    until: TurnFarOff


@dataclass(frozen=True)
class Given:
    """The task goes back to the queue: this worker stops."""


@dataclass(frozen=True)
class Lost:
    """The task is no longer this worker's: it was cancelled, or another has it."""


@dataclass(frozen=True)
class Stopped:
    """Somebody terminated the job, by Flower's button or Celery's control: that cancels the run."""


Outcome: TypeAlias = Done | Failed | SetAside | PutOff | Given | Lost | Stopped


def run_job(host: Host, job: Job) -> None:
    """Carry out one message.

    Raises:
        Ignore: nothing is to follow: the task is somebody else's, or not to be worked on, or not yet.
        JobFailed: the task failed for good; the text has no content in it, as everyone sees it in Flower.
    """
    working_on(job)
    with host.gate.beside_others():
        claim = _claim(host, job, alone_from=host.settings.max_attempts - 1)
        if claim.word != "alone":
            return _carry_through(host, job, claim)
    # Its worker died each time: should it be the cause, it takes no other task down with it again.
    with host.gate.alone(patience=ALONE_PATIENCE) as alone:
        if not alone:
            raise Ignore  # the sweeper sends it again, perhaps to a worker with shorter tasks
        return _carry_through(host, job, _claim(host, job))


def _carry_through(host: Host, job: Job, claim: Claim) -> None:
    if claim.word == "done":
        return  # somebody did this before, so the next of the chain may go on
    working_on(job, claim.attempt)
    with host.leases.hold(job, claim.attempt) as hold:
        _make_room(host, claim)
        outcome = _work(host, job, claim, hold)
    ending = _record(host, job, claim, outcome)
    _release(host, job, claim, outcome, ending)


def _claim(host: Host, job: Job, alone_from: int = 0) -> Claim:
    if host.draining.is_set():
        raise Ignore  # it stays in the store as ready, and the sweeper of another worker sends it again
    start = partial(
        host.store.runs.start,
        job,
        claim=uuid.uuid4().hex,
        worker=host.name,
        lease=host.settings.lease,
        alone_from=alone_from,
    )
    claim = start()
    while claim.word == "wait" and not host.draining.wait(ASK_AGAIN):
        claim = start()
    if claim.word not in ("yours", "done", "alone"):
        log.debug("task %s not worked on: %s", job, claim.word)
        raise Ignore
    return claim


def _make_room(host: Host, claim: Claim) -> None:
    """This task waits no longer, so the queue takes others. One whose message is not sent is found by a sweep."""
    try:
        host.publish(claim.ready)
    except (KombuError, OSError, errors.StoreError) as error:
        log.warning("the next jobs are not sent yet: %s", errors.explain(error))


def _work(host: Host, job: Job, claim: Claim, hold: Hold) -> Outcome:
    """The one place where everything that can end the work becomes an outcome."""
    try:
        assignment = load(host, job, claim)
        working_on(job, claim.attempt, assignment.crew.name)
        with _traced(assignment, claim):
            return _wait_for(host, assignment, hold)
    except Terminated:
        return Stopped()
    except (SoftTimeLimitExceeded, TimeLimitReached):
        return Failed(errors.TimeExceeded(seconds=host.app.conf.task_time_limit or 0, limit="Celery's time limit"))
    except (NoLongerOurs, CancelledError):  # a ShutDown of the pool is one too
        return Given() if hold.lost in (None, "stopping") else Lost()
    except (PersonNeeded, OverBudget) as about:
        return SetAside(about)
    except TurnFarOff as until:
        return PutOff(until)
    except errors.CrewqError as error:
        return Failed(host.hide.error(error))
    except Exception as error:  # the job boundary: whatever the user's code or our own raised ends this task only
        log.exception("task %s of run %s", job.index, job.run)
        broken = errors.JobBroken(reason=host.hide(errors.explain(error)))
        broken.__cause__ = error
        return Failed(broken)


def _traced(assignment: Assignment, claim: Claim) -> AbstractContextManager[Recording]:
    job, agent = assignment.job, assignment.post.agent
    attributes = {
        "gen_ai.agent.name": agent.role,
        "gen_ai.conversation.id": job.run,
        "gen_ai.workflow.name": assignment.crew.name,
        "crewq.task.id": task_id(job.run, job.index),
        "crewq.task.name": assignment.crew.public_name(job.index),
        "crewq.attempt": assignment.attempt,
    }
    return recording("invoke_agent", agent.role, attributes, **below(claim.trace, job.run))


def _wait_for(host: Host, assignment: Assignment, hold: Hold) -> Done:
    """Run the coroutine on the event loop and wait: a cancel, a deadline or a stop aborts even a call in flight."""
    future = host.submit(carry_out(host, assignment))
    hold.on_loss(future.cancel)
    with interruptible(future.cancel):
        return future.result()


def _record(host: Host, job: Job, claim: Claim, outcome: Outcome) -> Ending | None:
    runs = host.store.runs
    match outcome:
        case Done(output, messages, skipped):
            return runs.complete(job, claim.attempt, output, messages, skipped=skipped)
        case Failed(error) if _again(host, claim, error, job):
            runs.requeue(job, claim.attempt, errors.explain(error), delay=_pause(claim.tries), counts=True)
        case Failed(error):
            return runs.fail(job, claim.attempt, error, _traceback(host, error))
        case _:
            _let_go(host, job, claim, outcome)
    return None


def _let_go(host: Host, job: Job, claim: Claim, outcome: Outcome) -> None:
    """Of a task that has not ended: who goes on with it, and when."""
    runs = host.store.runs
    match outcome:
        case SetAside(PersonNeeded() as about):
            log.info("task %s of run %s is set aside: %s", job.index, job.run, about.reason)
            runs.pause(job, claim.attempt, about.reason, about.call.id, about.draft)
        case SetAside(OverBudget() as over):
            log.info("task %s of run %s is set aside: %s", job.index, job.run, over.reason)
            runs.pause(job, claim.attempt, over.reason, budget=over.kind)
        case PutOff(until):
            runs.postpone(job, claim.attempt, until.reason, delay=until.delay, demand=until.demand)
        case Given():
            if runs.requeue(job, claim.attempt, "handed back by a worker that stops"):
                host.publish((job,))  # others need not wait for a sweep to find it
        case Stopped():
            host.cancel(job.run)


def _again(host: Host, claim: Claim, error: errors.CrewqError, job: Job) -> bool:
    """Whether the task is tried again. What it has paid for is in the journal, so only what failed is asked anew."""
    if not (error.retryable or isinstance(error, errors.JobBroken)):
        return False  # before the crew is asked: that it cannot be read may be the error
    spec = host.spec(claim.spec)
    return claim.tries < spec.agents[spec.tasks[job.index].agent].max_retry_limit


def _traceback(host: Host, error: errors.CrewqError) -> str:
    """Where the code broke, for whoever looks at the run; of other errors, their message says all."""
    cause = error.__cause__
    if cause is None or not isinstance(error, errors.JobBroken):
        return ""
    return host.hide("".join(traceback.format_exception(cause)))[-TRACEBACK_KEPT:]


def _pause(tries: int) -> float:
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2**tries) * random.SystemRandom().uniform(0.5, 1.0))


def _release(host: Host, job: Job, claim: Claim, outcome: Outcome, ending: Ending | None) -> None:
    """Let go on what can go on now; the chain carries its own next task, if this one ended well."""
    if ending is None or ending.word == "refused":
        if isinstance(outcome, Stopped):
            say(host, job.run)
        raise Ignore
    done = not isinstance(outcome, Failed)
    following = next_in_chain(host.spec(claim.spec), job.index) if done and ending.ready else None
    host.publish(tuple(other for other in ending.ready if (other.run, other.index) != (job.run, following)))
    if RunState(ending.run_state).ended:
        say(host, job.run)
    if isinstance(outcome, Failed):
        name = type(outcome.error).__name__
        raise errors.JobFailed(error=name, task=job.index, run=job.run)


__all__ = ["Failed", "Given", "Lost", "Outcome", "PutOff", "SetAside", "Stopped", "run_job"]
