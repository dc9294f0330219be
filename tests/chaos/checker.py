"""The judge: reads what a chaos run left behind, and objects wherever an invariant does not hold, by its number.

It believes the ledgers, which are kept outside of what was broken, before it believes the store.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from crewq.events import TaskRequeued, TaskStarted
from crewq.states import RunState, TaskState
from tests.chaos.case import NOTICE, Case
from tests.chaos.crews import POISON
from tests.chaos.evidence import ANSWER, Cut, Evidence, RunFacts

ABORT = 1.0  # seconds in which a cancel aborts a call


@dataclass(frozen=True)
class Objection:
    """An invariant that does not hold, and where."""

    invariant: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


def check(evidence: Evidence) -> list[Objection]:
    """Everything that is wrong, in the order of the invariants."""
    case = Case(evidence)
    return [Objection(number, text) for number, judge in JUDGES.items() for text in judge(case)]


# -- I1: every accepted run ends -------------------------------------------------------------------------------------


def _every_run_ends(case: Case) -> Iterator[str]:
    for run in case.runs.values():
        if not run.record.state.ended and not _orphaned(case, run):
            yield f"run {run.id} ({run.name}) is {run.record.state.value}: {_states(run)}"
    batches = {batch.id: batch for batch in case.evidence.batches}
    for kickoff in case.evidence.kickoffs:
        if case.is_lost_with_its_producer(kickoff.at):
            continue
        if kickoff.run and kickoff.run not in case.runs:
            yield f"run {kickoff.run} ({kickoff.name}) was accepted and is gone"
        if kickoff.batch and (batch := batches.get(kickoff.batch)) is None:
            yield f"batch {kickoff.batch} ({kickoff.name}) was accepted and is gone"
        elif kickoff.batch and batch and batch.total != kickoff.size:
            yield f"batch {kickoff.batch} ({kickoff.name}) has {batch.total} of {kickoff.size} runs"


def _orphaned(case: Case, run: RunFacts) -> bool:
    """Whether it is of a batch that its producer died over before it was accepted."""
    return any(batch.id == run.record.batch and not batch.opened for batch in case.evidence.batches)


def _states(run: RunFacts) -> str:
    return ", ".join(f"{task.state.value} (attempt {task.attempt})" for task in run.record.tasks)


# -- I2, I3: what was paid for is not paid for again -----------------------------------------------------------------


def _nothing_is_paid_twice(case: Case) -> Iterator[str]:
    for (name, task, _), calls in case.calls.items():
        paid = [call for call in calls if call.paid]
        for earlier in paid:
            known_at = case.journalled.get(earlier.number, float("inf"))
            for later in calls:
                again = later.started > (earlier.ended or 0) and not case.is_a_reflex(later)
                if again and (later.started > known_at + NOTICE or not case.excuse(earlier)):
                    yield f"{name}/t{task}: answer {earlier.number} was paid for, and call {later.number} asks again"
    yield from _no_tool_call_is_made_twice(case)
    yield from _money_is_counted_once(case)


def _no_tool_call_is_made_twice(case: Case) -> Iterator[str]:
    made = defaultdict(list)
    for call in case.evidence.tool_calls:
        made[call.name, call.task].append(call)
    for (name, task), calls in made.items():
        for earlier, later in itertools.pairwise(sorted(calls, key=lambda call: call.started)):
            ended = earlier.ended if earlier.ended is not None else float("inf")
            if not any(map(case.lasts, case.cuts(earlier.key, earlier.started, case.due(earlier)))):
                yield f"{name}/t{task}: the tool {earlier.tool} was called again after {later.started - ended:.2f} s"
            if earlier.tool == "charge":
                yield f"{name}/t{task}: the tool {earlier.tool} must not be repeated, and was"


def _money_is_counted_once(case: Case) -> Iterator[str]:
    for run in case.runs.values():
        answers = sum(key.partition(":")[2].startswith("model:") for key in _finished(run))
        if run.record.usage.successful_requests != answers:
            yield f"run {run.id}: {run.record.usage.successful_requests} answers in its usage, {answers} in its journal"


def _finished(run: RunFacts) -> list[str]:
    return [key for key, value in run.journal.items() if value.startswith("finished ")]


def _repeats_are_counted(case: Case) -> Iterator[str]:
    for (name, task, _), calls in case.calls.items():
        if len(case.by_name[name]) != 1:
            continue
        makers = {call.key for call in calls if not (call.failed or case.is_over(call, calls))}
        counted = case.by_name[name][0].record.tasks[task].repeated
        if len(makers) - 1 > counted:
            yield f"{name}/t{task}: {len(makers)} workers made a call, and {counted} repeats are counted"


# -- I4: an output is recorded once ----------------------------------------------------------------------------------


def _outputs_are_recorded_once(case: Case) -> Iterator[str]:
    for run in case.runs.values():
        recorded = Counter(event.task for event in run.events if event.type == "task_completed")
        for task in run.record.tasks:
            times = recorded[task.index]
            if task.state is TaskState.COMPLETED and times != (0 if task.kept or task.edited else 1):
                yield f"{run.name}/t{task.index}: its output was recorded {times} times"
            if task.state is TaskState.COMPLETED and not (task.output and _is_an_answer(case, run, task.index)):
                yield f"{run.name}/t{task.index}: its output is no answer of the model's: {task.output}"
    yield from _context_is_what_was_recorded(case)


def _is_an_answer(case: Case, run: RunFacts, index: int) -> bool:
    output = run.record.tasks[index].output
    call = next((case.answers.get(int(number)) for number in ANSWER.findall(output.raw if output else "")), None)
    return call is not None and (run.record.tasks[index].kept or (call.name, call.task) == (run.name, index))


def _context_is_what_was_recorded(case: Case) -> Iterator[str]:
    for call in case.evidence.model_calls:
        for run in case.by_name[call.name]:
            outputs = " ".join(task.output.raw for task in run.record.tasks if task.output)
            if not set(ANSWER.findall(call.prompt)) <= set(ANSWER.findall(outputs)):
                yield f"{call.name}/t{call.task}: call {call.number} was given an output that is not the recorded one"


# -- I5: nothing starts too early ------------------------------------------------------------------------------------


def _nothing_starts_early(case: Case) -> Iterator[str]:
    for run in case.runs.values():
        done = {task.index for task in run.record.tasks if task.kept or task.edited}
        for event in run.events:
            if isinstance(event, TaskStarted) and not done.issuperset(run.after[event.task or 0]):
                yield f"{run.name}/t{event.task}: started before what it stands on: {run.after[event.task or 0]}"
            if event.type in ("task_completed", "task_skipped"):
                done.add(event.task or 0)


# -- I6: one owner ---------------------------------------------------------------------------------------------------


def _one_owner(case: Case) -> Iterator[str]:
    for run in case.runs.values():
        for task in run.record.tasks:
            yield from _attempts_follow_one_another(run, task.index)
    by_task = defaultdict(list)
    for call in case.evidence.model_calls:
        by_task[call.name, call.task].append(call)
    for (name, task), calls in by_task.items():
        for earlier, later in itertools.combinations(calls, 2):
            overlap = earlier.key != later.key and later.started < (earlier.ended or float("inf")) - NOTICE
            excused = case.cuts(earlier.key, earlier.started, later.started) or case.is_a_reflex(later)
            if overlap and not excused:
                yield f"{name}/t{task}: {earlier.key} and {later.key} worked on it at the same time"


def _attempts_follow_one_another(run: RunFacts, index: int) -> Iterator[str]:
    owner, latest = 0, 0
    for event in run.events:
        if event.type == "run_resumed":
            owner = 0  # a person let it go on, after nobody had worked on it
        elif event.task != index:
            continue
        elif isinstance(event, TaskStarted):
            if owner or event.attempt != latest + 1:
                yield f"{run.name}/t{index}: attempt {event.attempt} began after {latest}, while {owner or 'none'} had it"
            owner = latest = event.attempt
        elif event.type in ("task_requeued", "task_completed", "task_failed", "task_skipped"):
            by_itself = isinstance(event, TaskRequeued) and not owner and event.attempt == latest  # out of a pause
            if getattr(event, "attempt", owner) != owner and not by_itself:
                yield f"{run.name}/t{event.task}: {event.type} by another attempt than {owner}"
            owner = 0


# -- I7: poison ------------------------------------------------------------------------------------------------------


def _poison_harms_nobody(case: Case) -> Iterator[str]:
    for run in case.runs.values():
        error = run.record.error
        kind = type(error).__name__
        if run.record.crew in POISON:
            crashes = [task.attempt for task in run.record.tasks if task.state is TaskState.FAILED]
            if run.record.state is RunState.FAILED and (kind != "Crashed" or max(crashes) < case.evidence.max_attempts):
                yield f"{run.name}: poison ended by {kind} after {crashes} attempts"
            if run.record.state is RunState.COMPLETED:
                yield f"{run.name}: poison completed"
        elif run.record.state is RunState.FAILED and run.record.crew != "devour" and not _may_fail(case, run, kind):
            yield f"{run.name} ({run.record.crew}): failed, and did nothing wrong: {error}"


def _may_fail(case: Case, run: RunFacts, kind: str) -> bool:
    """Whether the run had bad luck that it was told of: its worker was hit each time, and the last time, when it was alone in
    there and nobody's poison beside it, from outside."""
    if kind == "CallInDoubt":
        return run.record.crew == "charge"
    if kind != "Crashed":
        return False
    *beside_others, alone = _last_attempts(run)
    return all(_cuts_in(case, start) for start in beside_others) and _hit_from_outside(case, alone)


def _last_attempts(run: RunFacts) -> list[TaskStarted]:
    crashed = {(event.task, event.attempt) for event in run.events if isinstance(event, TaskRequeued)}
    failed = run.record.failed_task
    starts = [event for event in run.events if isinstance(event, TaskStarted) and event.task == failed]
    return [event for event in starts if (event.task, event.attempt) in crashed or event is starts[-1]]


def _hit_from_outside(case: Case, start: TaskStarted) -> bool:
    return any(cut.why != "died" for cut in _cuts_in(case, start))


def _cuts_in(case: Case, start: TaskStarted) -> list[Cut]:
    key = case.evidence.workers.get(start.worker.rpartition(":")[2], "")
    return case.cuts(key, start.at.timestamp(), start.at.timestamp() + 60)


# -- I8, I9, I10 -----------------------------------------------------------------------------------------------------


def _a_key_names_one_run(case: Case) -> Iterator[str]:
    for name, runs in case.by_name.items():
        if len(runs) > 1:
            yield f"{name}: there are {len(runs)} runs of it: {', '.join(run.id for run in runs)}"
    for kickoff in case.evidence.kickoffs:
        if kickoff.run in case.runs and case.runs[kickoff.run].name != kickoff.name:
            yield f"{kickoff.name}: was answered by the run of {case.runs[kickoff.run].name}"


def _counters_and_events_are_whole(case: Case) -> Iterator[str]:
    for batch in case.evidence.batches:
        runs = [case.runs[run] for run in batch.runs if run in case.runs]
        states = Counter(run.record.state.value for run in runs)
        counted = {"completed": batch.completed, "failed": batch.failed, "cancelled": batch.cancelled}
        if batch.opened and ({state: states[state] for state in counted} != counted or batch.left != 0):
            yield f"batch {batch.id} counts {counted}, {batch.left} left, and its runs are {dict(states)}"
        if batch.total != len(batch.runs) or (batch.opened and sorted(batch.ended) != sorted(batch.runs)):
            yield f"batch {batch.id} has {batch.total} runs, lists {len(batch.runs)}, and {len(batch.ended)} ends"
    for run in case.runs.values():
        yield from _story_is_whole(run)


def _story_is_whole(run: RunFacts) -> Iterator[str]:
    types = [event.type for event in run.events]
    terminal = [event.type for event in run.events if event.terminal]
    if types[:1] != ["run_queued"]:
        yield f"{run.name}: its events begin with {types[:1]}"
    if run.record.state.ended and terminal != [f"run_{run.record.state.value}"]:
        yield f"{run.name}: it is {run.record.state.value}, and its ends are {terminal}"
    if terminal and (late := set(types[types.index(terminal[0]) + 1 :]) - {"call_finished"}):  # an answer may come late
        yield f"{run.name}: after its end came {', '.join(sorted(late))}"
    ended = Counter(event.task for event in run.events if event.type in ("task_completed", "task_failed"))
    told = {task.index for task in run.record.tasks if task.state in (TaskState.COMPLETED, TaskState.FAILED)}
    if set(ended) != told - {task.index for task in run.record.tasks if task.kept or task.edited}:
        yield f"{run.name}: its events tell of the ends of {sorted(ended)}, its tasks of {sorted(told)}"


def _cancelled_means_cancelled(case: Case) -> Iterator[str]:
    for run_id, at in case.evidence.cancels.items():
        run = case.runs.get(run_id)
        if run is None or case.is_lost_with_its_producer(at):
            continue
        if run.record.state is not RunState.CANCELLED:
            yield f"{run.name}: was cancelled and is {run.record.state.value}"
        for call in case.evidence.model_calls:
            if call.name != run.name or case.cuts(call.key, at - ABORT, at + ABORT):
                continue
            begun = case.noted_at(call)  # a busy machine may take until after the cancel to send what had begun before
            if begun > at + NOTICE:
                yield f"{run.name}: call {call.number} began {begun - at:.2f} s after the cancel"
            elif (call.ended or float("inf")) > at + ABORT + NOTICE and begun <= at and not _away(case, at):
                yield f"{run.name}: call {call.number} was still under way {ABORT:g} s after the cancel"


def _away(case: Case, at: float) -> bool:
    return any(begin <= at + ABORT and end >= at for begin, end in case.evidence.outages)


# -- I11, I12 --------------------------------------------------------------------------------------------------------


def _nothing_leaks(case: Case) -> Iterator[str]:
    yield from (f"the key {key} has no TTL" for key in case.evidence.immortal)
    yield from (f"after all runs are forgotten there is {what}" for what in case.evidence.left_over)


def _nothing_is_told(case: Case) -> Iterator[str]:
    yield from (f"an input or a key is told by {where}" for where in case.evidence.secrets)


JUDGES: dict[str, Callable[[Case], Iterator[str]]] = {
    "I1": _every_run_ends,
    "I2": _nothing_is_paid_twice,
    "I3": _repeats_are_counted,
    "I4": _outputs_are_recorded_once,
    "I5": _nothing_starts_early,
    "I6": _one_owner,
    "I7": _poison_harms_nobody,
    "I8": _a_key_names_one_run,
    "I9": _counters_and_events_are_whole,
    "I10": _cancelled_means_cancelled,
    "I11": _nothing_leaks,
    "I12": _nothing_is_told,
}

__all__ = ["JUDGES", "Objection", "check"]
