"""What a worker of RabbitMQ takes in: one message after the other, and none while it is full."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from celery.worker.consumer import Consumer as CeleryConsumer

from crewq.consumer import Consumer, Turnstile


class Worker:
    """A worker with so many slots, whose event loop turns when a test says so."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0
        self.acknowledged: list[str] = []
        self.timers: list[Callable[[], None]] = []
        self.turnstile = Turnstile(lambda: self.taken >= self.slots, lambda _, act: self.timers.append(act))

    def take(self, name: str) -> None:
        """A message comes, its work begins, and it is acknowledged."""
        message = SimpleNamespace(ack_log_error=lambda *arguments: self.acknowledged.append(f"{name} {arguments}"))
        self.turnstile.guard(message)
        self.taken += 1
        message.ack_log_error("log")

    def turn(self) -> None:
        timers, self.timers = self.timers, []
        for act in timers:
            act()


@pytest.fixture
def worker() -> Worker:
    return Worker(2)


def test_a_message_is_acknowledged_when_its_work_begins(worker: Worker) -> None:
    worker.take("first")
    assert worker.acknowledged == ["first ('log',)"]
    assert worker.timers == []


def test_the_one_that_takes_the_last_slot_is_when_one_is_free(worker: Worker) -> None:
    worker.take("first")
    worker.take("second")
    worker.turn()
    worker.turn()
    assert len(worker.acknowledged) == 1
    assert len(worker.timers) == 1, "it looks again, and in one row"
    worker.taken -= 1
    worker.turn()
    assert len(worker.acknowledged) == 2
    assert worker.timers == []


def test_of_two_queues_each_has_one_at_most(worker: Worker) -> None:
    for name in ("first", "second", "of another queue"):
        worker.take(name)
    worker.taken -= 2
    worker.turn()
    assert len(worker.acknowledged) == 3


def test_what_came_by_an_old_connection_is_not_acknowledged_by_the_new_one(worker: Worker) -> None:
    worker.take("first")
    worker.take("second")
    worker.turnstile.forget()
    worker.taken = 0
    worker.turn()
    worker.take("second again")
    assert [one.partition(" (")[0] for one in worker.acknowledged] == ["first", "second again"]


def test_no_queues_are_made_for_messages_that_are_sent_later() -> None:
    own, celerys = (set(kind.Blueprint.default_steps) for kind in (Consumer, CeleryConsumer))
    assert celerys - own == {"celery.worker.consumer.delayed_delivery:DelayedDelivery"}
    assert own <= celerys
