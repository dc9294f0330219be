"""What happens to Redis."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from pathlib import Path

import redis

from tests.chaos.faults.base import LONG, TICK, Fault
from tests.chaos.stage import LEASE, NoTarget, Stage


def kill(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL, and back in a moment."""
    yield from _redis_away(stage, signal.SIGKILL, chance.uniform(0.1, LEASE / 2))


def stop(stage: Stage, chance: random.Random) -> Fault:
    """SIGTERM, and back in a moment."""
    yield from _redis_away(stage, signal.SIGTERM, chance.uniform(0.1, LEASE / 2))


def lose(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL, and away for longer than any lease lasts."""
    yield from _redis_away(stage, signal.SIGKILL, LONG)


def roll_back(stage: Stage, chance: random.Random) -> Fault:
    """The machine of Redis loses its power: what was written in the last second was not yet on the disk."""
    yield from _redis_away(stage, signal.SIGKILL, 0.2, lost=1)


def _redis_away(stage: Stage, number: signal.Signals, seconds: float, lost: int = 0) -> Fault:
    if not stage.redis.alive:
        raise NoTarget
    stage.redis.take_away(number)
    if lost:
        _forget(stage.redis.history, time.time() - lost)
    yield seconds
    stage.redis.bring_back()
    if lost:
        stage.redis.rolled_back.append(stage.redis.outages[-1])


def _forget(history: Path, since: float) -> None:
    """Cut the AOF off where it says that a time after `since` begins."""
    data = history.read_bytes()
    at = len(data)
    while (at := data.rfind(b"#TS:", 0, at)) >= 0:
        if int(data[at + 4 : data.index(b"\r", at)]) <= since:
            break
        os.truncate(history, at)


def cut_connections(stage: Stage, chance: random.Random) -> Fault:
    """Every connection to Redis is closed by the server."""
    with stage.redis.client() as client:
        closed = client.execute_command("CLIENT", "KILL", "TYPE", "normal")
        closed += client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    if not closed:
        raise NoTarget
    stage.losses.append(time.time())
    yield 0.0


def fill(stage: Stage, chance: random.Random) -> Fault:
    """Redis has no memory left for a while, and takes no writes."""
    yield from _refusing(stage, chance, "CONFIG SET maxmemory 1000000", "CONFIG SET maxmemory 0")


def demote(stage: Stage, chance: random.Random) -> Fault:
    """Redis is a replica for a while, as in a failover that is taken back, and takes no writes."""
    yield from _refusing(stage, chance, "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")


def _refusing(stage: Stage, chance: random.Random, begin: str, end: str) -> Fault:
    if any(until == math.inf for _, until in stage.redis.refusals):
        raise NoTarget
    with stage.redis.client() as client:
        client.execute_command(*begin.split())
    stage.redis.refusals.append((time.time(), math.inf))
    yield chance.choice((2.0, LONG))
    while stage.redis.alive and not _told(stage, end):  # if it dies meanwhile, it comes back as it was configured
        yield TICK
    stage.redis.refusals[-1] = (stage.redis.refusals[-1][0], time.time())


def _told(stage: Stage, command: str) -> bool:
    try:
        with stage.redis.client() as client:
            return bool(client.execute_command(*command.split()))
    except redis.RedisError:
        return False


__all__ = ["cut_connections", "demote", "fill", "kill", "lose", "roll_back", "stop"]
