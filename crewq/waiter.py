"""Wakes whoever waits for a run or a batch, and has them told of a pause: one reader of one stream per process, however
many wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import chain
from typing import TypeAlias

from crewq import errors
from crewq.store import Store

Told: TypeAlias = Callable[[bool], object]

READ_SECONDS = 5.0  # how long one read of the feed waits; nothing depends on it


class Waiter:
    """Tells the ends of runs and batches.

    Args:
        open_store: makes the reader's own store, since a waiting read holds its connection.
        on_pause: called with each run that is paused while somebody waits for it, or for its batch.
    """

    def __init__(self, open_store: Callable[[], Store], on_pause: Callable[[str], None]) -> None:
        self._open_store = open_store
        self._on_pause = on_pause
        self._waiting: dict[str, list[Told]] = {}
        self._lock = threading.Lock()
        self._listening = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._store: Store | None = None

    def ended(self, subject: str, has_ended: Callable[[], bool]) -> Future[None]:
        """A future that is done once the run or batch `subject` has ended, and cancelled if this is closed before. Whoever
        gives up waiting cancels it."""
        future: Future[None] = Future()

        def told(ended: bool) -> None:
            with suppress(InvalidStateError):  # given up at this moment
                future.set_result(None) if ended else future.cancel()

        future.add_done_callback(lambda _: self.forget(subject, told))
        self.tell_end(subject, has_ended, told)
        return future

    def tell_end(self, subject: str, has_ended: Callable[[], bool], told: Told) -> None:
        """Have `told` called once the run or batch `subject` has ended, in whatever thread; with False if this is closed
        before.

        It is registered first and the state read then, so no end can slip through between the two.
        """
        self.listen()
        self._listening.wait()
        with self._lock:
            self._waiting.setdefault(subject, []).append(told)
        if has_ended():
            self._wake(subject)

    def forget(self, subject: str, told: Told) -> None:
        """It need not be told any more."""
        with self._lock:
            waiting = [one for one in self._waiting.pop(subject, []) if one is not told]
            if waiting:
                self._waiting[subject] = waiting

    def close(self) -> None:
        """Stop reading. What still waits is told so."""
        self._stopping.set()
        if self._store:
            self._store.close()
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for told in chain.from_iterable(waiting.values()):
            told(False)

    def listen(self) -> None:
        """Begin to read, if nobody did. From then on a restart of Redis is noticed at once, and not only when this process next
        asks for something: what it did last, and Redis has lost, is done again."""
        with self._lock:
            if self._thread is None:
                self._store = self._open_store()
                self._thread = threading.Thread(
                    target=self._read_for_ever, args=(self._store,), name="crewq-waiter", daemon=True
                )
                self._thread.start()

    def _read_for_ever(self, store: Store) -> None:
        after = ""
        while not self._stopping.is_set():
            try:
                if not after:
                    after = store.ends("$", 0).after
                    self._wake_what_ended_unseen(store)
                    self._listening.set()
                after, ended, paused = store.ends(after, READ_SECONDS)
            except errors.StoreError:
                # Redis may have lost the last second, so begin anew: with the newest end, and by reading the states.
                after = ""
                self._listening.set()
                self._stopping.wait(0.2)
            else:
                for subject in ended:
                    self._wake(subject)
                for run, batch in paused:
                    if run in self._waiting or batch in self._waiting:
                        self._on_pause(run)

    def _wake_what_ended_unseen(self, store: Store) -> None:
        with self._lock:
            subjects = list(self._waiting)
        for subject in subjects:
            if store.has_ended(subject):
                self._wake(subject)

    def _wake(self, subject: str) -> None:
        with self._lock:
            waiting = self._waiting.pop(subject, [])
        for told in waiting:
            told(True)


__all__ = ["Waiter"]
