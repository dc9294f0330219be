"""What happens to producers, tasks, sweepers and the model."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from crewq.sweeper import GRACE
from tests.chaos.faults.base import Fault, Tail
from tests.chaos.stage import NoTarget, Stage

SWEEPERS = 4


def kill_producer(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL in the middle of a fan-out, if there is one soon."""
    if not stage.producer or not stage.producer.alive:
        raise NoTarget
    wanted = Tail(stage.folder / "kickoffs.jsonl")
    until = time.monotonic() + 2
    while not wanted.tell('"kind": "batch"') and time.monotonic() < until:
        yield 0.002
    time.sleep(chance.uniform(0, 0.02))
    stage.producer.kill()  # the supervisor starts it again


def poison(kind: str) -> Callable[[Stage, random.Random], Fault]:
    """A run with a task that is bad for whoever works on it."""

    def fault(stage: Stage, chance: random.Random) -> Fault:
        stage.kick_off(kind)
        yield 0.0

    return fault


def model(mood: str, seconds: float) -> Callable[[Stage, random.Random], Fault]:
    """The model server has that mood for a while."""

    def fault(stage: Stage, chance: random.Random) -> Fault:
        file = stage.folder / "mood"
        if file.exists() and file.read_text():
            raise NoTarget
        file.write_text(mood)
        yield seconds
        file.write_text("")

    return fault


def sweep_and_die(stage: Stage, chance: random.Random) -> Fault:
    """Sweepers at work at the same time, of which none lives to send what it has found."""
    with ThreadPoolExecutor(SWEEPERS) as threads:
        sweeps = [
            threads.submit(stage.store.runs.sweep, grace=GRACE, max_attempts=stage.settings.max_attempts)
            for _ in range(SWEEPERS)
        ]
    stage.losses.append(time.time())
    found = [sweep.result() for sweep in sweeps if not sweep.exception()]
    if not any(one.jobs or one.new or one.probes or one.unsaid for one in found):
        raise NoTarget
    yield 0.0


__all__ = ["kill_producer", "model", "poison", "sweep_and_die"]
