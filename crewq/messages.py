"""How Celery's messages are sent: each in one round trip with the event that tells of it, and with proof of its sender where
texts are encrypted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from celery import Celery
from celery.app.amqp import AMQP, Queues
from kombu import Producer, Queue
from kombu.exceptions import BatchPublishError, ContentDisallowed, DecodeError  # type: ignore[attr-defined]  # its stub is older
from kombu.transport import redis

from crewq.authentic import CODE, Authenticator

Sent = TypeVar("Sent")

QUORUM = "quorum"  # a kind of queue that only RabbitMQ has
# A message that makes each of its readers connect anew is dropped after so many. Any other is sent again by a sweeper.
MOST_DELIVERIES = 5
BINDING = ("task", "id", "eta", "expires", "timelimit")  # headers that say what is done, and when


class Messages(AMQP):
    """Celery's own, sent in another way.

    Args:
        app: whose messages they are.
        authenticator: proves them, where there is one.
    """

    def __init__(self, app: Celery, authenticator: Authenticator | None = None) -> None:
        super().__init__(app)
        self._authenticator = authenticator

    def as_task_v2(self, *args: Any, **options: Any) -> Any:
        """A message for a job, as Celery makes it."""
        message = super().as_task_v2(*args, **options)
        if self._authenticator:
            message.headers[CODE] = self._authenticator.code("job", _said(message.headers, message.body))
        return message

    def objection(self, message: Any) -> str:
        """Why a message that came in is not believed; empty: it is, or it is none that Celery will read."""
        if not self._authenticator:
            return ""
        try:
            body = message.payload
        except (ContentDisallowed, DecodeError):
            return ""
        return self._authenticator.objection("job", _said(message.headers, body), message.headers.get(CODE))

    def _create_task_sender(self) -> Callable[..., Any]:
        send: Callable[..., Any] = super()._create_task_sender()  # type: ignore[misc]  # its stub lacks it

        def send_with_its_event(producer: Producer, *args: Any, **options: Any) -> Any:
            return together(producer, lambda: send(producer, *args, **options))

        return send_with_its_event


def together(producer: Producer, send: Callable[[], Sent]) -> Sent:
    """Send several messages in one round trip, where the broker is a Redis.

    Args:
        producer: by which they are sent.
        send: sends them, by that. It may be called twice: if the round trip fails, nobody knows which of them came, and each
            is sent by itself, as often as Celery tries. A message that comes twice is worked on once.
    """
    try:
        with producer.batch():  # type: ignore[attr-defined]  # likewise
            return send()
    except BatchPublishError:
        return send()


class QuorumQueues(Queues):
    """Queues of RabbitMQ that outlive a node, whichever are asked for."""

    def __setitem__(self, name: str, queue: Queue) -> None:
        queue.queue_arguments = {"x-queue-type": QUORUM, "x-delivery-limit": MOST_DELIVERIES}
        super().__setitem__(name, queue)


class Channel(redis.Channel):
    """Redis as kombu talks to it, with no connection open to receive by before something is to be received: kombu makes one
    for each channel, to see whether Redis is there, and most channels only send."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.async_pool.disconnect()


class Transport(redis.Transport):
    """Kombu's, with such channels."""

    Channel = Channel


def _said(headers: Any, body: Any) -> list[Any]:
    """What there is to prove of a message: all that its job is told, and when it may be done."""
    return [*(headers.get(name) for name in BINDING), body]


__all__ = ["QUORUM", "Channel", "Messages", "QuorumQueues", "Transport", "together"]
