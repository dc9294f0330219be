"""The totals of an installation, and how things stand in it at a moment: what monitoring goes by."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from crewq.store.meters import BOUNDS, METERS, Meter
from crewq.store.records import Fields, pairs
from crewq.store.verbs import Verbs

MARK = "\x1f"  # between the parts of a field's name
SUM, MORE = "sum", "more"


@dataclass
class Series:
    """A histogram, of one combination of labels.

    Fields:
        buckets: how many took at most as long as each of `BOUNDS`; and, as the last, all.
        seconds: what they took together.
    """

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0


@dataclass(frozen=True)
class Lane:
    """What waits in one lane of a queue; `oldest`: for how many seconds the first of it does."""

    name: str
    queued: int
    oldest: float


@dataclass(frozen=True)
class Reading:
    """All of it at one moment.

    Fields:
        totals: by the name of the meter and its labels.
        histograms: likewise.
        gauges: numbers of tasks.
        lanes: the lanes in use.
        runs: how many runs are kept, by state.
        slots: how many tasks each worker can work on at once.
    """

    totals: dict[tuple[str, ...], float]
    histograms: dict[tuple[str, ...], Series]
    gauges: dict[str, int]
    lanes: tuple[Lane, ...]
    runs: dict[str, int]
    slots: tuple[int, ...]


class Metrics:
    """What has been counted."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def read(self) -> Reading:
        """All totals and gauges, in one step."""
        counted, gauges, lanes, runs, workers = self._verbs.read_metrics()
        totals, histograms = _counted(dict(pairs(counted)))
        return Reading(
            totals,
            histograms,
            _numbers(gauges),
            tuple(Lane(lanes[at], int(lanes[at + 1]), int(lanes[at + 2]) / 1000) for at in range(0, len(lanes), 3)),
            _numbers(runs),
            tuple(int(json.loads(about)["concurrency"]) for about in workers),
        )


def _numbers(flat: list[str]) -> dict[str, int]:
    return {name: int(value) for name, value in pairs(flat)}


def _counted(fields: Fields) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], Series]]:
    """The totals and the histograms that are known here: a newer version may count more."""
    known = {meter.name: meter for meter in METERS}
    totals: dict[tuple[str, ...], float] = {}
    histograms: dict[tuple[str, ...], Series] = {}
    for name, text in fields.items():
        parts = tuple(name.split(MARK))
        meter = known.get(parts[0])
        if meter is None:
            continue
        if meter.kind == "total":
            totals[parts] = int(text) * meter.unit
        else:
            _add(histograms.setdefault(parts[:-1], Series()), parts[-1], int(text))
    return totals, histograms


def _add(series: Series, part: str, value: int) -> None:
    if part == SUM:
        series.seconds = value / 1000
        return
    for at, bound in enumerate(BOUNDS):
        if part != MORE and int(part) <= bound * 1000:
            series.buckets[at] += value
    series.buckets[-1] += value


__all__ = ["BOUNDS", "METERS", "Lane", "Meter", "Metrics", "Reading", "Series"]
