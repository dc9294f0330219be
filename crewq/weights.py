"""Weights: how the slots of the workers are shared between tenants whose batches wait for them."""

from __future__ import annotations

from typing import Final

from crewq import errors
from crewq.terms import TENANT

LEAST, MOST = 0.01, 100.0
EVERYBODY_ELSE: Final = "*"


def read_weights(text: str, variable: str) -> tuple[tuple[str, float], ...]:
    """Read `acme=3, trial=0.5, *=1`.

    Args:
        text: tenants and their weights, with commas between; `*` stands for whoever is not named, and is 1 otherwise.
        variable: where it stands, for the error.

    Raises:
        SettingInvalid: it cannot be read, or names a tenant twice.
    """
    found: dict[str, float] = {}
    for part in (part.strip() for part in text.split(",")):
        tenant, mark, number = (piece.strip() for piece in part.partition("="))
        if not part:
            continue
        if not mark or not (tenant == EVERYBODY_ELSE or TENANT.fullmatch(tenant)):
            reason = f"{part!r} is no tenant and its weight, such as acme=3; commas stand between them."
            raise errors.SettingInvalid(variable=variable, value=text, reason=reason)
        if tenant in found:
            raise errors.SettingInvalid(variable=variable, value=text, reason=f"it names {tenant} twice.")
        found[tenant] = _weight(tenant, number, text, variable)
    return tuple(found.items())


def _weight(tenant: str, number: str, text: str, variable: str) -> float:
    weight = float(number) if number.replace(".", "", 1).isdecimal() else 0.0
    if not LEAST <= weight <= MOST:
        reason = f"the weight of {tenant} must be a number from {LEAST:g} to {MOST:g}, and is {number!r}."
        raise errors.SettingInvalid(variable=variable, value=text, reason=reason)
    return weight


__all__ = ["read_weights"]
