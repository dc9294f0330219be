"""What happens to messages on their way."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.chaos.faults.base import LONG, Fault
from tests.chaos.processes import BROKER_DB
from tests.chaos.stage import NoTarget, Stage

QUEUES = "crewq*"


def flush_broker(stage: Stage, chance: random.Random) -> Fault:
    """FLUSHDB of the broker's database."""
    with stage.redis.client(BROKER_DB) as client:
        client.flushdb()
    stage.losses.append(time.time())
    yield 0.0


def delete(stage: Stage, chance: random.Random) -> Fault:
    """Half of the messages that wait vanish."""
    yield from _each_message(stage, lambda client, queue, text: client.lrem(queue, 1, text), chance)
    stage.losses.append(time.time())


def double(stage: Stage, chance: random.Random) -> Fault:
    """Half of the messages that wait are there twice."""
    yield from _each_message(stage, lambda client, queue, text: client.lpush(queue, text), chance)


def repeat(stage: Stage, chance: random.Random) -> Fault:
    """Messages that were sent some time ago come again."""
    with stage.redis.client(BROKER_DB) as client:
        kept = [
            (queue, text) for queue in client.scan_iter(QUEUES, _type="list") for text in client.lrange(queue, 0, 9)
        ]
    if not kept:
        raise NoTarget
    yield chance.uniform(1, LONG)
    with stage.redis.client(BROKER_DB) as client:
        for queue, text in kept:
            client.lpush(queue, text)


def _each_message(stage: Stage, act: Callable[..., object], chance: random.Random) -> Fault:
    with stage.redis.client(BROKER_DB) as client:
        queues = list(client.scan_iter(QUEUES, _type="list"))
        hit = [(queue, text) for queue in queues for text in client.lrange(queue, 0, -1) if chance.random() < 0.5]
        for queue, text in hit:
            act(client, queue, text)
    if not hit:
        raise NoTarget
    yield 0.0


__all__ = ["delete", "double", "flush_broker", "repeat"]
