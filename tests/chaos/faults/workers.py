"""The faults: each a generator that does its damage, yields the seconds until it goes on, and mends what it must.

A fault that finds nothing to hit raises `NoTarget`, and is not counted.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeAlias

from tests.chaos.processes import BROKER_DB, Worker
from tests.chaos.stage import LEASE, NoTarget, Stage

Fault: TypeAlias = Generator[float, None, None]
TICK = 0.05
CLOCK = Path(__file__).with_name("clock")
CLOCK_OFFSETS = (-300, 300)  # seconds
QUEUES = "crewq*"
LONG = 2 * LEASE + 0.5


# -- workers ----------------------------------------------------------------------------------------------------------


def kill_worker(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL, whatever it is at."""
    with stage.one_worker(chance) as worker:
        worker.kill()
        yield from _born_again(worker)


def kill_worker_after_answer(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL at the moment when the model has sent an answer: before, or just after, it is in the journal."""
    with stage.one_worker(chance) as worker:
        answers = _Tail(stage.folder / "model.jsonl")
        until = time.monotonic() + 3
        while not answers.tell(f'"key": "{worker.key}"', '"event": "finished"'):
            if time.monotonic() > until:
                raise NoTarget
            yield 0.001
        time.sleep(chance.uniform(0, 0.02))
        worker.kill()
        yield from _born_again(worker)


def kill_worker_after_record(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL at the moment when a task's output is recorded: before, or just after, the next job is published."""
    with stage.one_worker(chance) as worker:
        _await_record(stage, worker)
        worker.kill()
        yield from _born_again(worker)


def freeze_worker(stage: Stage, chance: random.Random) -> Fault:
    """SIGSTOP for two leases, then SIGCONT: it wakes believing that it still owns its tasks."""
    with stage.one_worker(chance) as worker:
        begin = time.time()
        worker.signal(signal.SIGSTOP)
        yield LONG
        worker.signal(signal.SIGCONT)
        worker.cut("frozen", begin, time.time())


def stop_worker(stage: Stage, chance: random.Random) -> Fault:
    """SIGTERM, as in a rolling restart."""
    with stage.one_worker(chance) as worker:
        worker.signal(signal.SIGTERM)
        patience = time.monotonic() + 45
        while worker.alive and time.monotonic() < patience:
            yield TICK
        if worker.alive:
            stage.log("worker does not stop", worker=worker.key, end=worker.said[-600:])
            worker.kill()
        worker.cut("stopped", time.time())
        yield from _born_again(worker)


def skew_clock(stage: Stage, chance: random.Random) -> Fault:
    """A worker whose clock is five minutes off takes the place of one for a while."""
    with stage.one_worker(chance) as worker:
        worker.kill()
        offset = str(chance.choice(CLOCK_OFFSETS))
        yield from _born_again(worker, CHAOS_CLOCK_OFFSET=offset, PYTHONPATH=str(CLOCK))


def cut_off_worker(stage: Stage, chance: random.Random) -> Fault:
    """Between one worker and Redis every packet vanishes; later the connections are reset."""
    with stage.one_worker(chance, name="worker0") as worker:
        begin = time.time()
        stage.proxy.swallow()
        yield chance.choice((LEASE / 2, LONG))
        stage.proxy.reset()
        worker.cut("cut off", begin, time.time())


def _born_again(worker: Worker, **environ: str) -> Fault:
    worker.start(**environ)
    while worker.alive and not worker.ready:
        yield TICK


class _Tail:
    """The lines that come to a file from now on. It is open only while it is read: a fault may be left in the middle."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = path.stat().st_size

    def tell(self, *words: str) -> bool:
        """Whether a new line has all these words."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        return any(all(word.encode() in line for word in words) for line in whole.splitlines())


def _await_record(stage: Stage, worker: Worker) -> None:
    """Return as soon as a task that this worker works on is recorded, by what Redis is told."""
    assert worker.process
    name = f":{worker.process.pid}"
    with stage.redis.client() as client:
        for member in client.zrange("{crewq}:leases", 0, -1):
            run, _, index = member.partition("|")
            owner = client.hget(f"{{crewq}}:run:{run}:task:{index}", "owner") or ""
            if owner.endswith(name):
                break
        else:
            raise NoTarget
        entries = client.xread({f"{{crewq}}:run:{run}:events": "$"}, block=1000)
        while entries and entries[0][1][-1][1]["type"] != "task_completed":
            entries = client.xread({entries[0][0]: entries[0][1][-1][0]}, block=1000)
        if not entries:
            raise NoTarget


# -- Redis ------------------------------------------------------------------------------------------------------------


def kill_redis(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL, and back in a moment."""
    yield from _redis_away(stage, signal.SIGKILL, chance.uniform(0.1, LEASE / 2))


def stop_redis(stage: Stage, chance: random.Random) -> Fault:
    """SIGTERM, and back in a moment."""
    yield from _redis_away(stage, signal.SIGTERM, chance.uniform(0.1, LEASE / 2))


def lose_redis(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL, and away for longer than any lease lasts."""
    yield from _redis_away(stage, signal.SIGKILL, LONG)


def roll_back_redis(stage: Stage, chance: random.Random) -> Fault:
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
    yield 0.0


def fill_redis(stage: Stage, chance: random.Random) -> Fault:
    """Redis has no memory left for two seconds, and takes no writes."""
    with stage.redis.client() as client:
        client.config_set("maxmemory", 1_000_000)
    begin = time.time()
    yield 2.0
    with stage.redis.client() as client:
        client.config_set("maxmemory", 0)
    stage.redis.refusals.append((begin, time.time()))


# -- messages ---------------------------------------------------------------------------------------------------------


def flush_broker(stage: Stage, chance: random.Random) -> Fault:
    """FLUSHDB of the broker's database."""
    with stage.redis.client(BROKER_DB) as client:
        client.flushdb()
    yield 0.0


def delete_messages(stage: Stage, chance: random.Random) -> Fault:
    """Half of the messages that wait vanish."""
    yield from _each_message(stage, lambda client, queue, text: client.lrem(queue, 1, text), chance)


def double_messages(stage: Stage, chance: random.Random) -> Fault:
    """Half of the messages that wait are there twice."""
    yield from _each_message(stage, lambda client, queue, text: client.lpush(queue, text), chance)


def repeat_messages(stage: Stage, chance: random.Random) -> Fault:
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


# -- the producer, the tasks, the model -------------------------------------------------------------------------------


def kill_producer(stage: Stage, chance: random.Random) -> Fault:
    """SIGKILL in the middle of a fan-out, if there is one soon."""
    if not stage.producer or not stage.producer.alive:
        raise NoTarget
    wanted = _Tail(stage.folder / "kickoffs.jsonl")
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


# By name: the fault, and how often it is chosen.
FAULTS: dict[str, tuple[Callable[[Stage, random.Random], Fault], int]] = {
    "kill-worker": (kill_worker, 8),
    "kill-worker-after-answer": (kill_worker_after_answer, 6),
    "kill-worker-after-record": (kill_worker_after_record, 6),
    "freeze-worker": (freeze_worker, 6),
    "stop-worker": (stop_worker, 5),
    "skew-clock": (skew_clock, 2),
    "cut-off-worker": (cut_off_worker, 6),
    "kill-redis": (kill_redis, 6),
    "stop-redis": (stop_redis, 4),
    "lose-redis": (lose_redis, 2),
    "roll-back-redis": (roll_back_redis, 2),
    "cut-connections": (cut_connections, 14),
    "fill-redis": (fill_redis, 3),
    "flush-broker": (flush_broker, 12),
    "delete-messages": (delete_messages, 16),
    "double-messages": (double_messages, 16),
    "repeat-messages": (repeat_messages, 12),
    "kill-producer": (kill_producer, 4),
    "poison-exit": (poison("leave"), 1),
    "poison-segfault": (poison("crash"), 1),
    "poison-memory": (poison("devour"), 1),
    "model-busy": (model("busy", 2.0), 3),
    "model-silent": (model("silent", 1.0), 3),
    "model-broken": (model("broken", 1.0), 3),
}


__all__ = ["FAULTS", "Fault"]
