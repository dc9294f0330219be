"""A run, whole, as JSON: everything that is kept of it, also what no handle shows."""

from __future__ import annotations

import json
from typing import Any

from crewq.store.records import Fields, pairs, readable
from crewq.store.runs import Runs
from crewq.store.verbs import Verbs

EXPORT_VERSION = 1
JSON_FIELDS = frozenset({"inputs", "output", "messages", "error", "edited"})
ALL_EVENTS = 1_000_000
SHARED = "shared:"  # begins the results that are there for other calls too; each is also the answer of its own


def export_run(verbs: Verbs, run: str) -> dict[str, Any]:
    """The run, its crew, its tasks, its journal and its events.

    Raises:
        UnknownId: there is no such run.
    """
    runs = Runs(verbs)
    record = runs.read(run)
    about, *tasks = (dict(pairs(flat)) for flat in verbs.read_run(run=run))
    journal = verbs.do(lambda client: client.hgetall(verbs.keys.journal(run)))
    events = runs.events(run, "0-0", count=ALL_EVENTS)
    crew = runs.spec(record.spec)
    with readable(f"run:{run}"):
        return {
            "version": EXPORT_VERSION,
            "id": run,
            "crew": crew.model_dump(mode="json", exclude_defaults=True),
            "run": _parsed(about),
            "tasks": [_parsed(task) for task in tasks],
            "journal": [_entry(name, value) for name, value in sorted(journal.items()) if not name.startswith(SHARED)],
            "events": [event.model_dump(mode="json", exclude={"run"}) for event in events],
        }


def _parsed(fields: Fields) -> dict[str, Any]:
    return {name: json.loads(value) if name in JSON_FIELDS else value for name, value in fields.items()}


def _entry(name: str, value: str) -> dict[str, Any]:
    task, kind, digest, ordinal = name.split(":", 3)
    state, _, rest = value.partition(" ")
    entry: dict[str, Any] = {"task": int(task), "kind": kind, "digest": digest, "ordinal": int(ordinal), "state": state}
    return entry | ({"attempt": int(rest)} if state in ("started", "failed") else {"answer": rest})


__all__ = ["export_run"]
