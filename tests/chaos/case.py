"""The evidence of a chaos run, sorted by what the judges look for, and what excuses a call that was made again."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

from crewq.events import CallFinished, CallStarted, TaskStarted
from tests.chaos.crews import MODEL_TIMEOUT
from tests.chaos.evidence import ANSWER, Cut, Evidence, ModelCall, RunFacts, ToolCall

# Seconds from an answer's last byte, as the model server sees it, until it is written down, if nothing comes between: a
# worker that is killed in this time had no chance. Within it the store has the last word: what is in the journal must not
# be asked for again.
HAND_OVER = 2.0
RENEWAL = 1.0  # seconds before a cut in which the last renewal of a lease was, at the latest
# Why an answer that was sent is asked for again, when no promise is broken by that.
AT_A_DEATH = "in flight when the worker died or stopped"
AT_A_CUT_OFF = "in flight when the worker was frozen or cut off for longer than its lease"
UNRECORDED = "not yet in the journal when one of these befell the worker"
TOO_LATE = "sent after the deadline of the call"
EXCUSES = (AT_A_DEATH, AT_A_CUT_OFF, UNRECORDED, TOO_LATE)
LAST_SECOND = 2.0  # seconds: Redis writes its file every one, in rare cases every other
NOTICE = 0.5  # seconds that the ledgers' clocks and the store's may differ, and a request may take to arrive


class Case:
    """The evidence, sorted by what the judges look for."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.runs = {run.id: run for run in evidence.runs}

    @cached_property
    def calls(self) -> dict[tuple[str, int, str], list[ModelCall]]:
        """The calls of the model's ledger by what they ask for: input id, task, request."""
        found = defaultdict(list)
        for call in self.evidence.model_calls:
            found[call.name, call.task, call.digest].append(call)
        return found

    @cached_property
    def answers(self) -> dict[int, ModelCall]:
        """The answers that were sent whole, by number."""
        return {call.number: call for call in self.evidence.model_calls if call.paid}

    @cached_property
    def by_name(self) -> dict[str, list[RunFacts]]:
        """The runs by their input id."""
        found = defaultdict(list)
        for run in self.evidence.runs:
            found[run.name].append(run)
        return found

    @cached_property
    def journalled(self) -> dict[int, float]:
        """When each of the answers that are in a journal was written there, by number."""
        return {
            int(number): event.at.timestamp()
            for run in self.evidence.runs
            for event in run.events
            if isinstance(event, CallFinished) and not event.reused
            for number in ANSWER.findall(run.journal.get(f"{event.task}:{event.call}", ""))
        }

    def cuts(self, worker: str, begin: float, end: float) -> list[Cut]:
        """The cuts that touch a worker, or the one whose child it is, and a time."""
        return [
            cut
            for cut in self._kept_from_work
            if f"{worker}-".startswith(f"{cut.worker}-") and cut.begin <= end and cut.end >= begin
        ]

    @cached_property
    def _kept_from_work(self) -> list[Cut]:
        """Cuts, and the times in which a task took all that its worker had, and was not the end of it."""
        starved = [Cut(*one, "starved") for one in self.evidence.starved if one[2] < math.inf]
        return [*self.evidence.cuts, *starved]

    def excuse(self, call: ModelCall) -> str:
        """Why the worker that made a call could not write the answer down before another worker had to take its task over:
        it died, or was kept from its work for longer than its lease. Empty: there was nothing of the kind."""
        ended = call.ended if call.ended is not None else math.inf
        cuts = [cut for cut in self.cuts(call.key, self.noted_at(call), self.due(call)) if self.lasts(cut)]
        if not cuts:
            return TOO_LATE if self.is_too_late(call) else ""
        if any(cut.begin <= ended for cut in cuts):
            return AT_A_DEATH if any(cut.end == math.inf for cut in cuts) else AT_A_CUT_OFF
        return UNRECORDED

    def noted_at(self, call: ModelCall) -> float:
        """When its worker wrote down that the call begins. One that is frozen just then sends it when it wakes."""
        before = [at for at in self.noted[call.name, call.task, call.key] if at <= call.started + NOTICE]
        return min(call.started, max(before, default=call.started))

    @cached_property
    def noted(self) -> dict[tuple[str, int, str], list[float]]:
        """When calls to the model were begun, by input id, task, and the worker's key."""
        found = defaultdict(list)
        for run in self.evidence.runs:
            names = {
                (event.task, event.attempt): event.worker for event in run.events if isinstance(event, TaskStarted)
            }
            for event in run.events:
                if isinstance(event, CallStarted) and event.kind == "model":
                    name = names.get((event.task, event.attempt), "").rpartition(":")[2]
                    key = self.evidence.workers.get(name, "")
                    found[run.name, event.task or 0, key].append(event.at.timestamp())
        return found

    def is_too_late(self, call: ModelCall) -> bool:
        """Whether the answer was sent when nobody waited for it any more: the call's time ran from when it was noted, and on
        a busy machine some of it may pass until the server hears of it."""
        begun = [at for at in self.begun[call.name, call.task] if at <= call.started + NOTICE]
        return bool(begun) and (call.ended or 0) - max(begun) > MODEL_TIMEOUT - NOTICE

    def is_forgotten(self, call: ModelCall) -> bool:
        """Whether Redis lost that the call had begun, and its worker died before it could say so again."""
        return any(
            begin - HAND_OVER < call.started < end + HAND_OVER
            and any(cut.end == math.inf for cut in self.cuts(call.key, begin, end + HAND_OVER))
            for begin, end in self.evidence.rolled_back
        )

    def is_over(self, call: ModelCall, calls: list[ModelCall]) -> bool:
        """Whether the call may not have been under way any more, as the store knows it, when another of them was made."""
        return self.is_too_late(call) or self.is_forgotten(call) or self.is_given_up(call, calls)

    def is_given_up(self, call: ModelCall, calls: list[ModelCall]) -> bool:
        """Whether its worker was frozen or off the network and was back before another one made the call: its time, or its
        connection, was over then, and it said itself that the call had failed."""
        others = [other.started for other in calls if other.key != call.key and other.started > call.started]
        cuts = self.cuts(call.key, self.noted_at(call), self.due(call))
        return any(self.lasts(cut) and cut.end < min(others, default=-math.inf) for cut in cuts)

    @cached_property
    def begun(self) -> dict[tuple[str, int], list[float]]:
        """When calls to the model were begun, by input id and task."""
        found = defaultdict(list)
        for run in self.evidence.runs:
            for event in run.events:
                if isinstance(event, CallStarted) and event.kind == "model":
                    found[run.name, event.task or 0].append(event.at.timestamp())
        return found

    def lasts(self, cut: Cut) -> bool:
        """Whether it lasted so long that the lease ran out, by the last renewal before it."""
        return cut.end - cut.begin > self.evidence.lease - RENEWAL

    def repeated_answers(self) -> Iterator[str]:
        """For each answer that was asked for again, the excuse."""
        for calls in self.calls.values():
            paid = sorted((call for call in calls if call.paid), key=lambda call: call.started)
            yield from (self.excuse(call) for call in paid[:-1])

    def is_lost_with_its_producer(self, at: float) -> bool:
        """Whether nobody was left to do again what a producer did then: Redis lost its last second, and the producer was killed
        before it could know."""
        return any(
            begin - LAST_SECOND < at < begin + NOTICE
            and any(at <= dead <= end + HAND_OVER for dead in self.evidence.bereaved)
            for begin, end in self.evidence.rolled_back
        )

    def due(self, call: ModelCall | ToolCall) -> float:
        """When the answer to a call has to be in the journal: once Redis took writes, and no task took all that its worker
        had, for `HAND_OVER` seconds on end."""
        at = call.ended if call.ended is not None else math.inf
        starved = [(begin, end) for key, begin, end in self.evidence.starved if key == call.key]
        for begin, end in sorted((*self.evidence.outages, *self.evidence.refusals, *starved)):
            if begin < at + HAND_OVER and end > at:
                at = end
        return at + HAND_OVER

    def is_a_reflex(self, call: ModelCall) -> bool:
        """Whether a worker that had been kept from its work sent it before it was told so: it was stopped at once, or the
        call had been noted before, and was answered sooner."""
        cuts = self.cuts(call.key, call.started - NOTICE, call.started)
        noted = self.noted_at(call)
        reflex = any(not call.paid or (noted < cut.begin and self.lasts(cut)) for cut in cuts)
        return reflex or self.is_delivered_late(call)

    def is_delivered_late(self, call: ModelCall) -> bool:
        """Whether it was sent just as its worker lost its network, and the kernel brought it over later, when nobody waited
        for it any more. TCP waits twice as long after each try, so that is as long after the cut as it lasted, at most."""
        if call.paid:
            return False
        noted = self.noted_at(call)
        cuts = [cut for cut in self.cuts(call.key, noted, call.started) if cut.why == "off the network"]
        return any(noted <= cut.end and call.started <= cut.end + (cut.end - cut.begin) + NOTICE for cut in cuts)


__all__ = ["EXCUSES", "HAND_OVER", "NOTICE", "Case"]
