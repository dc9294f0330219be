"""Which texts of a run may be long, and what the place of each is called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crewq.store.records import Fields
from crewq.store.vault import Vault

OF_RUN = ("inputs", "error")
OF_TASK = ("output", "messages", "error", "traceback", "draft")
OF_EVENT = {"run_failed": ("error",), "task_failed": ("error",)}


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


def opened(vault: Vault, runs: Iterable[tuple[str, Sequence[Fields]]]) -> list[list[Fields]]:
    """The hashes of runs, each with those of its tasks, with the texts that they stand for.

    Raises:
        RecordBroken: a long text is damaged, or not there.
    """
    found = [(run, [dict(one) for one in hashes]) for run, hashes in runs]
    sealed = [
        (one, field, of_task(run, at, field) if at >= 0 else of_run(run, field))
        for run, hashes in found
        for at, one in enumerate(hashes, start=-1)
        for field in (OF_TASK if at >= 0 else OF_RUN)
        if field in one
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
        RecordBroken: as `opened`.
    """
    sealed = [(fields, name) for _, fields in entries for name in OF_EVENT.get(fields.get("type", ""), ())]
    sealed = [(fields, name) for fields, name in sealed if name in fields]
    texts = vault.open_all([(of_run(run, name), fields[name]) for fields, name in sealed])
    for (fields, name), text in zip(sealed, texts, strict=True):
        fields[name] = text
    return list(entries)


__all__ = ["OF_RUN", "OF_TASK", "of_call", "of_journal", "of_run", "of_task", "opened", "opened_events"]
