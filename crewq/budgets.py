"""Budgets: what a run, a batch, or a tenant in a day may cost and use, in US dollars and in tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from crewq.amounts import LARGEST, amount, read_rules, whole

READ: Final[dict[str, Callable[[str], float | None]]] = {"max_cost": amount, "max_tokens": whole}


@dataclass(frozen=True)
class Budget:
    """What may be spent. None: as much as anybody likes.

    Fields:
        max_cost: US dollars.
        max_tokens: tokens, of questions and answers.
    """

    max_cost: float | None = None
    max_tokens: int | None = None

    def __bool__(self) -> bool:
        return self.max_cost is not None or self.max_tokens is not None


@dataclass(frozen=True)
class TenantBudget:
    """What each tenant whose name fits `tenants`, in which `*` stands for anything, may spend in a day (of UTC)."""

    tenants: str
    budget: Budget


def budget_of(tenant: str, budgets: Iterable[TenantBudget]) -> Budget:
    """A tenant's budget for a day: the first that fits its name, so the more particular ones stand before `*`."""
    return next((one.budget for one in budgets if fnmatchcase(tenant, one.tenants)), Budget())


def read_budgets(text: str, variable: str) -> tuple[TenantBudget, ...]:
    """Read `acme max_cost=50; * max_cost=10 max_tokens=2000000`.

    Args:
        text: tenants and what each of them may spend in a day, with semicolons between.
        variable: where it stands, for the error.

    Raises:
        SettingInvalid: it cannot be read.
    """
    rules = read_rules(
        text,
        variable,
        READ,
        entries=f"neither max_cost=DOLLARS nor max_tokens=NUMBER, above 0 and up to {LARGEST:g}",
        parts="a tenant and its budget, such as acme max_cost=50",
    )
    return tuple(TenantBudget(tenants, _budget(**found)) for tenants, found in rules)


def _budget(max_cost: float | None = None, max_tokens: float | None = None) -> Budget:
    return Budget(max_cost, None if max_tokens is None else int(max_tokens))


__all__ = ["Budget", "TenantBudget", "budget_of", "read_budgets"]
