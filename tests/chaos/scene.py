"""A store with real scripts, and ledgers that say what a test wants them to: what the tests of the checker share."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace

import redis

from crewq.outputs import TaskOutput, UsageMetrics
from crewq.settings import Settings
from crewq.store import Call, Job
from tests.chaos import evidence as facts
from tests.chaos import oblivion
from tests.chaos.checker import JUDGES, check
from tests.chaos.crews import inputs
from tests.chaos.evidence import Cut, Evidence, Kickoff, ModelCall, ToolCall
from tests.store.world import LEASE, World, crew

KEYS = {"1": "sk-one", "2": "sk-two"}  # of the workers `w:1` and `w:2`
DEAD = float("inf")


class Scene:
    """A store with real scripts, and ledgers as the model server and the tools would keep them."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.world = World(client, Settings(redis_url="redis://scene", namespace="crewq"))
        self.runs = self.world.runs
        self.evidence = Evidence(workers=KEYS)
        self.before = oblivion.holdings(client)

    def accept(self, name: str, kind: str = "chain", key: str = "") -> str:
        """Kick off a run of two tasks, one after the other."""
        run = self.world.accept(crew((), (0,), name=kind), inputs=inputs(name), key=key, fingerprint=key)
        self.add("kickoffs", Kickoff(name, kind, time.time(), run=run))
        return run

    def claim(self, run: str, index: int, worker: str) -> int:
        """Claim a task; answers the attempt."""
        token = uuid.uuid4().hex
        claim = self.runs.start(Job(run, index), claim=token, worker=f"w:{worker}", lease=LEASE)
        assert claim.word == "yours", claim.word
        return claim.attempt

    def ask(self, name: str, run: str, index: int, worker: str, attempt: int, *, lost: bool = False) -> str:
        """Make a call, unless it was made before; `lost`: its worker dies before it is written down."""
        call = Call(Job(run, index), attempt, "model", "any", "d", 0)
        finding = self.world.store.journal.begin(call, repeatable=True)
        if finding.word != "go":
            return finding.answer
        number = len(self.evidence.model_calls) + 1
        now = time.time()
        self.add("model_calls", ModelCall(number, name, index, "d", KEYS[worker], "", now, now, 200))
        if lost:
            return ""
        usage = UsageMetrics(successful_requests=1).model_dump_json(exclude_defaults=True)
        return self.world.store.journal.finish(call, f"said (answer {number})", usage=usage, seconds=0.0)

    def complete(self, run: str, index: int, attempt: int, text: str) -> None:
        """Record an output."""
        self.runs.complete(Job(run, index), attempt, TaskOutput(raw=text))

    def carry_out(self, name: str, run: str, index: int, worker: str = "1") -> None:
        """Do a task."""
        attempt = self.claim(run, index, worker)
        self.complete(run, index, attempt, self.ask(name, run, index, worker, attempt))

    def kill(self, worker: str, why: str = "died") -> None:
        """The worker dies, and the leases of what it held run out."""
        self.add("cuts", Cut(KEYS[worker], time.time(), DEAD, why))
        self.world.clock.forward(LEASE + 1)
        self.world.sweep()

    def call_tool(self, name: str, worker: str, tool: str = "note") -> None:
        """A tool writes to its ledger."""
        now = time.time()
        self.add("tool_calls", ToolCall(name, 0, tool, KEYS[worker], now, now))

    def add(self, field: str, value: object) -> None:
        self.evidence = replace(self.evidence, **{field: (*getattr(self.evidence, field), value)})

    def objections(self) -> list[str]:
        """The numbers of the invariants that the checker finds broken, also when all runs are forgotten in the end."""
        runs = self.runs.latest(1000)
        found = replace(
            self.evidence,
            runs=tuple(facts.run_facts(self.world.store, run) for run in runs),
            batches=facts.batch_facts(self.world.store, self.client),
            immortal=facts.immortal(self.client),
        )
        oblivion.forget(self.client, self.world.settings, self.world.clock.ms / 1000, runs)
        left = oblivion.remains(self.client, self.before, runs)
        found = replace(found, left_over=(*found.left_over, *left))
        return sorted({objection.invariant for objection in check(found)}, key=list(JUDGES).index)


__all__ = ["DEAD", "KEYS", "Scene"]
