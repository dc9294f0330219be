"""The life of a run in the store: each change of state is a verb, and each verb one atomic script."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from crewq import errors
from crewq.budgets import Budget
from crewq.outputs import TaskOutput
from crewq.spec import CrewSpec
from crewq.store.keys import UNFINISHED
from crewq.store.limits import Demand
from crewq.store.looks import Looks
from crewq.store.money import NO_BUDGET, raised, spent_already
from crewq.store.orders import Claim, Ending, Findings, Job, NewRun, Order, document
from crewq.store.places import of_call, of_event, of_run, of_spec, of_task, opened, read_stamp, stamp
from crewq.store.records import Fields, pairs

TAKEN_OVER = ("output", "messages", "ended")  # of a task that a replay does not do again


class Runs(Looks):
    """Runs and their tasks, and all that may become of them."""

    # -- a producer ----------------------------------------------------------------------------------------

    def create(self, order: Order, runs: Sequence[NewRun]) -> list[str]:
        """Accept runs: after this they end, whatever dies on the way. Answers their ids.

        Raises:
            KeyReused: an idempotency key names a run of another crew or with other inputs.
        """
        parcel = self._vault.parcel()
        text = document(order, runs, self._taken_over(order), self._vault, parcel)
        answers = self._verbs.create_runs(document=text, blobs=parcel.blobs)
        return [self._accepted(run, answer) for run, answer in zip(runs, answers, strict=True)]

    def _taken_over(self, order: Order) -> dict[int, Fields]:
        """What tasks keep of the parent run. It is opened there and sealed anew: what is sealed for one run is good for no
        other."""
        kept = {at: task.kept for at, task in enumerate(order.tasks) if task.kept is not None}
        hashes = self._verbs.read_run(run=order.parent) if kept else []
        if not hashes:
            return {at: {} for at in kept}
        ((_, *tasks),) = opened(self._vault, [(order.parent, [dict(pairs(flat)) for flat in hashes])])
        return {at: {name: tasks[old][name] for name in TAKEN_OVER if name in tasks[old]} for at, old in kept.items()}

    def _accepted(self, run: NewRun, answer: str) -> str:
        accepted, _, known = answer.partition("|")
        if known and known not in self._vault.cipher.names(run.fingerprint):
            raise errors.KeyReused(key=run.key, run=accepted)
        return accepted

    def cancel(self, run: str) -> tuple[bool, tuple[Job, ...]]:
        """End a run now. Answers whether this call did, and the jobs of other runs that may start in its place.

        Raises:
            UnknownId: there is no such run.
        """
        word, *ready = self._verbs.cancel_run(run=run)
        if word == "gone":
            raise errors.UnknownId(kind="run", id=run, where=self._verbs.where)
        return word == "cancelled", _jobs(ready)

    def resume(
        self,
        run: str,
        decision: Literal["", "retry", "skip"] = "",
        spec: CrewSpec | None = None,
        budget: Budget = NO_BUDGET,
    ) -> tuple[Job, ...]:
        """Let a run that is paused, failed or cancelled go on where it stopped; answers what to publish.

        Args:
            run: its id.
            decision: about a call in doubt: make it again, or go on without it.
            spec: the crew to go on with, of the same tasks; None: the crew as it was stored.
            budget: a new one; what it leaves open stays as it is.

        Raises:
            UnknownId: there is no such run.
            NotNow: it is under way or completed, a call is in doubt and nothing was decided, or a person is asked.
            BudgetTooSmall: as much as the new budget is spent already.
        """
        name, proof = self._keep_spec(run, spec) if spec else ("", "")
        word, *rest = self._verbs.resume_run(run=run, decision=decision, spec=name, stamp=proof, **raised(budget))
        if word == "gone":
            raise errors.UnknownId(kind="run", id=run, where=self._verbs.where)
        if word == "undecided":
            advice = "Say what becomes of the call that is in doubt: --retry-call or --skip-call."
            raise errors.NotNow(
                run=run, state=f"paused over {rest[0].split(':')[0]} call", verb="resumed", advice=advice
            )
        if word == "spent":
            raise spent_already("run", run, rest)
        if word == "asked":
            advice = f"Say what is to become of its answer: `crewq answer {run}`."
            raise errors.NotNow(run=run, state="waiting for a person", verb="resumed", advice=advice)
        if word != "resumed":
            state = "under way" if word == "live" else word
            raise errors.NotNow(run=run, state=state, verb="resumed", advice="`crewq show` tells how it stands.")
        return _jobs(rest)

    def _keep_spec(self, run: str, spec: CrewSpec) -> tuple[str, str]:
        """Store the crew that a run is to go on with; answers its name, and what proves that it is the run's."""
        name = self._vault.cipher.name(spec.digest())
        text = self._vault.seal(of_spec(name), spec.to_json())
        before: list[str | None] = self._verbs.do(
            lambda client: client.hmget(self._verbs.keys.run(run), "spec", "stamp")
        )
        names = read_stamp(self._vault, run, before[0] or "", before[1] or "") if before[0] else ""
        self._verbs.do(lambda client: client.set(self._verbs.keys.spec(name), text, ex=UNFINISHED))
        return name, stamp(self._vault, run, name, names)

    def answer(self, job: Job, question: str, answer: str) -> tuple[Job, ...]:
        """Write down what a person says to the question of a task; answers what to publish.

        Raises:
            UnknownId: there is no such run.
            NotNow: the task does not ask that (any more).
        """
        parcel = self._vault.parcel()
        sealed = parcel.seal(of_call(job.run, job.index, question), answer)
        word, *rest = self._verbs.answer_person(
            run=job.run, index=job.index, call=question, answer=sealed, blobs=parcel.blobs
        )
        if word == "gone":
            raise errors.UnknownId(kind="run", id=job.run, where=self._verbs.where)
        if word == "stale":
            advice = "Somebody else was faster, or the task asks something else by now: `crewq show` tells."
            raise errors.NotNow(run=job.run, state="not waiting for that answer", verb="answered", advice=advice)
        return _jobs(rest)

    def delete(self, run: str) -> None:
        """Forget a run that has ended.

        Raises:
            UnknownId: there is no such run.
            NotNow: it has not ended.
        """
        word = self._verbs.delete_run(run=run)[0]
        if word == "gone":
            raise errors.UnknownId(kind="run", id=run, where=self._verbs.where)
        if word == "live":
            raise errors.NotNow(run=run, state="not ended", verb="deleted", advice="Cancel it first: `crewq cancel`.")

    # -- a worker ------------------------------------------------------------------------------------------

    def start(self, job: Job, *, claim: str, worker: str, lease: float, alone_from: int = 0) -> Claim:
        """Claim a task.

        Args:
            job: the task.
            claim: a token of this one execution of the job.
            worker: who claims it.
            lease: seconds.
            alone_from: after how many attempts that lost their worker it is to be taken by a worker that does nothing
                else; 0: never.
        """
        word, *rest = self._verbs.start_task(
            run=job.run,
            index=job.index,
            claim=claim,
            worker=worker,
            lease_ms=int(lease * 1000),
            alone_from=alone_from,
        )
        if word != "yours":
            return Claim(word)  # type: ignore[arg-type]
        attempt, spec, inputs, created, deadline, now, tries, tenant, budget, ready, trace, stamp, *context = rest
        self._verbs.redo.remember("restore_claim", [job.run, job.index, attempt, claim, worker, int(lease * 1000)])
        return Claim(
            "yours",
            int(attempt),
            spec,
            inputs,
            created,
            deadline,
            int(now),
            int(tries),
            tenant,
            budget == "1",
            _jobs(ready.split()),
            trace,
            {int(at): output for at, output in pairs(context) if output},
            job.run,
            stamp,
            self._vault,
        )

    def complete(
        self, job: Job, attempt: int, output: TaskOutput, messages: Sequence[Any] = (), *, skipped: bool = False
    ) -> Ending:
        """Record a task's output, once: only the latest attempt may."""
        parcel, place = self._vault.parcel(), (job.run, job.index)
        ending = self._verbs.complete_task(
            run=job.run,
            index=job.index,
            attempt=attempt,
            state="skipped" if skipped else "completed",
            output=parcel.seal(of_task(*place, "output"), output.model_dump_json(exclude_defaults=True)),
            messages=parcel.seal(of_task(*place, "messages"), json.dumps(list(messages), ensure_ascii=False)),
            blobs=parcel.blobs,
        )
        return _ending(ending)

    def fail(self, job: Job, attempt: int, error: errors.CrewqError, traceback: str = "") -> Ending:
        """Record that a task failed for good; with the worker's traceback, where code broke."""
        parcel = self._vault.parcel()
        ending = self._verbs.fail_task(
            run=job.run,
            index=job.index,
            attempt=attempt,
            kind=type(error).__name__,
            problem=parcel.seal(of_run(job.run, "error"), json.dumps(error.record(), ensure_ascii=False)),
            traceback=parcel.seal(of_task(job.run, job.index, "traceback"), traceback) if traceback else "",
            blobs=parcel.blobs,
        )
        return _ending(ending)

    def requeue(self, job: Job, attempt: int, reason: str, *, delay: float = 0.0, counts: bool = False) -> bool:
        """Give a task back, to be claimed again in `delay` seconds; `counts` towards the agent's max_retry_limit."""
        word = self._verbs.requeue_task(
            run=job.run,
            index=job.index,
            attempt=attempt,
            reason=self._reason(job, attempt, reason),
            word="set back" if self._vault.cipher.encrypts else reason,
            delay_ms=int(delay * 1000),
            counts=int(counts),
        )[0]
        return word == "recorded"

    def postpone(self, job: Job, attempt: int, reason: str, *, delay: float, demand: Demand | None = None) -> bool:
        """Give a task back whose next call has to wait: for `delay` seconds, or until a slot of a demand is free."""
        word = self._verbs.postpone_task(
            run=job.run,
            index=job.index,
            attempt=attempt,
            reason=self._reason(job, attempt, reason),
            delay_ms=int(delay * 1000),
            scope=demand.scope if demand else "",
            slots=(demand.limit.max_concurrency or 0) if demand else 0,
        )[0]
        return word == "recorded"

    def _reason(self, job: Job, attempt: int, reason: str) -> str:
        fields = {"type": "task_requeued", "task": str(job.index), "attempt": str(attempt)}
        return self._vault.seal(of_event(job.run, fields, "reason"), reason)

    def pause(
        self, job: Job, attempt: int, reason: str, call: str = "", draft: TaskOutput | None = None, *, budget: str = ""
    ) -> bool:
        """Set a task aside until a person decides: about a call that is in doubt; with a `draft`, about its answer; or about
        a budget that is spent: the `run`'s, the `batch`'s, or the `tenant`'s, which has a new one on the next day."""
        parcel = self._vault.parcel()
        text = draft.model_dump_json(exclude_defaults=True) if draft else ""
        paused = self._verbs.pause_task(
            run=job.run,
            index=job.index,
            attempt=attempt,
            reason=reason,
            call=call,
            draft=parcel.seal(of_task(job.run, job.index, "draft"), text) if text else "",
            budget=budget,
            blobs=parcel.blobs,
        )
        return paused[0] == "recorded"

    def renew(self, held: Iterable[tuple[Job, int]], lease: float) -> dict[tuple[Job, int], str]:
        """Renew the leases of all that a process works on; answers what is no longer its own, and the state it has."""
        text = " ".join(f"{job}|{attempt}" for job, attempt in held)
        refused = {}
        for answer in self._verbs.renew_leases(lease_ms=int(lease * 1000), held=text) if text else ():
            run, index, attempt, state = answer.split("|")
            refused[Job(run, int(index)), int(attempt)] = state
        return refused

    def sweep(self, *, grace: float, max_attempts: int, limit: int = 500) -> Findings:
        """Find expired leases, due tasks, lost messages, places for new runs and unsaid results; `grace` is in seconds."""
        found: dict[str, list[str]] = {"job": [], "new": [], "probe": [], "say": [], "resume": []}
        for word, about in pairs(self._verbs.sweep(grace_ms=int(grace * 1000), max_attempts=max_attempts, limit=limit)):
            found[word].append(about)
        probes = (probe.split(" ", 1) for probe in found["probe"])
        lanes = tuple((lane, int(ms)) for ms, lane in probes)
        return Findings(_jobs(found["job"]), _jobs(found["new"]), lanes, tuple(found["say"]), tuple(found["resume"]))

    def present(self, worker: str, about: dict[str, Any]) -> None:
        """A sign of life of a worker."""
        self._verbs.note_worker(worker=worker, about=json.dumps(about))

    def absent(self, worker: str) -> None:
        """A worker leaves."""
        self._verbs.note_worker(worker=worker, about="")

    def note_delivery(self, lane: str, sent_ms: int) -> None:
        """A probe came through its lane."""
        self._verbs.note_delivery(lane=lane, sent_ms=sent_ms)

    def warn(self, job: Job, reason: str) -> None:
        """Note beside a task that something about it went wrong, such as a callback. Its state is not touched."""
        fields: dict[Any, Any] = {"type": "task_warned", "task": str(job.index)}
        fields["reason"] = self._vault.seal(of_event(job.run, fields, "reason"), reason)
        # Not for a run that is gone: a stream of its own would stay for ever.
        self._verbs.do(lambda client: client.xadd(self._verbs.keys.events(job.run), fields, nomkstream=True))

    def said(self, run: str) -> None:
        """The Celery result of a run is written."""
        self._verbs.do(lambda client: client.zrem(self._verbs.keys.named("unsaid"), run))


def _jobs(members: Iterable[str]) -> tuple[Job, ...]:
    return tuple(Job.read(member) for member in members)


def _ending(answer: list[str]) -> Ending:
    word, state, *ready = answer
    return Ending(word, state, _jobs(ready))  # type: ignore[arg-type]


__all__ = ["Runs"]
