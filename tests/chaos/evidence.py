"""What a chaos run leaves behind, as plain data: the end state of the store, the ledgers, and what is still in Redis."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crewq.events import Event
from crewq.store import RunRecord, Store
from tests.chaos.crews import HUSH, MODEL_TIMEOUT

WHO = re.compile(r"#([\w.]+)/t(\d+)#")
ANSWER = re.compile(r"\(answer (\d+)\)")
FACTS = ("number", "digest", "key", "prompt", "started", "ended", "status", "broken")
SECRETS = (HUSH, "sk-chaos-")


@dataclass(frozen=True)
class Cut:
    """A time in which one life of a worker was kept from its work."""

    worker: str  # the API key of that life, or of a child of it
    begin: float
    end: float
    why: str  # killed, died, stopped, frozen, cut off (from Redis), off the network


@dataclass(frozen=True)
class ModelCall:
    """A call in the model server's ledger. `ended` is None if it was under way to the last, `status` if not answered."""

    number: int
    name: str
    task: int
    digest: str
    key: str
    prompt: str
    started: float
    ended: float | None
    status: int | None
    broken: bool = False  # whether the server broke it off

    @property
    def failed(self) -> bool:
        """Whether whoever asked was told that there is no answer, or gave up waiting for it."""
        late = self.ended is not None and self.ended - self.started > MODEL_TIMEOUT - 0.5
        return self.broken or late or self.status not in (None, 200)

    @property
    def paid(self) -> bool:
        """Whether the whole answer was sent."""
        return self.status == 200


@dataclass(frozen=True)
class ToolCall:
    """A call in the tools' ledger."""

    name: str
    task: int
    tool: str
    key: str
    started: float
    ended: float | None


@dataclass(frozen=True)
class Kickoff:
    """A line of the producers' ledger: what was asked for, and what was accepted."""

    name: str
    kind: str
    at: float
    size: int = 0
    run: str = ""
    batch: str = ""
    abandoned: bool = False


@dataclass(frozen=True)
class RunFacts:
    """A run at the end, with everything that happened in it, and its journal."""

    name: str  # its input `id`
    record: RunRecord
    events: tuple[Event, ...]
    after: tuple[tuple[int, ...], ...]  # for each task, those it has to wait for
    journal: Mapping[str, str]

    @property
    def id(self) -> str:
        """Its id."""
        return self.record.id


@dataclass(frozen=True)
class BatchFacts:
    """A batch at the end: its counters, its runs, and those that its stream says ended."""

    id: str
    total: int
    completed: int
    failed: int
    cancelled: int
    left: int
    opened: bool
    runs: tuple[str, ...]
    ended: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """All of it. `workers` are the API keys of the workers' lives by the name that the store has for each."""

    kickoffs: tuple[Kickoff, ...] = ()
    cancels: Mapping[str, float] = field(default_factory=dict)  # when `cancel` had returned, by run
    runs: tuple[RunFacts, ...] = ()
    batches: tuple[BatchFacts, ...] = ()
    model_calls: tuple[ModelCall, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    cuts: tuple[Cut, ...] = ()
    workers: Mapping[str, str] = field(default_factory=dict)
    outages: tuple[tuple[float, float], ...] = ()  # of Redis
    rolled_back: tuple[tuple[float, float], ...] = ()  # outages that it came back from without its last second
    refusals: tuple[tuple[float, float], ...] = ()  # times in which Redis took no writes
    deserted: tuple[tuple[float, float], ...] = ()  # when no worker was up
    starved: tuple[
        tuple[str, float, float], ...
    ] = ()  # when a task took all the memory and time of a worker, by its key
    losses: tuple[float, ...] = ()  # when messages or connections were lost
    bereaved: tuple[float, ...] = ()  # when the producer was found dead
    immortal: tuple[str, ...] = ()  # keys without a TTL
    left_over: tuple[str, ...] = ()  # what is still there after all runs were forgotten, and was not there before
    held: tuple[int, int, int] = (0, 0, 0)  # bytes of all keys: before the first run, at the end, and after that
    heard: int = 0  # Celery's events that were listened to
    secrets: tuple[str, ...] = ()  # where something was told that must not be
    max_attempts: int = 3
    lease: float = 3.0  # seconds


def children(path: Path) -> dict[str, str]:
    """The API keys of all children of workers' pools, by process id."""
    return {str(line["pid"]): line["key"] for line in lines_of(path)}


# -- ledgers ----------------------------------------------------------------------------------------------------------


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a ledger; the last may be cut off."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def model_calls(path: Path) -> tuple[ModelCall, ...]:
    """The model server's ledger."""
    calls: dict[int, ModelCall] = {}
    for line in lines_of(path):
        name, task = _who(line["prompt"])
        facts = {fact: line[fact] for fact in FACTS}
        calls[line["number"]] = ModelCall(name=name, task=task, **facts)
    return tuple(calls.values())


def _who(prompt: str) -> tuple[str, int]:
    found = WHO.search(prompt)
    return (found[1], int(found[2])) if found else ("", -1)


def tool_calls(path: Path) -> tuple[ToolCall, ...]:
    """The tools' ledger."""
    ends = {line["call"]: line["at"] for line in lines_of(path) if line["event"] == "finished"}
    return tuple(
        ToolCall(*_caller(line["who"]), line["name"], line["key"], line["at"], ends.get(line["call"]))
        for line in lines_of(path)
        if line["event"] == "started"
    )


def starved(path: Path) -> tuple[tuple[str, float, float], ...]:
    """From the tools' ledger, when a task had all the memory of a worker; one that ended with its worker has no end."""
    lines = list(lines_of(path))
    ends = {(line["call"], line["key"]): line["at"] for line in lines if line["event"] == "fed"}
    return tuple(
        (line["key"], line["at"], ends.get((line["call"], line["key"]), math.inf))
        for line in lines
        if line["event"] == "starved"
    )


def _caller(who: str) -> tuple[str, int]:
    name, _, task = who.rpartition("/t")
    return name, int(task)


def kickoffs(path: Path) -> tuple[Kickoff, ...]:
    """The producers' ledger."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines_of(path):
        if line["event"] == "wanted":
            facts = {"kind": line["kind"], "at": line["at"], "size": line.get("size", 0)}
            found[line["id"]] = {"name": line["id"], **facts}
        elif line["event"] == "accepted":
            found[line["id"]] |= {"run": line.get("run", ""), "batch": line.get("batch", ""), "at": line["at"]}
        elif line["event"] == "abandoned":
            found[line["id"]]["abandoned"] = True
    return tuple(Kickoff(**facts) for facts in found.values())


def cancels(path: Path) -> dict[str, float]:
    """When a cancel had returned, by run; only those that ended the run."""
    return {line["id"]: line["at"] for line in lines_of(path) if line["event"] == "cancelled" and line["done"]}


# -- the store --------------------------------------------------------------------------------------------------------


def run_facts(store: Store, run: str) -> RunFacts:
    """All that the store knows of a run."""
    record = store.runs.read(run)
    spec = store.runs.spec(record.spec)
    events: list[Event] = []
    while more := store.runs.events(run, events[-1].id if events else "0-0", count=1000):
        events += more
    after = tuple(task.after for task in spec.tasks)
    return RunFacts(str(record.inputs.get("id", "")), record, tuple(events), after, _journal(store, run))


def _journal(store: Store, run: str) -> dict[str, str]:
    """As it lies in Redis, but with long answers in their place."""
    return {
        "{task}:{kind}:{digest}:{ordinal}".format(
            **entry
        ): f"{entry['state']} {entry.get('answer', entry.get('attempt'))}"
        for entry in store.export(run)["journal"]
    }


def batch_facts(store: Store, client: Any) -> tuple[BatchFacts, ...]:
    """All batches."""
    return tuple(_batch(store, client, batch) for batch in client.zrange("{crewq}:batches", 0, -1))


def _batch(store: Store, client: Any, batch: str) -> BatchFacts:
    record = store.batches.read(batch)
    left = int(client.hget(f"{{crewq}}:batch:{batch}", "left"))
    ended = tuple(run for _, _, run in store.batches.ended(batch, "0-0"))
    counters = (record.total, record.completed, record.failed, record.cancelled)
    return BatchFacts(batch, *counters, left, record.opened, tuple(store.batches.runs(batch)), ended)


def immortal(client: Any) -> tuple[str, ...]:
    """The keys that would never go away by themselves."""
    return tuple(key for key in client.scan_iter() if client.ttl(key) == -1)


# -- secrets ----------------------------------------------------------------------------------------------------------


def tells_a_secret(data: Any) -> bool:
    """Whether a message, as it is or decoded, has an input or a key in it."""
    text = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
    if any(secret in text for secret in SECRETS):
        return True
    try:
        body = base64.b64decode(json.loads(text)["body"]).decode(errors="replace")
    except (ValueError, KeyError, TypeError, binascii.Error):
        return False
    return any(secret in body for secret in SECRETS)


def broker_secrets(history: Path, db: int) -> Iterator[str]:
    """Messages of the broker, of all that were ever written, that tell a secret; by the AOF."""
    current = 0
    for command in commands(history):
        if command[0].upper() == b"SELECT":
            current = int(command[1])
        elif current == db and any(tells_a_secret(word) for word in command[1:]):
            yield f"{command[0].decode()} {command[1].decode()}"


def commands(history: Path) -> Iterator[list[bytes]]:
    """The commands of an AOF, as far as it is whole."""
    with history.open("rb") as file:
        while line := file.readline():
            if line.startswith(b"#"):
                continue
            words = []
            for _ in range(int(line[1:])):
                length = file.readline()
                if not length:
                    return
                words.append(file.read(int(length[1:])))
                file.read(2)
            yield words
