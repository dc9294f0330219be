"""What a chaos run showed, as Markdown."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from crewq.events import TaskRequeued, TaskStarted
from crewq.store.connection import HEAL_MS
from tests.chaos.case import EXCUSES, Case
from tests.chaos.checker import Objection
from tests.chaos.evidence import Evidence, RunFacts

SHOWN = 12  # objections to one invariant that are shown in full
DEATHS = ("killed", "died")
HEALING = HEAL_MS / 1000  # seconds in which nothing new begins after a return of Redis
RECOVERING = 2.0  # seconds after a lease: till then the tasks of a worker that ended take slots of the others


def render(evidence: Evidence, objections: Sequence[Objection], injected: Mapping[str, int], *, command: str) -> str:
    """The table of faults, the table of figures, and the objections.

    Args:
        evidence: what was found.
        objections: of the checker.
        injected: how often each fault happened.
        command: which does the same again.
    """
    faults = "\n".join(f"| {kind} | {number} |" for kind, number in sorted(injected.items()))
    figures = "\n".join(f"| {what} | {value} |" for what, value in _figures(evidence, objections).items())
    return (
        f"`{command}`\n\n| fault | times |\n|---|---|\n{faults}\n"
        f"| **all** | **{sum(injected.values())}** |\n\n| | |\n|---|---|\n{figures}\n\n{_verdict(objections)}"
    )


def _figures(evidence: Evidence, objections: Sequence[Objection]) -> dict[str, object]:
    states = Counter(run.record.state.value for run in evidence.runs)
    failures = Counter(type(run.record.error).__name__ for run in evidence.runs if run.record.error)
    paid = Counter((call.name, call.task, call.digest) for call in evidence.model_calls if call.paid)
    recovered = recoveries(evidence)
    times = sorted(one.seconds for one in recovered)
    undisturbed = sorted(one.seconds for one in recovered if not one.disturbed)
    repeats = Counter(Case(evidence).repeated_answers())
    broken = Counter(one.invariant for one in objections)
    return {
        "runs accepted": len(evidence.runs),
        "ended": ", ".join(f"{number} {state}" for state, number in states.items()),
        "failed by": ", ".join(f"{number} {kind}" for kind, number in failures.items()) or "none",
        "tasks completed": sum(task.state == "completed" for run in evidence.runs for task in run.record.tasks),
        "model calls needed": len(paid),
        "model calls started": len(evidence.model_calls),
        "model calls answered": sum(paid.values()),
        "**runs stuck or lost**": broken["I1"],
        "**finished calls paid twice**": broken["I2"],
        "**outputs lost or changed**": broken["I4"],
        "**keys without a TTL, or left when all is forgotten**": broken["I11"],
        **{f"answers asked for again, {why}": repeats[why] for why in EXCUSES},
        "from an answer's last byte to the journal, p50, p99, longest": _quantiles(_hand_overs(evidence)),
        "tool calls": len(evidence.tool_calls),
        "Celery events listened to": evidence.heard,
        "worker deaths": sum(cut.why in DEATHS for cut in evidence.cuts),
        "outages of Redis": len(evidence.outages),
        "tasks recovered after a death": len(times),
        "recovery p50, p99, longest": _quantiles(times),
        f"the same for the {len(undisturbed)} that no other fault disturbed": _quantiles(undisturbed),
        "bytes in Redis before, at the end, and with all runs forgotten": ", ".join(
            f"{held:,}" for held in evidence.held
        ),
    }


def _hand_overs(evidence: Evidence) -> list[float]:
    case = Case(evidence)
    return sorted(at - (case.answers[number].ended or at) for number, at in case.journalled.items())


@dataclass(frozen=True)
class Recovery:
    """A task that a worker held when it died, and the seconds until it was started again."""

    task: str
    seconds: float
    disturbed: bool  # by another fault, of Redis, a worker or the messages, or by what such a one left


def recoveries(evidence: Evidence) -> list[Recovery]:
    """Those of all tasks, with the deaths as the ledger of faults has them and the starts as the store has them."""
    deaths = {cut.worker: cut.begin for cut in evidence.cuts if cut.why in DEATHS}
    by_name = {name: deaths[key] for name, key in evidence.workers.items() if key in deaths}
    return [
        Recovery(f"{run.name}/t{before.task}", back - death, _disturbed(evidence, death, back))
        for run in evidence.runs
        for before, after in _crashes(run)
        if (death := by_name.get(before.worker.rpartition(":")[2])) and death < (back := after.at.timestamp())
    ]


def _crashes(run: RunFacts) -> Iterator[tuple[TaskStarted, TaskStarted]]:
    """The attempts that ended with their worker, each with the next one."""
    starts = {(event.task, event.attempt): event for event in run.events if isinstance(event, TaskStarted)}
    for event in run.events:
        if isinstance(event, TaskRequeued) and event.reason == "crashed":
            after = starts.get((event.task, event.attempt + 1))
            if after and event.attempt:
                yield starts[event.task, event.attempt], after


def _disturbed(evidence: Evidence, begin: float, end: float) -> bool:
    back = evidence.lease + RECOVERING
    others = [
        (cut.begin, cut.begin + back if cut.end == math.inf else cut.end) for cut in evidence.cuts if cut.begin != begin
    ]
    closed = [(down, up + HEALING) for down, up in (*evidence.outages, *evidence.refusals)]
    losses = [(at, at) for at in evidence.losses]
    return any(start <= end and stop >= begin for start, stop in (*others, *closed, *losses, *evidence.deserted))


def _quantiles(ordered: Sequence[float]) -> str:
    if not ordered:
        return "-"
    at = (min(len(ordered) - 1, int(part * len(ordered))) for part in (0.5, 0.99, 1.0))
    return ", ".join(f"{ordered[place]:.1f} s" for place in at)


def _verdict(objections: Sequence[Objection]) -> str:
    if not objections:
        return "Every invariant holds, I1 to I12.\n"
    by_invariant = defaultdict(list)
    for one in objections:
        by_invariant[one.invariant].append(one.text)
    parts = [
        f"**{invariant}**: {len(texts)} objections\n" + "".join(f"- {text}\n" for text in texts[:SHOWN])
        for invariant, texts in by_invariant.items()
    ]
    return "\n".join(parts)


__all__ = ["recoveries", "render"]
