"""Schedules: crews as they travel, with inputs and times, for a beat that has none of the user's code."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import redis

from crewq import errors
from crewq.spec import CrewSpec
from crewq.store.places import of_schedule
from crewq.store.records import Fields, json_object, pairs, readable
from crewq.store.verbs import Verbs
from crewq.terms import Terms

SEALED = ("spec", "inputs")
AT_ONCE = 100  # schedules that a beat is given to look at
ASIDE_MS = 60_000  # one that cannot be read is looked at so much later: it may have been replaced


@dataclass(frozen=True)
class ScheduleRecord:
    """A schedule at one moment. Times are in milliseconds by Redis's clock.

    Fields:
        name, crew: what a person calls them.
        id: another one for each that was ever kept under the name with other times.
        spec: the crew, as JSON.
        timing: its times, as JSON: what they mean is not the store's business.
        terms: of each of its runs.
        created: when it was kept.
        last: the nominal time that was seen to last; at first, when it was kept.
        run: the run that it started last.
        problem: why it started none the last time.
    """

    name: str
    id: str
    crew: str
    spec: str
    inputs: dict[str, Any]
    timing: str
    created: int
    last: int
    run: str | None = None
    problem: str | None = None
    terms: Terms = field(default_factory=Terms)

    @classmethod
    def read(cls, name: str, fields: Fields) -> ScheduleRecord:
        """The schedule that a hash holds.

        Raises:
            RecordBroken: it holds none.
        """
        with readable(f"schedule:{name}"):
            return cls(
                name=name,
                id=fields["id"],
                crew=fields["crew"],
                spec=fields["spec"],
                inputs=json_object(fields["inputs"]),
                timing=fields["timing"],
                created=int(fields["created"]),
                last=int(fields["last"]),
                run=fields.get("run"),
                problem=fields.get("problem"),
                terms=Terms.read(json_object(fields.get("terms", "{}"))),
            )


@dataclass(frozen=True)
class Unreadable:
    """A schedule of which no more is known than its name, and why."""

    name: str
    error: errors.RecordBroken


@dataclass(frozen=True)
class Due:
    """What a beat is to look at: those schedules, at that time; and when to ask again, if it is known."""

    now: int
    schedules: tuple[ScheduleRecord, ...]
    following: int | None
    unreadable: tuple[Unreadable, ...] = ()


class Schedules:
    """All schedules."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def put(
        self,
        name: str,
        spec: CrewSpec,
        inputs: Mapping[str, Any],
        timing: str,
        terms: Terms | None = None,
        *,
        replace: bool = False,
    ) -> bool:
        """Keep a schedule. False: there is one of that name, and it was not to be replaced.

        One that is replaced with its times as they were starts no run twice, and leaves none out.
        """
        vault = self._verbs.vault
        texts = {
            "id": str(uuid.uuid4()),
            "crew": spec.name,
            "spec": vault.seal(of_schedule(name, "spec"), spec.to_json()),
            "inputs": vault.seal(of_schedule(name, "inputs"), json.dumps(inputs, ensure_ascii=False)),
            "timing": timing,
            "terms": json.dumps((terms or Terms()).fields()),
        }
        document = json.dumps(texts, ensure_ascii=False)
        return self._verbs.put_schedule(name=name, document=document, replace=int(replace)) == "kept"

    def due(self) -> Due:
        """The schedules that are to be looked at by now."""
        now, following, *found = self._verbs.due_schedules(limit=AT_ONCE)
        records = [self._try(name, dict(pairs(flat))) for name, *flat in found]
        good = tuple(record for record in records if isinstance(record, ScheduleRecord))
        bad = tuple(record for record in records if isinstance(record, Unreadable))
        return Due(int(now), good, int(following) if following else None, bad)

    def set_aside(self, name: str, now: int) -> None:
        """Look at one that cannot be read a minute after `now`, so that it takes no other's place meanwhile."""
        later = {name: now + ASIDE_MS}
        self._verbs.do(lambda client: client.zadd(self._verbs.keys.named("schedules"), later, xx=True))

    def note(
        self, record: ScheduleRecord, nominal: int | None, following: int, run: str = "", problem: str = ""
    ) -> bool:
        """A schedule was looked at; answers whether this is the first to have seen to that time of it.

        Args:
            record: as it was looked at.
            nominal: the time that was seen to; None: it was not due.
            following: when to look at it again.
            run: what was started.
            problem: why nothing was.
        """
        noted = self._verbs.note_schedule(
            name=record.name, known=record.id, nominal=nominal or 0, following=following, run=run, problem=problem
        )
        return bool(noted)

    def remove(self, name: str) -> None:
        """Forget a schedule; runs that it has started go on.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        if not self._verbs.remove_schedule(name=name):
            raise self._unknown(name)

    def read(self, name: str) -> ScheduleRecord:
        """The schedule of that name.

        Raises:
            UnknownSchedule: there is none.
            RecordBroken: it cannot be read.
        """
        fields = self._verbs.do(lambda client: client.hgetall(self._verbs.keys.schedule(name)))
        if not fields:
            raise self._unknown(name)
        return self._read(name, fields)

    def all(self) -> list[ScheduleRecord | Unreadable]:
        """All of them, by name."""

        def command(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.hgetall(self._verbs.keys.schedule(name))
            return pipeline.execute(raise_on_error=False)

        names = self._names()
        found = zip(names, self._verbs.do(command), strict=True)
        return [self._try(name, fields) for name, fields in found if fields]

    def _try(self, name: str, fields: Fields | redis.ResponseError) -> ScheduleRecord | Unreadable:
        if isinstance(fields, redis.ResponseError):
            return Unreadable(name, errors.RecordBroken(where=f"schedule:{name}", reason=f"{fields}."))
        try:
            return self._read(name, fields)
        except errors.RecordBroken as error:
            return Unreadable(name, error)

    def _read(self, name: str, fields: Fields) -> ScheduleRecord:
        sealed = [(field, of_schedule(name, field)) for field in SEALED if field in fields]
        texts = self._verbs.vault.open_all([(where, fields[field]) for field, where in sealed])
        return ScheduleRecord.read(name, {**fields, **dict(zip(dict(sealed), texts, strict=True))})

    def _names(self) -> list[str]:
        index = self._verbs.keys.named("schedules")
        return sorted(self._verbs.do(lambda client: client.zrange(index, 0, -1)))

    def _unknown(self, name: str) -> errors.UnknownSchedule:
        near = get_close_matches(name, self._names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return errors.UnknownSchedule(name=name, where=self._verbs.where, hint=hint)


__all__ = ["Due", "ScheduleRecord", "Schedules", "Unreadable"]
