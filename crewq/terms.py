"""The terms of a kickoff: for whom it is, and how urgent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, TypedDict, get_args

from crewq import errors

Priority: TypeAlias = Literal["high", "normal", "low"]
PRIORITIES: Final[tuple[str, ...]] = get_args(Priority)
DEFAULT_TENANT: Final = "default"  # whose the runs are that are nobody's in particular
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class TermsGiven(TypedDict, total=False):
    """The terms as a kickoff takes them: `crew.kickoff(inputs, tenant="acme", priority="high")`.

    Fields:
        tenant: for whom: a customer, a team, a project; up to 64 letters, digits and `._@-`.
        priority: `high`, `normal` or `low`: which of the tasks that wait are begun first.
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

    def __post_init__(self) -> None:
        check_tenant(self.tenant)
        if self.priority not in PRIORITIES:
            _refuse("priority", f"it must be one of {', '.join(PRIORITIES)}, and is {self.priority!r}.")

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Self:
        """The terms that a hash of the store holds."""
        return cls(
            tenant=fields.get("tenant", DEFAULT_TENANT),
            priority=fields.get("priority", "normal"),  # type: ignore[arg-type]  # checked when it is made
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


def _refuse(field: str, reason: str) -> None:
    raise errors.InvalidField(owner="kickoff", field=field, reason=reason)


__all__ = [
    "DEFAULT_TENANT",
    "PRIORITIES",
    "Priority",
    "Terms",
    "TermsGiven",
    "check_tenant",
]
