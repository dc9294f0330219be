"""Which texts of a run are sealed, and what the place of each is called: what is encrypted is good for its own place only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from crewq import errors
from crewq.keyring import PLAIN
from crewq.store.records import Fields
from crewq.store.vault import Vault

OF_RUN = ("inputs", "error")
OF_TASK = ("output", "messages", "error", "traceback", "draft")
OF_EVENT = {
    "run_failed": ("error",),
    "task_failed": ("error",),
    "task_warned": ("reason",),
    "task_requeued": ("reason",),
    "token": ("text", "agent"),
}
# What the scripts write themselves, so that it is never encrypted.
REASONS = frozenset({"crashed", "answered by a person", "the call in doubt had ended"})
SKIPPED = "The result of this call is not known; it was not made again."


def of_run(run: str, field: str) -> str:
    """The place of a text of a run."""
    return f"run:{run} {field}"


def of_task(run: str, index: int, field: str) -> str:
    """The place of a text of a task. An error stands in three places, and is that of the run in each."""
    return of_run(run, field) if field == "error" else f"run:{run}:task:{index} {field}"


def of_journal(run: str, field: str) -> str:
    """The place of what a field of a journal holds."""
    return f"run:{run}:journal {field}"


def of_call(run: str, index: int, call: str) -> str:
    """The place of the answer of a call."""
    return of_journal(run, f"{index}:{call}")


def of_shared(run: str, shared: str) -> str:
    """The place of a result that is there for other calls too. Those have copies of it, as they were sealed here."""
    return of_journal(run, f"shared:{shared}")


def of_event(run: str, fields: Mapping[str, str], name: str) -> str:
    """The place of a text of an event."""
    if name == "error":
        return of_run(run, name)
    about = "".join(f" {fields.get(one, '')}" for one in ("attempt", "call", "offset", "tool"))
    return f"run:{run}:events {fields.get('type')} {fields.get('task')}{about} {name}"


def of_spec(name: str) -> str:
    """The place of a crew."""
    return f"spec:{name}"


def of_schedule(name: str, field: str) -> str:
    """The place of a text of a schedule."""
    return f"schedule:{name} {field}"


# -- a run's stamp ---------------------------------------------------------------------------------------------------


def stamp(vault: Vault, run: str, spec: str, names: str = "") -> str:
    """What proves which crew a run is of, and tells with which key the names of its calls are made; without keys, nothing.

    Args:
        vault: what seals it.
        run: the run.
        spec: what its crew is called.
        names: the id of that key; empty: the first. It stays the same for as long as there is the run.
    """
    names = names or vault.cipher.first
    return "" if names == PLAIN else vault.seal(of_run(run, "stamp"), f"{names} {spec}", names)


def read_stamp(vault: Vault, run: str, spec: str, kept: str) -> str:
    """The id of the key with which the names of a run's calls are made.

    Raises:
        NotAuthentic: the run was not started with this crew.
        EncryptionKeyUnknown: this process lacks the key.
    """
    if not kept and vault.cipher.takes_plain:
        return PLAIN
    names, _, known = vault.open(of_run(run, "stamp"), kept).partition(" ")
    if known != spec:
        raise errors.NotAuthentic(where=f"run:{run}", reason="is not of the crew that it names.")
    return names


# -- reading ---------------------------------------------------------------------------------------------------------


def opened(vault: Vault, runs: Iterable[tuple[str, Sequence[Fields]]]) -> list[list[Fields]]:
    """The hashes of runs, each with those of its tasks, with the texts that they stand for.

    Raises:
        RecordBroken: a long text is damaged, or not there.
        NotAuthentic, EncryptionKeyUnknown: as the vault.
    """
    found = [(run, [dict(one) for one in hashes]) for run, hashes in runs]
    for run, (about, *_) in found:
        read_stamp(vault, run, about.get("spec", ""), about.get("stamp", ""))
    sealed = [
        (one, field, of_task(run, at, field) if at >= 0 else of_run(run, field))
        for run, hashes in found
        for at, one in enumerate(hashes, start=-1)
        for field in (OF_TASK if at >= 0 else OF_RUN)
        if field in one and not (field == "error" and _is_of_a_script(one[field]))
    ]
    texts = vault.open_all([(where, one[field]) for one, field, where in sealed])
    for (one, field, _), text in zip(sealed, texts, strict=True):
        one[field] = text
    return [list(hashes) for _, hashes in found]


def opened_events(
    vault: Vault, run: str, entries: Sequence[tuple[str, dict[str, str]]]
) -> list[tuple[str, dict[str, str]]]:
    """Entries of the stream of a run, with the texts that they stand for.

    Raises:
        RecordBroken, NotAuthentic, EncryptionKeyUnknown: as `opened`.
    """
    sealed = [
        (fields, name, of_event(run, fields, name))
        for _, fields in entries
        for name in OF_EVENT.get(fields.get("type", ""), ())
        if name in fields and fields[name] not in REASONS and not (name == "error" and _is_of_a_script(fields[name]))
    ]
    texts = vault.open_all([(where, fields[name]) for fields, name, where in sealed])
    for (fields, name, _), text in zip(sealed, texts, strict=True):
        fields[name] = text
    return list(entries)


def _is_of_a_script(error: str) -> bool:
    """Whether an error is the one that a sweep writes down, in which no content is."""
    with suppress(ValueError, RecursionError):
        return error.startswith("{") and json.loads(error).get("error") == errors.Crashed.__name__
    return False


__all__ = [
    "OF_RUN",
    "OF_TASK",
    "SKIPPED",
    "of_call",
    "of_event",
    "of_journal",
    "of_run",
    "of_schedule",
    "of_shared",
    "of_spec",
    "of_task",
    "opened",
    "opened_events",
    "read_stamp",
    "stamp",
]
