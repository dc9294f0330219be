"""Batches: the runs of one `kickoff_for_each`, and their counters."""

from __future__ import annotations

import json
from typing import Any

from crewq import errors
from crewq.budgets import Budget
from crewq.states import RunState
from crewq.store.money import raised, spent_already
from crewq.store.orders import Job
from crewq.store.records import BatchRecord
from crewq.store.verbs import Verbs
from crewq.terms import Terms


class Batches:
    """All batches."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def create(self, batch: str, crew: str, key: str = "", fingerprint: str = "", terms: Terms | None = None) -> str:
        """Begin a batch; answers its id, or that of the one that `key` already names.

        Raises:
            KeyReused: the key names a batch of another crew.
        """
        given = json.dumps((terms or Terms()).fields())
        cipher = self._verbs.vault.cipher
        name = cipher.name(fingerprint) if fingerprint else ""
        answer = self._verbs.create_batch(batch=batch, crew=crew, key=key, fingerprint=name, terms=given)
        known, _, of = answer.partition("|")
        if of and of not in cipher.names(fingerprint):
            raise errors.KeyReused(key=key, run=known)
        return known

    def open(self, batch: str, window: int) -> tuple[Job, ...]:
        """The batch is whole: it takes its place in the line, and has no more than `window` runs under way at once.

        Returns:
            The jobs to publish: of its first runs, or of those that are before it, as far as the workers have slots.
        """
        return tuple(Job.read(member) for member in self._verbs.open_batch(batch=batch, window=window))

    def abandon(self, batch: str) -> None:
        """Forget a batch that was not opened, and the runs accepted for it."""
        self._verbs.abandon_batch(batch=batch)

    def read(self, batch: str) -> BatchRecord:
        """The counters.

        Raises:
            UnknownId: there is no such batch.
        """
        fields = self._verbs.do(lambda client: client.hgetall(self._verbs.keys.batch(batch)))
        if not fields:
            raise errors.UnknownId(kind="batch", id=batch, where=self._verbs.where)
        return BatchRecord.read(batch, fields)

    def raise_budget(self, batch: str, budget: Budget) -> None:
        """Give a batch a new budget; what it leaves open stays as it is.

        Raises:
            UnknownId: there is no such batch.
            BudgetTooSmall: as much as that is spent already.
        """
        word, *spent = self._verbs.raise_batch(batch=batch, **raised(budget))
        if word == "gone":
            raise errors.UnknownId(kind="batch", id=batch, where=self._verbs.where)
        if word == "spent":
            raise spent_already("batch", batch, spent)

    def runs(self, batch: str) -> list[str]:
        """The ids of its runs, in the order of the inputs."""
        found: list[str] = self._verbs.do(lambda client: client.lrange(self._verbs.keys.batch_runs(batch), 0, -1))
        return found

    def paused(self, batch: str) -> list[str]:
        """Those of its runs that wait for a person."""
        runs = self.runs(batch)

        def command(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            for run in runs:
                pipeline.hget(self._verbs.keys.run(run), "state")
            return pipeline.execute()

        states = self._verbs.do(command) if runs else []
        return [run for run, state in zip(runs, states, strict=True) if state == RunState.PAUSED.value]

    def held(self, batch: str) -> int:
        """How many of its runs are not yet released to the workers."""
        count: int = self._verbs.do(lambda client: client.llen(self._verbs.keys.batch_held(batch)))
        return count

    def ended(self, batch: str, after: str, *, wait: float = 0.0) -> list[tuple[str, int, str]]:
        """Its runs that ended after the entry `after`: (entry, position, run id), waiting up to `wait` seconds."""
        entries = self._verbs.read_stream(self._verbs.keys.batch_ended(batch), after, wait, count=500)
        return [(entry, int(fields["item"]), fields["run"]) for entry, fields in entries]


__all__ = ["Batches"]
