"""How the command line says times, sizes, money and ids."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from crewq.outputs import UsageMetrics

LEAST = 0.00005  # dollars: what is less, four digits would call nothing
SHORT_ID = 8  # letters: unambiguous among many thousands of runs, and any unambiguous beginning is accepted


def called(environ: Mapping[str, str], program: str) -> str:
    """What to type for `crewq`, as this process was called: not in every environment is it on PATH.

    Args:
        environ: the environment; `./run` puts what it was called itself into CREWQ_COMMAND.
        program: what Python was started with.
    """
    if given := environ.get("CREWQ_COMMAND"):
        return given
    if Path(program).name == "__main__.py":
        return "python -m crewq"
    found = shutil.which("crewq", path=environ.get("PATH"))
    return "crewq" if found and Path(found).samefile(program) else program


def short(name: str) -> str:
    """The beginning of an id."""
    return name[:SHORT_ID]


def seconds_between(began: datetime | None, ended: datetime | None) -> float | None:
    """Seconds from one moment to the other, or to now."""
    if began is None:
        return None
    return ((ended or datetime.now(UTC)) - began).total_seconds()


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s` or `2 h 5 min`; nothing where it has not begun."""
    if seconds is None:
        return ""
    if seconds < 59.5:
        return f"{max(0.0, seconds):.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ago(moment: datetime) -> str:
    """How long ago a moment was."""
    return f"{duration(seconds_between(moment, None))} ago"


def money(usage: UsageMetrics) -> str:
    """The cost in dollars; `+?` where the price of some calls is not known."""
    if not usage.cost and not usage.cost_known:
        return "$?"
    digits = 2 if usage.cost >= 1 or not usage.cost else 4
    said = "<$0.0001" if 0 < usage.cost < LEAST else f"${usage.cost:.{digits}f}"
    return f"{said}{'' if usage.cost_known else ' + ?'}"


def tokens(usage: UsageMetrics) -> str:
    """The number of tokens."""
    return f"{usage.total_tokens:,}"


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


__all__ = ["SHORT_ID", "ago", "called", "counted", "duration", "money", "seconds_between", "short", "tokens"]
