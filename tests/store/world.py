"""A store under a clock of its own, and a crew, a run or a claim in few words: what the tests of the store share."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import redis

from crewq.outputs import TaskOutput
from crewq.plan import new_tasks, task_id
from crewq.settings import Settings
from crewq.spec import AgentSpec, CrewSpec, LLMSpec, TaskSpec
from crewq.store import Call, Claim, Findings, Job, NewRun, Order, RunRecord, Store
from crewq.store.records import TaskRecord
from crewq.terms import Terms

LEASE = 15.0
GRACE = 2.0
MAX_ATTEMPTS = 3
TERMINAL = ("run_completed", "run_failed", "run_cancelled")


class Clock:
    """Milliseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms

    def forward(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


def crew(*after: tuple[int, ...], name: str = "demo") -> CrewSpec:
    """A crew of as many tasks as there are arguments, each with what it waits for, which is its context too."""
    agent = AgentSpec(role="R", goal="G", backstory="B", llm=LLMSpec(model="scripted"))
    return CrewSpec(
        name=name,
        agents=(agent,),
        tasks=tuple(
            TaskSpec(key=f"t{at}:x", name=f"t{at}", description=f"Task {at}", agent=0, after=needs, context=needs)
            for at, needs in enumerate(after)
        ),
    )


ONE = crew(())
ROW = crew((), (0,), (1,))
DIAMOND = crew((), (0,), (0,), (1, 2))
PAIR = crew((), (), (0, 1))


def output(text: str = "out") -> TaskOutput:
    return TaskOutput(description="d", raw=text, agent="R")


class World:
    """A store, its clock, and verbs in few words."""

    def __init__(self, client: redis.Redis, settings: Settings | None = None) -> None:
        self.client = client
        self.clock = Clock()
        self.settings = settings or Settings(redis_url="redis://test", namespace="t")
        self.store = Store(self.settings, clock=self.clock, client=client, patience=0)
        self.runs = self.store.runs
        self._ids = 0

    def new_id(self) -> str:
        """The same ids in each test, so that a test that fails does so again."""
        self._ids += 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, str(self._ids)))

    def new_run(self, spec: CrewSpec, **facts: Any) -> NewRun:
        run = self.new_id()
        facts.setdefault("inputs", {})
        return NewRun(id=run, task_ids=tuple(task_id(run, at) for at in range(len(spec.tasks))), **facts)

    def order(self, spec: CrewSpec, *, kept: dict[int, int] | None = None, **facts: Any) -> Order:
        priority = facts.get("terms", Terms()).priority
        batch, given = bool(facts.get("batch")), facts.pop("given", ())
        tasks = new_tasks(spec, batch=batch, kept=kept, given=given, priority=priority)
        return Order(spec, tasks, **facts)

    def accept(self, spec: CrewSpec = ROW, *, kept: dict[int, int] | None = None, **facts: Any) -> str:
        """Accept one run. Facts of a `NewRun` and of an `Order` may be mixed."""
        own = {name: facts.pop(name) for name in ("inputs", "key", "fingerprint", "item", "outputs") if name in facts}
        given = tuple(own.get("outputs", ()))
        return self.runs.create(self.order(spec, kept=kept, given=given, **facts), [self.new_run(spec, **own)])[0]

    def accept_batch(
        self, count: int, window: int, spec: CrewSpec = ONE, **terms: Any
    ) -> tuple[str, list[str], tuple[Job, ...]]:
        """A batch, filled and opened: its id, its runs and the jobs to publish."""
        agreed = Terms(**terms)
        batch = self.store.batches.create(self.new_id(), spec.name, terms=agreed)
        runs = [self.new_run(spec, item=at) for at in range(count)]
        ids = self.runs.create(self.order(spec, batch=batch, held=True, terms=agreed), runs)
        return batch, ids, self.store.batches.open(batch, window)

    def claim(self, run: str, index: int = 0, claim: str = "", lease: float = LEASE) -> Claim:
        return self.runs.start(Job(run, index), claim=claim or self.new_id(), worker="w1", lease=lease)

    def carry_out(self, run: str, *indices: int) -> None:
        """Claim and complete these tasks."""
        for index in indices:
            claim = self.claim(run, index)
            assert claim.word == "yours"
            assert self.runs.complete(Job(run, index), claim.attempt, output(f"out {index}")).word == "recorded"

    def call(self, run: str, index: int = 0, attempt: int = 1, digest: str = "d", ordinal: int = 0) -> Call:
        return Call(Job(run, index), attempt, "model", "gpt", digest, ordinal)

    def sweep(self, max_attempts: int = MAX_ATTEMPTS, *, others: bool = True) -> Findings:
        """Sweep once. `others`: other sweepers have been at work all the time; else the last one is what is known of."""
        if others:
            self.client.set(f"{{{self.settings.namespace}}}:swept", self.clock.ms, ex=60)
        return self.runs.sweep(grace=GRACE, max_attempts=max_attempts)

    def read(self, run: str) -> RunRecord:
        return self.runs.read(run)

    def task(self, run: str, index: int = 0) -> TaskRecord:
        return self.read(run).tasks[index]

    def states(self, run: str) -> list[str]:
        return [task.state.value for task in self.read(run).tasks]

    def events(self, run: str) -> list[str]:
        return [event.type for event in self.runs.events(run, "0-0", count=100_000)]

    def all_keys(self) -> list[str]:
        return sorted(self.client.scan_iter())

    def immortal(self) -> list[str]:
        """The keys that would never go away by themselves."""
        return [key for key in self.all_keys() if self.client.ttl(key) == -1]


def strays(world: World, runs: Sequence[str]) -> list[str]:
    """Keys and entries that still name one of these runs."""
    left = [key for key in world.all_keys() if any(run in key for run in runs)]
    for name in ("ids", "runs", "unsaid", "expires", "leases", "due", *_lanes(world)):
        members = world.client.zrange(world.settings.namespace.join(("{", "}:")) + name, 0, -1)
        left += [f"{name}: {member}" for member in members if any(run in member for run in runs)]
    return left


def _lanes(world: World) -> list[str]:
    prefix = world.settings.namespace.join(("{", "}:"))
    return [f"ready:{lane}" for lane in world.client.smembers(f"{prefix}lanes")]
