"""What there is to read of runs, for whoever looks: each answer is of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from crewq import errors
from crewq.events import Event, from_stream
from crewq.spec import CrewSpec
from crewq.states import RunState
from crewq.store.orders import Head, Job
from crewq.store.places import of_spec, opened, opened_events
from crewq.store.records import RunRecord, json_object, pairs, readable
from crewq.store.verbs import Verbs

FOUND = 10  # ids at most that a beginning is said to name
PAGE = 200  # ids read at a time in search of those


class Looks:
    """Runs and their tasks as they are."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._vault = verbs.vault

    def read(self, run: str) -> RunRecord:
        """A run and its tasks at one moment.

        Raises:
            UnknownId: there is no such run.
        """
        hashes = self._verbs.read_run(run=run)
        if not hashes:
            raise errors.UnknownId(kind="run", id=run, where=self._verbs.where)
        (whole,) = opened(self._vault, [(run, [dict(pairs(flat)) for flat in hashes])])
        return RunRecord.read(run, whole)

    def overview(self, runs: Sequence[str]) -> list[RunRecord]:
        """Those of these runs that are still there, without their tasks: one round trip for all."""

        def command(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            for run in runs:
                pipeline.hgetall(self._verbs.keys.run(run))
            return pipeline.execute()

        found = [(run, fields) for run, fields in zip(runs, self._verbs.do(command), strict=True) if fields]
        whole = opened(self._vault, [(run, [fields]) for run, fields in found])
        return [RunRecord.read(run, hashes) for (run, _), hashes in zip(found, whole, strict=True)]

    def waiting(self) -> dict[str, int]:
        """How many tasks wait for a worker, by lane."""
        keys = self._verbs.keys
        lanes = sorted(self._verbs.do(lambda client: client.smembers(keys.named("lanes"))))
        return {lane: self._verbs.do(partial(_cardinality, keys.named(f"ready:{lane}"))) for lane in lanes}

    def state(self, run: str) -> str | None:
        """The state of a run, or None where there is no such run."""
        found: str | None = self._verbs.do(lambda client: client.hget(self._verbs.keys.run(run), "state"))
        return found

    def standing(self, run: str) -> tuple[RunState, int] | None:
        """The state of a run and how many tasks it has, or None where there is no such run."""
        state, tasks = self._verbs.do(lambda client: client.hmget(self._verbs.keys.run(run), "state", "tasks"))
        with readable(f"run:{run}"):
            return (RunState(state), int(tasks)) if state else None

    def heads(self, runs: Sequence[str]) -> list[Head]:
        """The crew, the batch and the priority of each of these runs that is still there."""

        def command(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            for run in runs:
                pipeline.hmget(self._verbs.keys.run(run), "spec", "batch", "priority")
            return pipeline.execute()

        found = zip(runs, self._verbs.do(command), strict=True)
        return [Head(run, spec, batch or "", priority or "normal") for run, (spec, batch, priority) in found if spec]

    def spec(self, digest: str) -> CrewSpec:
        """The crew of that name, which is its digest or is made of that.

        Raises:
            UnknownId: it is not there.
            SpecTooNew, RecordBroken: it cannot be read by this version.
            NotAuthentic, EncryptionKeyUnknown: as the vault.
        """
        text = self._verbs.do(lambda client: client.get(self._verbs.keys.spec(digest)))
        if text is None:
            raise errors.UnknownId(kind="crew", id=digest, where=self._verbs.where)
        return CrewSpec.from_json(self._vault.open(of_spec(digest), text), where=f"spec:{digest}")

    def latest(self, count: int, offset: int = 0) -> list[str]:
        """The ids of the runs created last, the newest first."""
        found: list[str] = self._verbs.do(
            lambda client: client.zrevrange(self._verbs.keys.named("runs"), offset, offset + count - 1)
        )
        return found

    def find(self, prefix: str, kinds: Sequence[str] = ("run", "task", "batch")) -> list[tuple[str, str, Job | None]]:
        """What the ids that begin with `prefix` name: (id, kind, job), a job for a task only. At most ten."""
        found: list[tuple[str, str, Job | None]] = []
        after, end = f"[{prefix.lower()}", f"[{prefix.lower()}\xff"
        while len(found) < FOUND and (members := self._ids(after, end)):
            parts = (member.split("|") for member in members)
            found += [(name, kind, Job(run, int(at)) if at else None) for name, kind, run, at in parts if kind in kinds]
            after = f"({members[-1]}"
        return found[:FOUND]

    def _ids(self, after: str, end: str) -> list[str]:
        ids = self._verbs.keys.named("ids")
        members: list[str] = self._verbs.do(lambda client: client.zrangebylex(ids, after, end, start=0, num=PAGE))
        return members

    def events(self, run: str, after: str, *, wait: float = 0.0, count: int = 200) -> list[Event]:
        """The next events of a run after the one of that id, waiting up to `wait` seconds for the first."""
        entries = self._verbs.read_stream(self._verbs.keys.events(run), after, wait, count)
        return [from_stream(run, *entry) for entry in opened_events(self._vault, run, entries)]

    def workers(self) -> dict[str, dict[str, Any]]:
        """The workers seen in the last minute, and what they say of themselves."""
        name = self._verbs.keys.named("workers:about")
        found: dict[str, str] = self._verbs.do(lambda client: client.hgetall(name))
        with readable("workers:about"):
            return {worker: json_object(about) for worker, about in found.items()}


def _cardinality(key: str, client: Any) -> Any:
    return client.zcard(key)


__all__ = ["Looks"]
