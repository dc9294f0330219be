"""Lists of runs and batches: pages of them, how many are in which state, and a few fields of very many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from crewq.states import RunState
from crewq.store.records import BatchRecord, Fields
from crewq.store.verbs import Verbs

CHUNK = 500  # runs of which a few fields are read in one round trip


@dataclass(frozen=True)
class Span:
    """Which runs a list is of: in one state, or in any; created within a time, in milliseconds of Redis's clock."""

    state: RunState | None = None
    since: int = 0
    until: int | None = None

    @property
    def latest(self) -> int | str:
        """The end of the time, as Redis takes it."""
        return "+inf" if self.until is None else self.until


class Listing:
    """All runs and batches, the newest first."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def counts(self) -> dict[RunState, int]:
        """How many runs are in which state."""

        def command(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            for state in RunState:
                pipeline.zcard(self._index(state))
            return pipeline.execute()

        return dict(zip(RunState, self._verbs.do(command), strict=True))

    def page(self, span: Span, count: int, after: str = "") -> tuple[list[str], str]:
        """The next ids, and where to go on after them; empty: that was all.

        Args:
            span: which runs.
            count: how many at most.
            after: what the page before answered. Runs that came meanwhile move nothing, and if the one that the page
                ended with is gone, its time counts.
        """
        index = self._index(span.state)
        offset = self._offset(index, span, after)
        found: list[tuple[str, float]] = self._verbs.do(
            lambda client: client.zrevrangebyscore(
                index, span.latest, span.since, start=offset, num=count, withscores=True
            )
        )
        end = f"{int(found[-1][1])}.{found[-1][0]}" if len(found) == count else ""
        return [run for run, _ in found], end

    def _offset(self, index: str, span: Span, after: str) -> int:
        """How many runs of the span come before the next page."""
        if not after:
            return 0
        ms, _, run = after.partition(".")

        def command(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            pipeline.zrevrank(index, run)
            pipeline.zcount(index, "-inf" if span.until is None else f"({span.until}", "+inf")
            pipeline.zcount(index, f"({int(ms)}", span.latest)
            return pipeline.execute()

        rank, later, newer = self._verbs.do(command)
        skipped = 0 if span.until is None else int(later)
        return int(newer) if rank is None else int(rank) + 1 - skipped

    def glance(self, runs: Sequence[str], *fields: str) -> list[Fields]:
        """A few fields of each of these runs, as they are stored; of one that is gone, nothing."""
        found: list[Fields] = []
        for at in range(0, len(runs), CHUNK):
            answers = self._verbs.do(partial(self._read, runs[at : at + CHUNK], fields))
            found += [_given(fields, values) for values in answers]
        return found

    def _read(self, runs: Sequence[str], fields: Sequence[str], client: Any) -> Any:
        pipeline = client.pipeline(transaction=False)
        for run in runs:
            pipeline.hmget(self._verbs.keys.run(run), fields)
        return pipeline.execute()

    def batches(self, count: int, offset: int = 0) -> list[BatchRecord]:
        """The batches created last."""
        index = self._verbs.keys.named("batches")

        def command(client: Any) -> Any:
            ids = client.zrevrange(index, offset, offset + count - 1)
            pipeline = client.pipeline(transaction=False)
            for batch in ids:
                pipeline.hgetall(self._verbs.keys.batch(batch))
            return zip(ids, pipeline.execute(), strict=True)

        return [BatchRecord.read(batch, fields) for batch, fields in self._verbs.do(command) if fields]

    def _index(self, state: RunState | None) -> str:
        return self._verbs.keys.named(f"runs:{state.value}" if state else "runs")


def _given(fields: Sequence[str], values: Sequence[str | None]) -> Fields:
    return {name: value for name, value in zip(fields, values, strict=True) if value is not None}


__all__ = ["Listing", "Span"]
