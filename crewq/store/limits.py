"""Limits over the whole fleet: calls and tokens per minute, calls at once, and a provider that wants to be left alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from crewq.limits import Limit
from crewq.store.journal import Call
from crewq.store.orders import Job
from crewq.store.verbs import Verbs


@dataclass(frozen=True)
class Demand:
    """What a call asks of one scope.

    Fields:
        scope: what the limit is kept for: a model under a key, or the max_rpm of an agent or a crew.
        limit: the limit; an empty one only heeds whether the scope is to be left alone.
        tokens: an estimate of what the call takes.
    """

    scope: str
    limit: Limit
    tokens: int = 0


@dataclass(frozen=True)
class Turn:
    """The answer to a call that wants to go. `go`: now; `wait`: ask again in `seconds`, when it has its turn; `pause`: ask
    again in `seconds`, as the provider is to be left alone until then; `full`: ask again when a slot is free; `stop`: this
    attempt no longer owns the task. `scope` is the one that holds it up."""

    word: Literal["go", "wait", "pause", "full", "stop"]
    seconds: float = 0.0
    scope: str = ""
    at: int = 0  # ms by Redis's clock, if it goes


class Limits:
    """The limits of all models. A call is reserved before it is made, and settled when it has ended."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def reserve(self, call: Call, demands: Sequence[Demand]) -> Turn:
        """Let a call go if all its scopes have room now; else it has its place in their lines, in any attempt."""
        word, *rest = self._verbs.reserve_call(**_named(call, demands))
        if word == "go":
            return Turn("go", at=int(rest[0]))
        return Turn("stop") if word == "stop" else Turn(word, int(rest[0]) / 1000, rest[1])  # type: ignore[arg-type]

    def settle(self, call: Call, demands: Sequence[Demand], turn: Turn, tokens: int | None = None) -> tuple[Job, ...]:
        """A call has ended; answers what to publish: tasks that waited for its slot.

        Args:
            call: which one.
            demands: as they were reserved.
            turn: what that answered.
            tokens: what it used; None: nobody knows.
        """
        used = -1 if tokens is None else tokens
        members = self._verbs.settle_call(**_named(call, demands), at=turn.at, used=used)
        return tuple(Job.read(member) for member in members)

    def refuse(self, call: Call, demands: Sequence[Demand], turn: Turn | None, scope: str, pause: float) -> int:
        """The provider refused a call: all workers leave the scope alone for `pause` seconds.

        Returns:
            How often this call was refused, in all attempts.
        """
        return self._verbs.refuse_call(
            **_named(call, demands), at=turn.at if turn else 0, scope=scope, pause_ms=max(1, int(pause * 1000))
        )


def _named(call: Call, demands: Sequence[Demand]) -> dict[str, Any]:
    limits = [
        {
            "scope": one.scope,
            "rpm": one.limit.rpm or 0,
            "tpm": one.limit.tpm or 0,
            "slots": one.limit.max_concurrency or 0,
            "tokens": one.tokens,
        }
        for one in demands
    ]
    run, index = call.job.run, call.job.index
    return {"run": run, "index": index, "attempt": call.attempt, "call": call.id, "limits": json.dumps(limits)}


__all__ = ["Demand", "Limits", "Turn"]
