"""Celery's consumer, with the events of many tasks sent together, and proof against messages that nobody meant to write."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from traceback import walk_tb
from typing import Any, ClassVar, cast

from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.loops import asynloop, synloop
from kombu.common import ignore_errors

from crewq.messages import Messages

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
READERS = ("kombu.transport.redis", "amqp.serialization")
PERIOD = 0.1  # seconds that an event may wait for others: nobody who watches sees the difference
LOOK_AGAIN = 0.05  # seconds until a worker that is full looks whether it still is
RABBITMQ = "amqp"  # what Celery calls its like


class NoMessage(ConnectionResetError):
    """A text in the queue could not be read: over an error of the connection, Celery's consumer connects anew."""


class Turnstile:
    """Lets messages of RabbitMQ in one by one, and none that would have to wait for a slot here while another worker has one
    free. With Redis, Celery itself sees to that (`worker_disable_prefetch`).

    RabbitMQ hands over one message, and the next one once that is acknowledged. A job is acknowledged when its work begins,
    but for the one that takes the last slot: that is when a slot is free again.

    Args:
        is_full: whether every slot is taken.
        later: calls something after so many seconds, in the thread in which messages are acknowledged.
    """

    def __init__(self, is_full: Callable[[], bool], later: Callable[[float, Callable[[], None]], object]) -> None:
        self._is_full = is_full
        self._later = later
        self._held: deque[Callable[[], None]] = deque()

    def guard(self, message: Any) -> None:
        """Have a message acknowledged when another may come in."""
        acknowledge = message.ack_log_error

        def in_turn(*arguments: Any, **named: Any) -> None:
            self._held.append(partial(acknowledge, *arguments, **named))
            if len(self._held) == 1:
                self._let_in()

        message.ack_log_error = in_turn

    def forget(self) -> None:
        """The connection is another one: what came by the old one, RabbitMQ hands over again."""
        self._held.clear()

    def _let_in(self) -> None:
        while self._held and not self._is_full():
            self._held.popleft()()
        if self._held:
            self._later(LOOK_AGAIN, self._let_in)


class Consumer(CeleryConsumer):
    """Celery's own sends what happened to a task at once, which is a message of the broker for nearly every event."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc,valid-type]  # its stub is wrong
        """Celery's own steps, without the 28 queues and as many exchanges that it makes of RabbitMQ's to send messages later:
        what is to be sent later is in the store."""

        default_steps: ClassVar[list[str]] = [
            step for step in CeleryConsumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
        ]

    hub: Any
    pool: Any
    controller: Any
    conninfo: Any
    connection_errors: tuple[type[Exception], ...]
    _flush_events: Callable[[], None]

    def __init__(self, *args: Any, **options: Any) -> None:
        self._sent_by = 0.0
        super().__init__(*args, **options)
        self._turnstile: Turnstile | None = None
        self._awake: Any = None
        if self.hub and self.conninfo.transport.driver_type == RABBITMQ:
            self._turnstile = Turnstile(self._is_full, self.hub.call_later)
            self.initial_prefetch_count = 1

    def loop(self, *arguments: Any) -> None:
        """Celery's own. A text in the queue that is no message at all ends the whole worker there; here it is dropped, and the
        worker connects anew, as what came with it may be half read."""
        if self._turnstile:
            self._turnstile.forget()
            self._stay_awake()
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
                problem = self._problem_with(message)
                if self._turnstile:
                    self._turnstile.guard(message)
                if not problem:
                    handle(message)
            except UNSOUND as error:
                problem = type(error).__name__
            if problem:
                log.error("dropped a message that is no job of ours: %s", problem)
            if problem and not message.acknowledged:
                message.reject_log_error(log, self.connection_errors)

        return handle_if_sound

    def on_send_event_buffered(self) -> None:  # type: ignore[override]  # its stub is wrong
        """An event waits to be sent. Called in any thread."""
        if self.hub and monotonic() >= self._sent_by:
            self._sent_by = monotonic() + PERIOD
            self.hub.call_soon(self._send_later)

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
        """A connection for events, without RabbitMQ's confirmations: the job's thread that sends a full buffer of them would
        wait for its confirmation, without end at times, and every other job for that thread. An event may be lost."""
        connection = self.app.connection_for_write(url=url, heartbeat=heartbeat)
        connection.transport_options = {**(connection.transport_options or {}), "confirm_publish": False}
        return self.ensure_connected(connection)

    def shutdown(self) -> None:
        """The worker ends, and what still waits is sent."""
        ignore_errors(self, self._flush_events)  # type: ignore[arg-type]  # its stub knows of connections only
        super().shutdown()

    def _update_prefetch_count(self, index: int = 0) -> None:
        """The pool grew or shrank by so many."""
        if not self._turnstile:
            super()._update_prefetch_count(index)  # type: ignore[misc]  # its stub lacks it

    def _stay_awake(self) -> None:
        """A job's thread leaves its acknowledgement to this one, which would sleep on until something else comes, and nothing
        comes before that acknowledgement."""
        if self._awake:
            self._awake.cancel()
        self._awake = self.hub.call_repeatedly(LOOK_AGAIN, lambda: None)

    def _is_full(self) -> bool:
        slots: int = getattr(self.controller, "max_concurrency", None) or self.pool.num_processes
        return len(state.reserved_requests) >= slots

    def _problem_with(self, message: Any) -> str:
        if not _has_lawful_limits(message.headers):
            return "no time limit"
        if self._turnstile and message.headers.get("eta"):
            # Celery would keep it until then, unacknowledged, and nothing more would come in.
            return "it is to wait, and no job does that in a queue"
        return cast(Messages, self.app.amqp).objection(message)

    def _send_later(self) -> None:
        self.hub.call_later(PERIOD, self._flush_events)


def _is_of_the_broker(error: BaseException) -> bool:
    """Whether it was raised as the broker's answer was read."""
    return any(frame.f_globals.get("__name__") in READERS for frame, _ in walk_tb(error.__traceback__))


def _has_lawful_limits(headers: dict[str, Any]) -> bool:
    hard, soft = headers.get("timelimit") or (None, None)
    return all(limit is None or 0 <= limit <= LONGEST for limit in (hard, soft))


__all__ = ["Consumer", "NoMessage", "Turnstile"]
