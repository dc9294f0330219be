"""A run, whole, as JSON: everything that is kept of it, also what no handle shows."""

from __future__ import annotations

import json
from typing import Any

from crewq.store.journal import FINISHED
from crewq.store.places import SKIPPED, of_journal, opened
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
    ((about, *tasks),) = opened(verbs.vault, [(run, [dict(pairs(flat)) for flat in verbs.read_run(run=run)])])
    events = runs.events(run, "0-0", count=ALL_EVENTS)
    crew = runs.spec(record.spec)
    with readable(f"run:{run}"):
        return {
            "version": EXPORT_VERSION,
            "id": run,
            "crew": crew.model_dump(mode="json", exclude_defaults=True),
            "run": _parsed(about),
            "tasks": [_parsed(task) for task in tasks],
            "journal": [_entry(name, *told) for name, told in sorted(_journal(verbs, run).items())],
            "events": [event.model_dump(mode="json", exclude={"run"}) for event in events],
        }


def _parsed(fields: Fields) -> dict[str, Any]:
    return {name: json.loads(value) if name in JSON_FIELDS else value for name, value in fields.items()}


def _journal(verbs: Verbs, run: str) -> dict[str, tuple[str, str]]:
    """Each call, what became of it, and its answer or its attempt."""
    kept: Fields = verbs.do(lambda client: client.hgetall(verbs.keys.journal(run)))
    calls = {name: value for name, value in kept.items() if not name.startswith(SHARED)}
    answers = {name: value.removeprefix(FINISHED) for name, value in calls.items() if value.startswith(FINISHED)}
    # A copy of a result that is shared is sealed as that is.
    shared = {value: name for name, value in kept.items() if name.startswith(SHARED)}
    sealed = [(of_journal(run, shared.get(value, name)), value) for name, value in answers.items() if value != SKIPPED]
    texts = dict(zip((value for _, value in sealed), verbs.vault.open_all(sealed), strict=True))
    others = {name: value.split(" ", 1) for name, value in calls.items() if name not in answers}
    found = {name: (state, attempt) for name, (state, attempt) in others.items()}
    return found | {name: ("finished", texts.get(value, value)) for name, value in answers.items()}


def _entry(name: str, state: str, rest: str) -> dict[str, Any]:
    task, kind, digest, ordinal = name.split(":", 3)
    entry: dict[str, Any] = {"task": int(task), "kind": kind, "digest": digest, "ordinal": int(ordinal), "state": state}
    return entry | ({"answer": rest} if state == "finished" else {"attempt": int(rest)})


__all__ = ["export_run"]
