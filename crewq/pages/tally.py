"""A batch as one picture: how far it is, how fast, until when, what failed, and how long and dear its runs were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from crewq.outputs import UsageMetrics
from crewq.pages.lists import batch_facts, usage_of
from crewq.producer import Producer
from crewq.store import BatchRecord
from crewq.store.records import Fields

FIELDS = (
    "state", "item", "started", "ended", "error", "usage.total_tokens", "usage.cost", "usage.unpriced_requests",
)  # fmt: skip
WINDOW = 60_000  # ms: how fast it goes now is how many ended in the last minute
FAILURES_SHOWN = 200
BARS = 12


def batch_page(producer: Producer, batch: str, now_ms: int) -> dict[str, Any]:
    """All of a batch.

    Args:
        producer: the way to the runs.
        batch: its id.
        now_ms: the time, in milliseconds.

    Raises:
        UnknownId: there is no such batch.
    """
    about = producer.reader.batches.read(batch)
    ids = producer.reader.batches.runs(batch)
    runs = producer.reader.listing.glance(ids, *FIELDS)
    held = producer.reader.batches.held(batch)
    ended = [int(run["ended"]) for run in runs if "ended" in run]
    rate = _per_second(about, ended, now_ms)
    left = about.total - about.done
    return {
        **batch_facts(about),
        "held": held,
        "under_way": max(0, left - held),
        "per_second": rate,
        "seconds_left": left / rate if rate and left else None,
        "usage": sum((usage_of(run) for run in runs), UsageMetrics()).model_dump(),
        "failures": _failures(ids, runs),
        "seconds": histogram([(int(run["ended"]) - int(run["started"])) / 1000 for run in runs if _has_both(run)]),
        "cost": histogram([usage_of(run).cost for run in runs if "ended" in run]),
        "actions": [
            {"at": one.at.isoformat(), "who": one.who, "action": one.action, "detail": one.detail}
            for one in producer.reader.audit.latest(batch)
        ],
    }


def _has_both(run: Fields) -> bool:
    return "started" in run and "ended" in run


def _per_second(batch: BatchRecord, ended: Sequence[int], now_ms: int) -> float:
    """Runs that end in a second: over the last minute, or over all its time where that is shorter, or over."""
    created = int(batch.created.timestamp() * 1000)
    if batch.ended:
        return len(ended) / max(0.001, batch.ended.timestamp() - batch.created.timestamp())
    since = max(created, now_ms - WINDOW)
    return sum(at >= since for at in ended) / max(0.001, (now_ms - since) / 1000)


def _failures(ids: Sequence[str], runs: Sequence[Fields]) -> list[dict[str, Any]]:
    failed = [(run, fields) for run, fields in zip(ids, runs, strict=True) if fields.get("state") == "failed"]
    return [
        {
            "run": run,
            "item": int(fields.get("item", 0)),
            "error": json.loads(fields.get("error", "{}")).get("message", ""),
        }
        for run, fields in failed[:FAILURES_SHOWN]
    ]


def histogram(values: Sequence[float]) -> dict[str, Any]:
    """How many of the values are in each of some equal parts of their range; and the middle one, and the highest."""
    if not values:
        return {"from": 0, "to": 0, "counts": [], "median": None, "most": None}
    low, high = min(values), max(values)
    width = (high - low) / BARS
    counts = [0] * (BARS if width else 1)
    for value in values:
        counts[min(len(counts) - 1, int((value - low) / width)) if width else 0] += 1
    return {"from": low, "to": high, "counts": counts, "median": sorted(values)[len(values) // 2], "most": high}


__all__ = ["batch_page", "histogram"]
