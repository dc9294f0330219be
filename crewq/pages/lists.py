"""Lists of runs and batches: pages of those that fit a filter, and what those cost together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crewq.outputs import UsageMetrics
from crewq.pages.facts import run_facts
from crewq.producer import Producer
from crewq.states import RunState
from crewq.store import BatchRecord, RunRecord, Span
from crewq.store.records import Fields

CHUNK = 100  # runs that are read at a time
LOOKED_AT = 2_000  # runs at most that one page looks at in search of those that fit
SUMMED = 10_000  # runs at most whose cost is added up
SUMMED_FIELDS = ("crew", "inputs", "error", "usage.total_tokens", "usage.cost", "usage.unpriced_requests")


@dataclass(frozen=True)
class Filter:
    """Which runs are wanted. `crew` and `text` are looked for in any case of letters, the text in id, inputs and error."""

    span: Span
    crew: str = ""
    text: str = ""

    @property
    def wants_all(self) -> bool:
        """Whether every run of the span fits."""
        return not (self.crew or self.text)

    def takes(self, run: str, crew: str, *texts: str) -> bool:
        """Whether a run fits."""
        if self.crew.lower() not in crew.lower():
            return False
        text = self.text.lower()
        return run.startswith(text) or any(text in one.lower() for one in texts)


def page_of_runs(producer: Producer, wanted: Filter, count: int, after: str) -> dict[str, Any]:
    """The next runs that fit, and where to go on.

    Args:
        producer: the way to the runs.
        wanted: which runs.
        count: how many at most.
        after: what the page before answered as `next`.
    """
    listing, found, looked = producer.reader.listing, list[RunRecord](), 0
    chunk = count if wanted.wants_all else CHUNK
    while True:
        ids, end = listing.page(wanted.span, chunk, after)
        for record in producer.reader.runs.overview(ids):
            looked += 1
            after = f"{int(record.created.timestamp() * 1000)}.{record.id}"
            if _fits(wanted, record):
                found.append(record)
                if len(found) == count:
                    break
        if len(found) == count or not end or looked >= LOOKED_AT:
            break
        after = end
    more = bool(end) or len(found) == count
    counts = {state.value: number for state, number in listing.counts().items()}
    return {
        "runs": [run_facts(record) for record in found],
        "next": after if more else "",
        "looked_at": looked,
        "counts": counts,
    }


def _fits(wanted: Filter, record: RunRecord) -> bool:
    return wanted.takes(record.id, record.crew, *map(str, record.inputs.values()), str(record.error or ""))


def totals(producer: Producer, wanted: Filter) -> dict[str, Any]:
    """What the runs that fit have cost together, of the newest of them; `all` says whether those are all."""
    usage, count, looked, after = UsageMetrics(), 0, 0, ""
    while looked < SUMMED:
        ids, after = producer.reader.listing.page(wanted.span, CHUNK * 5, after)
        for run, fields in zip(ids, producer.reader.listing.glance(ids, *SUMMED_FIELDS), strict=True):
            looked += 1
            if wanted.takes(run, fields.get("crew", ""), fields.get("inputs", ""), fields.get("error", "")):
                count += 1
                usage += usage_of(fields)
        if not after:
            break
    return {"runs": count, "usage": usage.model_dump(), "all": not after}


def usage_of(fields: Fields) -> UsageMetrics:
    """The tokens and the money in a few fields of a run."""
    return UsageMetrics(
        total_tokens=int(float(fields.get("usage.total_tokens", 0))),
        cost=float(fields.get("usage.cost", 0)),
        unpriced_requests=int(float(fields.get("usage.unpriced_requests", 0))),
    )


def page_of_batches(producer: Producer, count: int, offset: int) -> dict[str, Any]:
    """The batches created last."""
    found = producer.reader.listing.batches(count, offset)
    return {"batches": [batch_facts(batch) for batch in found], "next": offset + count if len(found) == count else None}


def page_of_batch(producer: Producer, batch: str, count: int, offset: int) -> dict[str, Any]:
    """Some of the runs of a batch, in the order of the inputs."""
    ids = producer.reader.batches.runs(batch)
    found = producer.reader.runs.overview(ids[offset : offset + count])
    more = offset + count < len(ids)
    return {"runs": [run_facts(record) for record in found], "next": offset + count if more else None}


def batch_facts(batch: BatchRecord) -> dict[str, Any]:
    """The counters of a batch."""
    return {
        "id": batch.id,
        "crew": batch.crew,
        "created": batch.created.isoformat(),
        "ended": batch.ended.isoformat() if batch.ended else None,
        "total": batch.total,
        "completed": batch.completed,
        "failed": batch.failed,
        "cancelled": batch.cancelled,
    }


def state_called(name: str) -> RunState | None:
    """The state of that name; without a name, any.

    Raises:
        ValueError: there is none.
    """
    return RunState(name) if name else None


__all__ = [
    "Filter",
    "batch_facts",
    "page_of_batch",
    "page_of_batches",
    "page_of_runs",
    "state_called",
    "totals",
    "usage_of",
]
