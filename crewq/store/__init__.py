"""What Redis remembers: runs, their tasks, their journal, batches and schedules. All Lua and all key names stay in here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from crewq.settings import Settings
from crewq.states import RunState
from crewq.store.audit import Action, Audit
from crewq.store.batches import Batches
from crewq.store.connection import ANSWER_WITHIN, CLIENT_PATIENCE, Ends
from crewq.store.export import export_run
from crewq.store.journal import FAILED, Call, Finding, Journal
from crewq.store.limits import Charge, Demand, Limits, Objection, Turn
from crewq.store.listing import Listing, Span
from crewq.store.memory import Memory, Remembered
from crewq.store.metrics import BOUNDS, METERS, Lane, Meter, Metrics, Reading, Series
from crewq.store.money import NO_BUDGET, Cost, Costs
from crewq.store.orders import Claim, Ending, Findings, Head, Job, NewRun, NewTask, Order
from crewq.store.records import BatchRecord, RunRecord, TaskRecord
from crewq.store.redo import MAY_BE_LOST
from crewq.store.runs import Runs
from crewq.store.schedules import ScheduleRecord, Schedules, Unreadable
from crewq.store.verbs import Verbs

PARTING = 5.0  # seconds that a process which ends waits for a Redis that may have lost what it did last


class Store:
    """The store of one process.

    Args:
        settings: where Redis is, the namespace, how long runs are kept.
        patience: seconds to wait for a Redis that does not answer; a worker waits without end (`math.inf`).
        connections: how many at most.
        clock: milliseconds instead of Redis's own time, for tests and simulations.
        client: a redis client to use instead of a new one, for tests.
        beside: another store of this process: what either did last is done again should Redis have lost it.
        answer_within: seconds that Redis may take for one command before the connection is given up.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        patience: float = CLIENT_PATIENCE,
        connections: int = 8,
        clock: Callable[[], int] | None = None,
        client: redis.Redis | None = None,
        beside: Store | None = None,
        answer_within: float = ANSWER_WITHIN,
    ) -> None:
        self._settings = settings
        self._verbs: Verbs = Verbs(
            settings,
            patience=patience,
            connections=connections,
            clock=clock,
            client=client,
            redo=beside._verbs.redo if beside else None,
            answer_within=answer_within,
        )
        self.where = self._verbs.where
        self.runs = Runs(self._verbs)
        self.journal = Journal(self._verbs)
        self.batches = Batches(self._verbs)
        self.limits = Limits(self._verbs)
        self.listing = Listing(self._verbs)
        self.audit = Audit(self._verbs)
        self.costs = Costs(self._verbs)
        self.metrics = Metrics(self._verbs)
        self.memory = Memory(self._verbs)
        self.schedules = Schedules(self._verbs)

    def check(self) -> dict[str, Any]:
        """What the server says of itself, once it is known to be fit.

        Raises:
            StoreUnreachable, StoreUnfit: it is not there, or not fit to keep runs.
        """
        return self._verbs.check()

    def ping(self) -> None:
        """Ask for a sign of life; a Redis that has lost what this process did last is told of it first.

        Raises:
            StoreError: there is none.
        """
        self._verbs.do(lambda client: client.ping())

    def wait_for_disk(self) -> None:
        """Before this process ends, wait until Redis has on its disk what it did last, a second at most; up to five for a Redis
        that is away. By a connection of its own: a signal may have ended the process in the middle of a command."""
        if self._verbs.redo.has_recent():
            parting = Verbs(self._settings, patience=PARTING, connections=1, redo=self._verbs.redo)
            parting.wait_for_disk()
            parting.close()

    def ends(self, after: str, wait: float) -> Ends:
        """The runs and batches that ended, and the runs that were paused, after an entry of the feed; waits up to `wait`
        seconds for the first.

        Args:
            after: the entry read last; `$` asks for the newest entry's id without waiting.
            wait: seconds.
        """
        return self._verbs.ends(after, wait)

    def export(self, run: str) -> dict[str, Any]:
        """Everything that is kept of a run, as JSON.

        Raises:
            UnknownId: there is no such run.
        """
        return export_run(self._verbs, run)

    def seal(self, where: str, text: str) -> str:
        """A text as it may lie outside of this process: encrypted, where there are keys."""
        return self._verbs.vault.seal(where, text)

    def open(self, where: str, sealed: str) -> str:
        """The text that was sealed.

        Raises:
            NotAuthentic, EncryptionKeyUnknown: it was not sealed there, or with a key that this process lacks.
        """
        return self._verbs.vault.open(where, sealed)

    def has_ended(self, subject: str) -> bool:
        """Whether a run or a batch has ended, or is not there (any more)."""
        keys = self._verbs.keys
        state, batch = self._verbs.do(lambda client: _ends_of(client, keys.run(subject), keys.batch(subject)))
        return bool(RunState(state).ended) if state else batch != ""

    def close(self) -> None:
        """Give the connections back."""
        self._verbs.close()


def _ends_of(client: redis.Redis, run: str, batch: str) -> tuple[str | None, str]:
    """The state of a run; and of a batch: empty while it goes on."""
    pipeline = client.pipeline(transaction=False)
    pipeline.hget(run, "state")
    pipeline.hmget(batch, "created", "ended")
    state, (created, ended) = pipeline.execute()
    return state, (ended or "") if created else "gone"


__all__ = [
    "BOUNDS",
    "FAILED",
    "MAY_BE_LOST",
    "METERS",
    "NO_BUDGET",
    "Action",
    "BatchRecord",
    "Call",
    "Charge",
    "Claim",
    "Cost",
    "Demand",
    "Ending",
    "Ends",
    "Finding",
    "Findings",
    "Head",
    "Job",
    "Journal",
    "Lane",
    "Limits",
    "Listing",
    "Memory",
    "Meter",
    "Metrics",
    "NewRun",
    "NewTask",
    "Objection",
    "Order",
    "Reading",
    "Remembered",
    "RunRecord",
    "Runs",
    "ScheduleRecord",
    "Schedules",
    "Series",
    "Span",
    "Store",
    "TaskRecord",
    "Turn",
    "Unreadable",
]
