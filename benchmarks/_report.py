"""What a benchmark found, and how it is shown: ratios first, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure.

    Fields:
        name: of the benchmark, such as B1.
        what: what was measured.
        figure: how it came out, as a person reads it; a ratio where there is a peer.
        goal: what it is to be.
        reached: whether it is; None: there is no goal.
        numbers: what it was made of.
    """

    name: str
    what: str
    figure: str
    goal: str = ""
    reached: bool | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


def at_most(name: str, what: str, value: float, goal: float, unit: str = "x", **numbers: float) -> Row:
    """A figure that is the better the smaller it is."""
    return Row(
        name, what, _said(value, unit), f"at most {_said(goal, unit)}", value <= goal, {"value": value, **numbers}
    )


def at_least(name: str, what: str, value: float, goal: float, unit: str = "x", **numbers: float) -> Row:
    """A figure that is the better the larger it is."""
    return Row(
        name, what, _said(value, unit), f"at least {_said(goal, unit)}", value >= goal, {"value": value, **numbers}
    )


def plain(name: str, what: str, value: float, unit: str, **numbers: float) -> Row:
    """A figure without a goal."""
    return Row(name, what, _said(value, unit), numbers={"value": value, **numbers})


def absent(name: str, what: str, peer: str) -> Row:
    """A figure for which something is not there."""
    return Row(name, what, f"{peer} is not installed")


def _said(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{unit if unit in ('x', '%') else ' ' + unit}"


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, with the machine and the date above it."""
    about = machine()
    verdict = {True: "yes", False: "**no**", None: ""}
    lines = [[row.name, row.what, row.figure, row.goal, verdict[row.reached], _numbers(row.numbers)] for row in rows]
    head = f"{about['date']}, {about['cores']} cores of {about['cpu']}, Python {about['python']}, load {about['load']}."
    return f"{head}\n\n{table(['', 'what', 'measured', 'goal', 'reached', 'made of'], lines)}\n"


def _numbers(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items() if name != "value")


def as_json(rows: Sequence[Row]) -> str:
    """The same for machines."""
    return json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=2)


def machine() -> dict[str, str | int]:
    """Where and when this is."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count() or 0,
        "cpu": names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def interleaved(repeats: int, *measures: Callable[[], float]) -> list[list[float]]:
    """Each of the measures so often, in turn, so that all see the same weather; a list for each."""
    rounds = [[measure() for measure in measures] for _ in range(repeats)]
    return [list(values) for values in zip(*rounds, strict=True)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios, pair by pair."""
    return median([our / their for our, their in zip(ours, theirs, strict=True)])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
