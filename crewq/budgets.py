"""Budgets: what a run, a batch, or a tenant in a day may cost and use, in US dollars and in tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from crewq import errors
from crewq.amounts import LARGEST, amount, whole

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
    return tuple(_read(part.split(), text, variable) for part in text.split(";") if part.strip())


def _read(words: list[str], text: str, variable: str) -> TenantBudget:
    tenants, *entries = words
    found: dict[str, float] = {}
    for entry in entries:
        name, _, written = entry.partition("=")
        number = READ[name](written) if name in READ else None
        if number is None:
            reason = f"{entry!r} is neither max_cost=DOLLARS nor max_tokens=NUMBER, above 0 and up to {LARGEST:g}."
            raise errors.SettingInvalid(variable=variable, value=text, reason=reason)
        found[name] = number
    if not found or "=" in tenants:
        reason = "each part must be a tenant and its budget, such as acme max_cost=50; semicolons stand between them."
        raise errors.SettingInvalid(variable=variable, value=text, reason=reason)
    tokens = found.get("max_tokens")
    return TenantBudget(tenants, Budget(found.get("max_cost"), None if tokens is None else int(tokens)))


__all__ = ["Budget", "TenantBudget", "budget_of", "read_budgets"]
