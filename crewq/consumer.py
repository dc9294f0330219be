"""Celery's consumer, with the events of many tasks sent together, and proof against messages that nobody meant to write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from traceback import walk_tb
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.loops import asynloop, synloop
from kombu.common import ignore_errors

log = logging.getLogger("crewq.consumer")

LONGEST = 10**9  # seconds of a time limit; a wait that is far longer is none that Python could wait
UNSOUND = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)  # what reading nonsense raises
READER = "kombu.transport.redis"
PERIOD = 0.1  # seconds that an event may wait for others: nobody who watches sees the difference


class NoMessage(ConnectionResetError):
    """A text in the queue could not be read: over an error of the connection, Celery's consumer connects anew."""


class Consumer(CeleryConsumer):
    """Celery's own sends what happened to a task at once, which is a message of the broker for nearly every event."""

    hub: Any
    connection_errors: tuple[type[Exception], ...]
    _flush_events: Callable[[], None]

    def __init__(self, *args: Any, **options: Any) -> None:
        self._sent_by = 0.0
        super().__init__(*args, **options)

    def loop(self, *arguments: Any) -> None:
        """Celery's own. A text in the queue that is no message at all ends the whole worker there; here it is dropped, and the
        worker connects anew, as what came with it may be half read."""
        try:
            (asynloop if self.hub else synloop)(*arguments)
        except UNSOUND as error:
            if not _is_of_the_broker(error):
                raise
            log.error("dropped a text in the queue that is no message: %s", type(error).__name__)
            raise NoMessage("what the broker sent is no message") from error

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """What takes in a message. With Celery's own, one with headers of the wrong types ends the whole worker."""
        handle = super().create_task_handler(*args, **options)

        def handle_if_sound(message: Any) -> None:
            try:
                problem = "" if _has_lawful_limits(message.headers) else "no time limit"
                if not problem:
                    handle(message)
            except UNSOUND as error:
                problem = type(error).__name__
            if problem:
                log.error("dropped a message that is no job: %s", problem)
            if problem and not message.acknowledged:
                message.reject_log_error(log, self.connection_errors)

        return handle_if_sound

    def on_send_event_buffered(self) -> None:  # type: ignore[override]  # its stub is wrong
        """An event waits to be sent. Called in any thread."""
        if self.hub and monotonic() >= self._sent_by:
            self._sent_by = monotonic() + PERIOD
            self.hub.call_soon(self._send_later)

    def shutdown(self) -> None:
        """The worker ends, and what still waits is sent."""
        ignore_errors(self, self._flush_events)  # type: ignore[arg-type]  # its stub knows of connections only
        super().shutdown()

    def _send_later(self) -> None:
        self.hub.call_later(PERIOD, self._flush_events)


def _is_of_the_broker(error: BaseException) -> bool:
    """Whether it was raised as the broker's answer was read."""
    return any(frame.f_globals.get("__name__") == READER for frame, _ in walk_tb(error.__traceback__))


def _has_lawful_limits(headers: dict[str, Any]) -> bool:
    hard, soft = headers.get("timelimit") or (None, None)
    return all(limit is None or 0 <= limit <= LONGEST for limit in (hard, soft))


__all__ = ["Consumer", "NoMessage"]
