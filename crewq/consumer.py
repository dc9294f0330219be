"""Celery's consumer, with the events of many tasks sent together."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.common import ignore_errors

PERIOD = 0.1  # seconds that an event may wait for others: nobody who watches sees the difference


class Consumer(CeleryConsumer):
    """Celery's own sends what happened to a task at once, which is a message of the broker for nearly every event."""

    hub: Any
    _flush_events: Callable[[], None]

    def __init__(self, *args: Any, **options: Any) -> None:
        self._sent_by = 0.0
        super().__init__(*args, **options)

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


__all__ = ["Consumer"]
