"""Processes with keys on one server, and a run in which a secret is everywhere."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crewq import errors
from crewq.keyring import Key, read_keys
from crewq.store import Call, Store
from crewq.store.keys import Keys
from crewq.store.vault import LONG
from tests.store.world import World, crew, output

KEYS = Keys("t")
OLD, NEW = (Key(name, bytes([at]) * 32) for at, name in enumerate(("old", "new"), start=1))
PLAIN = read_keys("plain,k:" + "A" * 43 + "=", "")[0]
PROCESSES = itertools.count(1_000, 1_000)  # each with ids of its own
SECRET = "marzipan"
LONG_SECRET = f"{SECRET} and so on. " * (LONG // 10)


def with_keys(world: World, *keys: Key) -> World:
    """Another process on the same server, with these keys."""
    settings = replace(world.settings, encryption_keys=keys)
    other = World(world.client, settings)
    other.clock = world.clock
    other.store = Store(settings, clock=world.clock, client=world.client, patience=0)
    other.runs = other.store.runs
    other._ids = next(PROCESSES)
    return other


def everything(world: World) -> str:
    """All that Redis holds, as one text; blobs as they are."""
    client = world.client
    readers: dict[str, Callable[[str], Any]] = {
        "string": client.get,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1),
        "stream": client.xrange,
    }
    told = []
    for key in world.all_keys():
        if ":blob:" in key:
            told.append(repr(client.execute_command("HGET", key, "text", NEVER_DECODE=True)))
        else:
            kind = str(client.type(key))
            told.append(f"{key} {client.hgetall(key) if kind == 'hash' else readers[kind](key)}")
    return "\n".join(told)


def claimed(world: World, run: str, index: int = 0) -> Call:
    claim = world.claim(run, index)
    assert claim.word == "yours"
    return world.call(run, index, claim.attempt)


def lived(world: World, text: str = SECRET) -> str:
    """A run in which `text` is everywhere."""
    spec = crew((), (0,), name="demo").model_copy(update={"queue": "crewq"})
    task = spec.tasks[0].model_copy(update={"description": text, "name": None})
    spec = spec.model_copy(update={"tasks": (task, *spec.tasks[1:])})
    run = world.accept(
        spec, inputs={"x": text}, key=f"mine {len(text)}", fingerprint=hashlib.sha256(text.encode()).hexdigest()
    )
    call = claimed(world, run)
    journal = world.store.journal
    journal.begin(call, repeatable=True)
    journal.tell(call, f"role {text}", f"says {text}", 0)
    journal.finish(call, text, seconds=1.0)
    journal.share(call.job, "s", text)
    world.runs.warn(call.job, f"warned of {text}")
    world.runs.requeue(call.job, call.attempt, f"failed over {text}", counts=True)
    world.clock.forward(1)
    again = claimed(world, run)
    question = Call(again.job, again.attempt, "person", "person", "q", 0)
    world.runs.pause(again.job, again.attempt, "a person", question.id, output(text))
    world.runs.answer(again.job, question.id, text)
    last = claimed(world, run)
    world.runs.complete(last.job, last.attempt, output(text), [{"content": text}])
    failing = claimed(world, run, 1)
    world.runs.fail(failing.job, failing.attempt, errors.JobBroken(reason=text), f"Traceback: {text}")
    return run
