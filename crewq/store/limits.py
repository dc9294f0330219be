"""What holds a call up, over the whole fleet: limits of models, a provider that wants to be left alone, and budgets."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from crewq.budgets import Budget
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


NANO = 1_000_000_000  # billionths, in which dollars are counted: so sums are exact


@dataclass(frozen=True)
class Charge:
    """What a call asks of the budgets that it stands under.

    Fields:
        cost: an estimate of what it costs, in US dollars; None: nobody knows.
        tokens: an estimate of what it uses.
        daily: what the tenant may spend today. The budgets of the run and of its batch are kept with these.
    """

    cost: float | None
    tokens: int
    daily: Budget


@dataclass(frozen=True)
class Objection:
    """Why a budget does not let a call go.

    Fields:
        word: `held`: there is room once other calls have ended for less than they reserved; `over`: there is none;
            `unpriced`: the budget is one of money, and nobody knows what the call costs.
        kind: whose budget: a `run`'s, a `batch`'s, or a `tenant`'s of the day.
        name: the id, or the tenant.
        what: `cost`, in US dollars, or `tokens`.
        spent: how much was spent, of
        budget: so much.
    """

    word: Literal["held", "over", "unpriced"]
    kind: Literal["run", "batch", "tenant"]
    name: str
    what: Literal["cost", "tokens"]
    spent: float
    budget: float

    @classmethod
    def read(cls, answer: Sequence[str]) -> Objection:
        """What the store answers."""
        word, kind, name, what, spent, budget = answer
        unit = NANO if what == "cost" else 1
        return cls(word, kind, name, what, int(spent) / unit, int(budget) / unit)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Turn:
    """The answer to a call that wants to go. `go`: now; `wait`: ask again in `seconds`, when it has its turn; `pause`: ask
    again in `seconds`, as the provider is to be left alone until then; `full`: ask again when a slot is free; `stop`: this
    attempt no longer owns the task. `scope` is the one that holds it up. `refused`: a budget does not let it go, and
    `objection` tells which, and why."""

    word: Literal["go", "wait", "pause", "full", "stop", "refused"]
    seconds: float = 0.0
    scope: str = ""
    at: int = 0  # ms by Redis's clock, if it goes
    objection: Objection | None = None


class Limits:
    """The limits of all models. A call is reserved before it is made, and settled when it has ended."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def reserve(self, call: Call, demands: Sequence[Demand], charge: Charge | None = None) -> Turn:
        """Let a call go if all its scopes and budgets have room now.

        Where a scope has none, it has its place in the line of that, in any attempt. What it may cost is reserved until its
        answer is written down or it has failed, at most as long as its attempt has the lease of the task.
        """
        word, *rest = self._verbs.reserve_call(**_named(call, demands), charge=_charge(charge))
        if word == "go":
            return Turn("go", at=int(rest[0]))
        if word in ("held", "over", "unpriced"):
            return Turn("refused", objection=Objection.read([word, *rest]))
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


def _charge(charge: Charge | None) -> str:
    if charge is None:
        return ""
    cost = -1 if charge.cost is None else _nano(charge.cost)
    max_cost, max_tokens = _nano(charge.daily.max_cost or 0), charge.daily.max_tokens or 0
    return json.dumps({"cost": cost, "tokens": charge.tokens, "max_cost": max_cost, "max_tokens": max_tokens})


def _nano(dollars: float) -> int:
    return math.ceil(round(dollars * NANO, 3))


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


__all__ = ["NANO", "Charge", "Demand", "Limits", "Objection", "Turn"]
