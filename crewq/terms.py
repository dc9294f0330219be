"""The terms of a kickoff: for whom it is, how urgent, and what it may cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, TypedDict, get_args

from crewq import errors
from crewq.amounts import LARGEST

Priority: TypeAlias = Literal["high", "normal", "low"]
PRIORITIES: Final[tuple[str, ...]] = get_args(Priority)
DEFAULT_TENANT: Final = "default"  # whose the runs are that are nobody's in particular
LONGEST: Final = 10**9  # seconds, which are 31 years
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class BudgetGiven(TypedDict, total=False):
    """A budget as it is given; the fields are told of with `TermsGiven`."""

    max_cost: float | None
    max_tokens: int | None


class TermsGiven(BudgetGiven, total=False):
    """The terms as a kickoff takes them: `crew.kickoff(inputs, tenant="acme", max_cost=0.50)`.

    Fields:
        tenant: for whom: a customer, a team, a project; up to 64 letters, digits and `._@-`.
        priority: `high`, `normal` or `low`: which of the tasks that wait are begun first.
        max_cost: US dollars that it may cost. Before each model call its cost is estimated; a call that would go beyond
            is not made, and the run is paused: `run.resume(max_cost=...)` raises the budget. Of a batch: for all its runs.
        max_tokens: tokens that it may use, likewise: of questions and answers, in all calls together.
    """

    tenant: str
    priority: Priority


@dataclass(frozen=True)
class Terms:
    """The terms of a run or a batch, checked. The fields are those of `TermsGiven`.

    Raises:
        InvalidField: one of them cannot be meant.
    """

    tenant: str = DEFAULT_TENANT
    priority: Priority = "normal"
    max_cost: float | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        check_tenant(self.tenant)
        if self.priority not in PRIORITIES:
            _refuse("priority", f"it must be one of {', '.join(PRIORITIES)}, and is {self.priority!r}.")
        check_budget(self.max_cost, self.max_tokens)

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Self:
        """The terms that a hash of the store holds."""
        return cls(
            tenant=fields.get("tenant", DEFAULT_TENANT),
            priority=fields.get("priority", "normal"),  # type: ignore[arg-type]  # checked when it is made
            max_cost=float(fields["max_cost"]) if "max_cost" in fields else None,
            max_tokens=int(fields["max_tokens"]) if "max_tokens" in fields else None,
        )

    def fields(self) -> dict[str, str]:
        """What differs from the standard, as a hash of the store holds it."""
        standard = type(self)()
        return {name: str(value) for name, value in vars(self).items() if value != getattr(standard, name)}


def check_tenant(name: Any) -> None:
    """See that a tenant's name can be one.

    Raises:
        InvalidField: it cannot.
    """
    if not isinstance(name, str) or not TENANT.fullmatch(name):
        _refuse("tenant", f"it must be up to 64 letters, digits and . _ @ -, and is {name!r}.")


def check_budget(max_cost: Any, max_tokens: Any) -> None:
    """See that a budget can be meant; None: there is none.

    Raises:
        InvalidField: it cannot.
    """
    if max_cost is not None and (not _is_number(max_cost, float) or not 0 < max_cost <= LARGEST):
        _refuse(
            "max_cost", f"it must be a number of US dollars above 0 and up to {LARGEST:g}, and is {_shown(max_cost)}."
        )
    if max_tokens is not None and (not _is_number(max_tokens) or not 1 <= max_tokens <= LARGEST):
        _refuse("max_tokens", f"it must be a whole number from 1 to {LARGEST:g}, and is {_shown(max_tokens)}.")


def check_timeout(seconds: Any) -> None:
    """See that a kickoff's timeout can be meant; None: there is none.

    Raises:
        InvalidField: it cannot.
    """
    if seconds is not None and (not _is_number(seconds, float) or not 0 < seconds <= LONGEST):
        _refuse("timeout", f"it must be a number of seconds above 0 and up to {LONGEST:g}, and is {_shown(seconds)}.")


def _shown(value: Any) -> str:
    return "far too large" if isinstance(value, int) and abs(value) > LARGEST else repr(value)


def _is_number(value: Any, *kinds: type) -> bool:
    return isinstance(value, (int, *kinds)) and not isinstance(value, bool)


def _refuse(field: str, reason: str) -> None:
    raise errors.InvalidField(owner="kickoff", field=field, reason=reason)


__all__ = [
    "DEFAULT_TENANT",
    "PRIORITIES",
    "TENANT",
    "BudgetGiven",
    "Priority",
    "Terms",
    "TermsGiven",
    "check_budget",
    "check_tenant",
    "check_timeout",
]
