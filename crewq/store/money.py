"""Budgets that are raised, and what was spent: calls, tokens and dollars by day, tenant, crew and model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import redis

from crewq import errors
from crewq.budgets import Budget
from crewq.store.limits import NANO
from crewq.store.verbs import Verbs

NO_BUDGET = Budget()
FIRST_DAY = date(1970, 1, 1)
DAYS_READ = 50  # days of tenants that are read in one round trip


@dataclass(frozen=True)
class Cost:
    """What the calls to a model cost that a tenant's runs of a crew made in a day (of UTC).

    Fields:
        day, tenant, crew, model: as they are called.
        calls: how many there were.
        prompt_tokens, completion_tokens, total_tokens: what they used.
        cost: in US dollars, of the calls whose price is known.
        unpriced: how many calls have a price that nobody knows.
    """

    day: date
    tenant: str
    crew: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: float
    unpriced: int


class Costs:
    """What was spent, also on runs that are forgotten by now."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def read(self, since: date | None = None) -> Iterator[Cost]:
        """The costs of each day from `since` on; None: of all that are kept."""
        keys = self._verbs.keys
        first = (since - FIRST_DAY).days if since else "-inf"
        days: list[str] = self._verbs.do(lambda client: client.zrangebyscore(keys.named("costs"), first, "+inf"))
        for at in range(0, len(days), DAYS_READ):
            yield from self._read_some(days[at : at + DAYS_READ])

    def _read_some(self, days: Sequence[str]) -> Iterator[Cost]:
        names = [day.split("|", 1) for day in days]
        keys = [self._verbs.keys.costs(int(day), tenant) for day, tenant in names]

        def command(client: redis.Redis) -> list[dict[str, str]]:
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.hgetall(key)
            return pipeline.execute()

        for (day, tenant), rows in zip(names, self._verbs.do(command), strict=True):
            for name, row in rows.items():
                crew, mark, model = name.rpartition("\x1f")
                if mark:
                    yield _cost(FIRST_DAY + timedelta(days=int(day)), tenant, crew, model, row)


def _cost(day: date, tenant: str, crew: str, model: str, row: str) -> Cost:
    calls, prompt, completion, total, nano, unpriced, *_ = map(int, row.split())
    return Cost(day, tenant, crew, model, calls, prompt, completion, total, nano / NANO, unpriced)


def raised(budget: Budget) -> dict[str, str]:
    """A new budget, as the verbs that raise one take it."""
    return {name: "" if value is None else str(value) for name, value in vars(budget).items()}


def spent_already(kind: str, name: str, answer: Iterable[str]) -> errors.BudgetTooSmall:
    """The error for a new budget that is no more than what was spent."""
    what, spent = answer
    told = f"${int(spent) / NANO:.6g}" if what == "cost" else f"{int(spent):,} tokens"
    return errors.BudgetTooSmall(kind=kind, id=name, spent=told)


__all__ = ["NO_BUDGET", "Cost", "Costs", "raised", "spent_already"]
