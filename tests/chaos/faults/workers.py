"""What happens to workers."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence

import redis

from tests.chaos.faults.base import LONG, TICK, Fault, Tail
from tests.chaos.processes import Worker
from tests.chaos.stage import LEASE, NoTarget, Stage

CLOCK_OFFSETS = (-300, 300)  # seconds
LONG_STOP = 12.0  # seconds after which it is worth knowing what a worker that was told to stop still does
PATIENCE = 45.0  # seconds in which a worker that was told to stop has to


def kill(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL, whatever it is at."""
    with stage.one_worker(chance) as worker:
        worker.kill()
        yield from _born_again(worker)


def kill_after_answer(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL at the moment when the model has sent an answer: before, or just after, it is in the journal."""
    with stage.one_worker(chance) as worker:
        answers = Tail(stage.folder / "model.jsonl")
        until = time.monotonic() + 3
        while not answers.tell(f'"key": "{worker.key}', '"event": "finished"'):
            if time.monotonic() > until:
                raise NoTarget
            yield 0.001
        time.sleep(chance.uniform(0, 0.02))
        worker.kill()
        yield from _born_again(worker)


def kill_after_record(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL at the moment when a task's output is recorded: before, or just after, the next job is published."""
    with stage.one_worker(chance) as worker:
        _await_record(stage, worker)
        worker.kill()
        yield from _born_again(worker)


def freeze(stage: Stage, chance: random.Random) -> Fault:
    """SIGSTOP for two leases, then SIGCONT: it wakes believing that it still owns its tasks."""
    with stage.one_worker(chance) as worker:
        begin = time.time()
        worker.signal(signal.SIGSTOP)
        yield LONG
        worker.signal(signal.SIGCONT)
        worker.cut("frozen", begin, time.time())


def stop(stage: Stage, chance: random.Random) -> Fault:
    """SIGTERM: a warm shutdown, with whatever is under way."""
    with stage.one_worker(chance) as worker:
        yield from _stopped(stage, worker)
        yield from _born_again(worker)


def stop_cold(stage: Stage, chance: random.Random) -> Fault:
    """SIGQUIT, and once more before it has ended: a cold shutdown, with whatever is under way."""
    with stage.one_worker(chance) as worker:
        worker.signal(signal.SIGQUIT)
        yield chance.uniform(0.1, 1.0)
        worker.cut("stopped", time.time())
        worker.signal(signal.SIGQUIT)
        yield from _ended(stage, worker)
        yield from _born_again(worker)


def roll_out(stage: Stage, chance: random.Random) -> Fault:
    """Code that has changed comes to one worker after the other, as each is restarted."""
    release = max(worker.release for worker in stage.workers) + 1
    until = time.monotonic() + PATIENCE
    for name in [worker.name for worker in stage.workers]:
        while (worker := stage.take(name)) is None:
            if time.monotonic() > until:
                raise NoTarget
            yield TICK
        try:
            worker.release = release
            yield from _stopped(stage, worker)
            yield from _born_again(worker)
        finally:
            worker.reserved = False


def kill_child(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL one child of Celery's own pool in the middle of a task; its worker lives on."""
    with stage.one_worker(chance, pool="prefork", others=0) as worker:
        with stage.redis.client() as client:
            busy = [pid for pid in worker.pids[1:] if _task_of(client, [pid])]
        if not busy:
            raise NoTarget
        yield chance.uniform(0, 0.3)
        worker.kill_child(chance.choice(busy))


def skew_clock(stage: Stage, chance: random.Random) -> Fault:
    """A worker whose clock is five minutes off takes the place of one for a while."""
    with stage.one_worker(chance) as worker:
        worker.kill()
        offset = str(chance.choice(CLOCK_OFFSETS))
        yield from _born_again(worker, CHAOS_CLOCK_OFFSET=offset)


def cut_off(stage: Stage, chance: random.Random) -> Fault:
    """Between one worker and Redis every packet vanishes; later the connections are reset."""
    with stage.one_worker(chance, name="worker0") as worker:
        begin = time.time()
        stage.proxy.swallow()
        yield chance.choice((LEASE / 2, LONG))
        stage.proxy.reset()
        worker.cut("cut off", begin, time.time())


def _stopped(stage: Stage, worker: Worker) -> Fault:
    worker.signal(signal.SIGTERM)
    yield from _ended(stage, worker)
    worker.cut("stopped", time.time())


def _ended(stage: Stage, worker: Worker) -> Fault:
    began = time.monotonic()
    asked = False
    while worker.alive and time.monotonic() < began + PATIENCE:
        if time.monotonic() > began + LONG_STOP and not asked:
            worker.signal(signal.SIGUSR1)  # Celery writes to the log where each thread is
            asked = True
        yield TICK
    stage.log("worker stopped", worker=worker.key, seconds=round(time.monotonic() - began, 1))
    if worker.alive:
        stage.log("worker does not stop", worker=worker.key, end=worker.said[-600:])
        worker.kill()


def _born_again(worker: Worker, **environ: str) -> Fault:
    worker.start(**environ)
    while worker.alive and not worker.ready:
        yield TICK


def _await_record(stage: Stage, worker: Worker) -> None:
    """Return as soon as a task that this worker works on is recorded, by what Redis is told."""
    with stage.redis.client() as client:
        if not (task := _task_of(client, worker.pids)):
            raise NoTarget
        entries = client.xread({f"{{crewq}}:run:{task[0]}:events": "$"}, block=1000)
        while entries and entries[0][1][-1][1]["type"] != "task_completed":
            entries = client.xread({entries[0][0]: entries[0][1][-1][0]}, block=1000)
        if not entries:
            raise NoTarget


def _task_of(client: redis.Redis, pids: Sequence[int]) -> tuple[str, str] | None:
    """The run and the index of a task that one of these processes works on."""
    for member in client.zrange("{crewq}:leases", 0, -1):
        run, _, index = member.partition("|")
        owner = client.hget(f"{{crewq}}:run:{run}:task:{index}", "owner") or ""
        if owner.rpartition(":")[2] in map(str, pids):
            return run, index
    return None


__all__ = [
    "cut_off",
    "freeze",
    "kill",
    "kill_after_answer",
    "kill_after_record",
    "kill_child",
    "roll_out",
    "skew_clock",
    "stop",
    "stop_cold",
]
