"""The handle of a batch: one `kickoff_for_each`. Any process can make one from the batch's id."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel

from crewq import errors
from crewq.budgets import Budget
from crewq.handle import Handle
from crewq.outputs import CrewOutput
from crewq.producer import Producer
from crewq.run import Run
from crewq.states import RunState
from crewq.store import BatchRecord, RunRecord
from crewq.terms import check_budget

READ_SECONDS = 2.0  # how long one read of a batch's ends waits
READ_AT_ONCE = 500  # runs whose states are read in one round trip

log = logging.getLogger("crewq.batch")


class Batch(Handle[list[Any]]):
    """The runs of one `kickoff_for_each`. Awaiting it gives their outputs, in the order of the inputs.

    Args:
        batch_id: its id, or an unambiguous beginning of it. It is looked up, also if it is whole.
        producer: this process's way to Redis; None: by the environment. With one, a whole id is taken to be of its store.
        classes: the caller's own classes of structured outputs, by the position of the task.
        finish: what is done with the output of each run before it is given back.
        ended: who is told how each run ended.
        return_exceptions: what awaiting does about runs that did not complete: their errors in place of their outputs,
            or one BatchFailed.

    Raises:
        UnknownId, AmbiguousId: no batch is, or several are, called that.
    """

    kind = "batch"

    def __init__(
        self,
        batch_id: str,
        producer: Producer | None = None,
        *,
        classes: Mapping[int, type[BaseModel]] | None = None,
        finish: Callable[[CrewOutput], CrewOutput] | None = None,
        ended: Callable[[RunRecord], None] | None = None,
        return_exceptions: bool = False,
    ) -> None:
        super().__init__(batch_id, producer)
        self._classes = classes
        self._finish = finish
        self._tell_end = ended
        self._return_exceptions = return_exceptions
        self._told = ""  # why runs of it are paused, once that was told

    # -- its end -------------------------------------------------------------------------------------------

    def results(self, timeout: float | None = None, *, return_exceptions: bool | None = None) -> list[Any]:
        """Wait for all its runs; their outputs in the order of the inputs.

        Args:
            timeout: seconds; None: as long as it takes.
            return_exceptions: True: the error of a run that did not complete stands in its place.

        Raises:
            BatchFailed: some did not complete; has all results and errors with it.
            ResultTimeout: it has not ended yet; it goes on.
        """
        self._wait(timeout)
        return self._outcomes(self._return_exceptions if return_exceptions is None else return_exceptions)

    def _has_ended(self) -> bool:
        ended = super()._has_ended()
        for run in () if ended else self._producer.store.batches.paused(self.id):
            self._producer.tell_pause(run)
        return ended

    def _outcome(self) -> list[Any]:
        return self._outcomes(self._return_exceptions)

    def _outcomes(self, return_exceptions: bool) -> list[Any]:
        results = [_outcome(run) for run in self.runs]
        failures = [result for result in results if isinstance(result, errors.CrewqError)]
        if failures and not return_exceptions:
            raise errors.BatchFailed(
                batch=self.id, failed=len(failures), total=len(results), first=str(failures[0]), results=results
            )
        return results

    def as_completed(self) -> Ends:
        """Its runs as they end, each once: `(position, output or error)`, for `for` and for `async for`."""
        return Ends(self, self._producer)

    # -- looking at it -------------------------------------------------------------------------------------

    @property
    def runs(self) -> list[Run]:
        """Its runs, in the order of the inputs."""
        return [self.run(run) for run in self._producer.store.batches.runs(self.id)]

    def run(self, run_id: str) -> Run:
        """The handle of one of its runs."""
        return Run(run_id, self._producer, classes=self._classes, finish=self._finish, ended=self._tell_end)

    def progress(self) -> BatchRecord:
        """How many of its runs have completed, failed and been cancelled, of how many."""
        return self._producer.store.batches.read(self.id)

    def failed(self) -> list[tuple[int, Run]]:
        """Those of its runs that have failed, with their positions."""
        return [(at, run) for at, run in enumerate(self.runs) if run.status == "failed"]

    def retry_failed(self) -> int:
        """Resume its runs that have failed, each where it stopped; answers how many. The others are not touched."""
        failed = self.failed()
        for _, run in failed:
            run.resume()
        return len(failed)

    def resume(self, *, max_cost: float | None = None, max_tokens: int | None = None) -> int:
        """Resume its runs that are paused, each where it stopped; answers how many. One that waits for a person stays so.

        Args:
            max_cost: a new budget in US dollars, for all its runs together: what they have spent counts. None: as it is.
            max_tokens: likewise, in tokens.

        Raises:
            BudgetTooSmall: as much as the new budget is spent already.
            InvalidField: that is no budget.
        """
        check_budget(max_cost, max_tokens)
        store = self._producer.store
        store.batches.raise_budget(self.id, Budget(max_cost, max_tokens))
        ids = store.batches.runs(self.id)
        parts = (ids[at : at + READ_AT_ONCE] for at in range(0, len(ids), READ_AT_ONCE))
        paused = [run.id for part in parts for run in store.runs.overview(part) if run.state is RunState.PAUSED]
        return sum(self._resumed(run) for run in paused)

    def _resumed(self, run_id: str) -> bool:
        with suppress(errors.NotNow):  # a person is asked, or somebody else was faster
            self.run(run_id).resume()
            return True
        return False

    def _look(self) -> None:
        with suppress(errors.StoreError):  # who waits, waits for Redis too
            if (reason := self.progress().paused_for or "") not in ("", self._told):
                self._told = reason
                log.warning("runs of the batch %s are paused. %s", self.id, reason)

    def cancel(self) -> int:
        """End all its runs that have not ended; answers how many."""
        return sum(run.cancel() for run in reversed(self.runs))


class Ends:
    """The runs of a batch as they end, for `for` and `async for`: `(position, output or error)`."""

    def __init__(self, batch: Batch, producer: Producer) -> None:
        self._batch = batch
        self._batches = producer.reader.batches
        self._after = "0-0"
        self._seen: set[int] = set()
        self._wait = 0.0  # at first: the batch may be empty, and then nothing ever comes
        self._over = False

    def _next(self) -> list[tuple[int, CrewOutput | errors.CrewqError]]:
        ended = self._batches.ended(self._batch.id, self._after, wait=self._wait)
        self._wait = READ_SECONDS
        if not ended:
            self._over = self._batches.read(self._batch.id).ended is not None
            return []
        self._after = ended[-1][0]
        new = [(at, run) for _, at, run in ended if at not in self._seen]
        self._seen.update(at for at, _ in new)
        self._over = len(self._seen) == self._batches.read(self._batch.id).total
        return [(at, _outcome(self._batch.run(run))) for at, run in new]

    def __iter__(self) -> Iterator[tuple[int, CrewOutput | errors.CrewqError]]:
        while not self._over:
            yield from self._next()

    async def __aiter__(self) -> AsyncIterator[tuple[int, CrewOutput | errors.CrewqError]]:
        while not self._over:
            for end in await asyncio.to_thread(self._next):
                yield end


def _outcome(run: Run) -> CrewOutput | errors.CrewqError:
    try:
        return run.result()
    except errors.CrewqError as error:
        return error


__all__ = ["Batch", "Ends"]
