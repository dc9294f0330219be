"""The journal of a run: every model and tool call is looked up before it is made, and written down when it has ended.

A call is identified by its kind, the digest of its request, and its ordinal among the equal requests of its task, so no
order or number of calls is prescribed: what was asked before is answered from here, anything else simply misses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crewq import errors
from crewq.store.orders import Job
from crewq.store.places import SKIPPED, of_call, of_event, of_shared
from crewq.store.verbs import Verbs

FINISHED = "finished "  # stands before the answer of a call that has one
FAILED = "\x15"  # begins what is kept of a tool that raised: ASCII's "not acknowledged", which no text begins with


@dataclass(frozen=True)
class Call:
    """A call within an attempt at a task. `kind` is model, tool, or person (a question to one); `name` is what a person knows
    it by."""

    job: Job
    attempt: int
    kind: Literal["model", "tool", "person"]
    name: str
    digest: str
    ordinal: int

    @property
    def id(self) -> str:
        """What identifies it within its task, in every attempt."""
        return f"{self.kind}:{self.digest}:{self.ordinal}"


@dataclass(frozen=True)
class Finding:
    """The journal's answer. `go`: make the call; `answer`: it was made before, and this came of it; `doubt`: it was under
    way when its worker died, and must not simply be repeated; `stop`: this attempt no longer owns the task; `wait`: Redis
    has just come back, so ask again in a moment. `slowed`: a provider wants one of its models to be left alone for now."""

    word: Literal["go", "answer", "doubt", "stop", "wait"]
    answer: str = ""
    slowed: bool = False


class Journal:
    """The calls of all runs."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._vault = verbs.vault

    def begin(self, call: Call, *, repeatable: bool, shared: str = "") -> Finding:
        """Ask before a call is made.

        Args:
            call: the call.
            repeatable: it may be made again if it was under way when its worker died.
            shared: what it has in common with those calls of other tasks whose results will do; empty: none.
        """
        word, *answer = self._verbs.begin_call(
            run=call.job.run,
            index=call.job.index,
            attempt=call.attempt,
            call=call.id,
            kind=call.kind,
            name=call.name,
            repeatable=int(repeatable),
            shared=shared,
        )
        if word == "go":
            self._verbs.redo.remember(
                "restore_call", [call.job.run, call.job.index, call.attempt, call.id, call.kind, call.name]
            )
            return Finding("go", slowed=answer == ["1"])
        return Finding(word, *(self._open(call, one, shared) for one in answer))  # type: ignore[arg-type]

    def tell(self, call: Call, agent: str, piece: str, offset: int, tool: str = "") -> None:
        """Append a piece of the answer to the run's events, while the call's attempt owns the task.

        Args:
            call: the call to a model.
            agent: the role of the agent that asks.
            piece: a piece of the text, or the arguments of a tool.
            offset: how many characters, or tools, came before it.
            tool: the name of the tool; empty for text.
        """
        fields = {"type": "token", "task": str(call.job.index), "attempt": str(call.attempt), "call": call.id}
        fields |= {"offset": str(offset), "tool": tool}
        self._verbs.tell_call(
            run=call.job.run,
            index=call.job.index,
            attempt=call.attempt,
            call=call.id,
            agent=self._vault.seal(of_event(call.job.run, fields, "agent"), agent),
            offset=offset,
            tool=tool,
            piece=self._vault.seal(of_event(call.job.run, fields, "text"), piece),
        )

    def finish(self, call: Call, answer: str, *, usage: str = "", seconds: float) -> str:
        """Write an answer down; answers the one that stands, which is an earlier one if there was one."""
        parcel = self._vault.parcel()
        word, *earlier = self._verbs.finish_call(
            run=call.job.run,
            index=call.job.index,
            attempt=call.attempt,
            call=call.id,
            kind=call.kind,
            name=call.name,
            answer=parcel.seal(_place(call), answer),
            failed=int(answer.startswith(FAILED)),
            usage=usage,
            seconds=round(seconds, 4),
            blobs=parcel.blobs,
        )
        return self._open(call, earlier[0]) if word == "answer" else answer

    def fail(self, call: Call) -> None:
        """Note that a call ended without an answer: whoever makes it again repeats nothing that was in flight."""
        self._verbs.fail_call(
            run=call.job.run,
            index=call.job.index,
            attempt=call.attempt,
            call=call.id,
            kind=call.kind,
            name=call.name,
        )

    def share(self, job: Job, shared: str, result: str) -> None:
        """Let the calls of all tasks of a job's run that have `shared` in common have this result."""
        parcel = self._vault.parcel()
        sealed = parcel.seal(of_shared(job.run, shared), result)
        self._verbs.share_result(run=job.run, shared=shared, result=sealed, blobs=parcel.blobs)

    def find(self, call: Call) -> str | None:
        """The answer of a call, if there is one; nothing is noted."""
        journal, field = self._verbs.keys.journal(call.job.run), f"{call.job.index}:{call.id}"
        found: str | None = self._verbs.do(lambda client: client.hget(journal, field))
        return self._open(call, found.removeprefix(FINISHED)) if found and found.startswith(FINISHED) else None

    def _open(self, call: Call, sealed: str, shared: str = "") -> str:
        """The answer of a call; or that which another has shared with it, as it was sealed for all of them."""
        if call.kind == "tool" and sealed == SKIPPED:
            return sealed
        try:
            return self._vault.open(_place(call), sealed)
        except errors.NotAuthentic:
            if not shared:
                raise
            return self._vault.open(of_shared(call.job.run, shared), sealed)


def _place(call: Call) -> str:
    return of_call(call.job.run, call.job.index, call.id)


__all__ = ["FAILED", "FINISHED", "Call", "Finding", "Journal"]
