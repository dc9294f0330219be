"""What a crew remembers: what the tasks of its runs put out, read where it is kept with those. Nothing is written for it but an
index of which tasks these are, so that what is deleted, encrypted or past its time as a run is so here too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

from crewq import errors
from crewq.outputs import TaskOutput
from crewq.spec import PLAN_KEY
from crewq.store.keys import REMEMBERED
from crewq.store.listing import Listing
from crewq.store.orders import Job
from crewq.store.places import of_task
from crewq.store.records import Fields, readable
from crewq.store.verbs import Verbs
from crewq.terms import DEFAULT_TENANT

MOST: Final = 200_000  # characters that are read in all: to find some words among them takes some 25 ms
LONGEST: Final = 10_000  # characters of one output
ABOUT: Final = ("crew", "tenant", "origin")


@dataclass(frozen=True)
class Remembered:
    """What a task of another run put out.

    Fields:
        ended: when.
        task: what was to be done.
        text: what it put out; the beginning of that, if it is long.
    """

    ended: datetime
    task: str
    text: str


class Memory:
    """What the runs of each crew have put out."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._listing = Listing(verbs)

    def newest(self, run: str) -> list[Remembered]:
        """What the tasks put out that completed last, the newest first, in other runs of the crew that a run is of: of that
        name, and for the same tenant.

        A run and its replays are one story told several times: none of them is told of another. Else the answer that a replay
        is to give anew would stand in the question for it. Nor is a run told of itself, as its tasks are given each other's
        outputs as context. A plan is about the run that it was made for, so nobody else is told of it.

        Args:
            run: whoever wants to know.

        Raises:
            RecordBroken: the index holds what is no task.
        """
        (about,) = self._listing.glance([run], *ABOUT)
        index = self._verbs.keys.memory(about.get("tenant", DEFAULT_TENANT), about.get("crew", ""))
        members = self._verbs.do(lambda client: client.zrevrange(index, 0, REMEMBERED - 1))
        with readable(index):
            jobs = [Job.read(member) for member in members]
        runs = list(dict.fromkeys(job.run for job in jobs))
        known = dict(zip(runs, self._listing.glance(runs, *ABOUT), strict=True))
        told = [job for job in jobs if _is_another(job.run, known[job.run], run, about)]
        return list(self._read(told))

    def _read(self, jobs: Sequence[Job]) -> Iterator[Remembered]:
        """One after the other, so that no more than one is held whole."""
        sizes = self._of_each(jobs, lambda pipeline, task: pipeline.hstrlen(task, "output"))
        few = [job for job, size in zip(jobs, accumulate(sizes), strict=True) if size <= MOST]
        kept = self._of_each(few, lambda pipeline, task: pipeline.hmget(task, "output", "ended", "key"))
        left = MOST
        for job, fields in zip(few, kept, strict=True):
            if left > 0 and (one := self._opened(job, *fields)):
                left -= len(one.text)
                yield one

    def _of_each(self, jobs: Sequence[Job], ask: Callable[[Any, str], Any]) -> list[Any]:
        def command(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            for job in jobs:
                ask(pipeline, self._verbs.keys.task(job.run, job.index))
            return pipeline.execute()

        answers: list[Any] = self._verbs.do(command)
        return answers

    def _opened(self, job: Job, sealed: str | None, ended: str | None, key: str | None) -> Remembered | None:
        """What lies there; None where there is nothing to be told. One that cannot be read is the trouble of its own run, and
        of no other."""
        if not sealed or not ended or key == PLAN_KEY:
            return None
        where = of_task(job.run, job.index, "output")
        with suppress(errors.RecordBroken, errors.NotAuthentic, errors.EncryptionKeyUnknown), readable(where):
            output = TaskOutput.model_validate_json(self._verbs.vault.open(where, sealed))
            moment = datetime.fromtimestamp(int(ended) / 1000, tz=UTC)
            return Remembered(moment, output.description, output.raw[:LONGEST]) if output.raw.strip() else None
        return None


def _is_another(run: str, about: Fields, own: str, about_own: Fields) -> bool:
    """Whether a run, which may be gone, is another one of the same crew and tenant, and no replay of the same."""
    same = all(about.get(name) == about_own.get(name) for name in ("crew", "tenant"))
    return same and bool(about) and about.get("origin", run) != about_own.get("origin", own)


__all__ = ["Memory", "Remembered"]
