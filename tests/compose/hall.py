"""A fleet of containers under load, what is done to it, and what that left behind."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import redis

from crewq import Run
from crewq.events import TaskRequeued, TaskStarted
from crewq.producer import disconnect
from crewq.settings import Settings
from crewq.states import RunState, TaskState
from crewq.store import RunRecord, Span, Store, TaskRecord
from tests.chaos import evidence as facts
from tests.chaos.evidence import Cut, Evidence, RunFacts
from tests.chaos.processes import Process
from tests.compose.fleet import IMAGE, ROOT, Fleet
from tests.waiting import until

MODEL_URL = "http://model:8000/v1"  # as the workers see it
BUSY = 4  # tasks under way before anything is broken
PATIENCE = 90.0  # seconds in which something has to go forward
FOREVER = float("inf")


@dataclass
class Deed:
    """Something that was done to the fleet."""

    what: str
    begin: float
    under_way: int  # tasks
    end: float = FOREVER


@dataclass
class Hall:
    """The fleet with its model server and a producer on this machine, as a context manager."""

    folder: Path
    deeds: list[Deed] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    _cuts: list[tuple[str, float, float, str]] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        files = (ROOT / "docker-compose.yml", ROOT / "tests" / "compose" / "stack.yml")
        more = {"CREWS_DIR": str(crews_of(self.folder)), "CREWQ_IMPORTS": "tests.chaos.crews", "MODEL_IMAGE": IMAGE}
        self.fleet = self._stack.enter_context(Fleet(*files, folder=ROOT, **more))
        self.fleet.up("worker", "flower")
        environ = self._stack.enter_context(self.fleet.produced_from_here())
        self._stack.callback(disconnect)
        self.store = Store(Settings.from_env(os.environ), patience=20.0)
        self._stack.callback(self.store.close)
        command = [sys.executable, "-m", "tests.chaos.load", str(self.folder), MODEL_URL, "1"]
        self.producer = Process("producer", self.folder, command, {**environ, "CREWQ_IMPORTS": "tests.chaos.crews"})
        self.producer.start()
        self._stack.callback(self.producer.kill)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scale(self, workers: int) -> None:
        """Have so many workers, all of them ready."""
        self.fleet.up(f"--scale=worker={workers}", "worker")

    # -- doing something to it -----------------------------------------------------------------------------

    @contextmanager
    def deed(self, what: str) -> Iterator[Deed]:
        """Do something while tasks are under way, and see that runs go on ending afterwards."""
        until(lambda: len(self.under_way()) >= BUSY, PATIENCE)
        deed = Deed(what, time.time(), len(self.under_way()))
        self.deeds.append(deed)
        yield deed
        deed.end = time.time()
        self.goes_on()

    def goes_on(self) -> None:
        """Wait until three more runs have completed."""
        before = self.completed()
        until(lambda: self.completed() >= before + 3, PATIENCE)

    @contextmanager
    def cut(self, *containers: str, why: str) -> Iterator[None]:
        """Keep the present lives of workers from their work: for ever, where they end."""
        begin = time.time()
        yield
        end = time.time() if why in ("off the network", "frozen") else FOREVER
        self._cuts += [(container[:12], begin, end, why) for container in containers]

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Have Redis away."""
        begin = time.time()
        yield
        self.outages.append((begin, time.time()))

    def a_busy_worker(self) -> str:
        """A container whose worker has tasks under way."""
        holders = until(lambda: [(task.worker or "").partition(":")[0] for task in self.under_way()], PATIENCE)
        return next(one for one in self.fleet.containers("worker") if one.startswith(tuple(holders)))

    def others_took_over(self, container: str) -> None:
        """Wait until no task is this worker's any more."""
        until(lambda: not any((task.worker or "").startswith(container[:12]) for task in self.under_way()), PATIENCE)

    def under_way(self) -> list[TaskRecord]:
        """The tasks that are worked on now."""
        running, _ = self.store.listing.page(Span(RunState.RUNNING), 1000)
        return [task for run in running for task in self.store.runs.read(run).tasks if task.state is TaskState.RUNNING]

    def completed(self) -> int:
        """How many runs have completed."""
        return self.store.listing.counts()[RunState.COMPLETED]

    def _runs(self) -> list[RunRecord]:
        return self.store.runs.overview(self.store.runs.latest(1_000_000))

    # -- the end -------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Kick off nothing more, decide about calls in doubt, and wait until every run has ended."""
        assert self.producer.process
        assert self.producer.alive, self.producer.said
        self.producer.process.terminate()
        self.producer.process.wait(60)

        def ended() -> bool:
            open_runs = [run for run in self._runs() if not run.state.ended]
            for run in open_runs:
                if run.state is RunState.PAUSED:
                    Run(run.id).resume(call_in_doubt="skip")
            return not open_runs

        until(ended, 3 * PATIENCE)

    def evidence(self) -> Evidence:
        """Everything that is known at the end."""
        for name in ("model", "tools", "lives"):
            (self.folder / f"{name}.jsonl").write_text(self.fleet.exec("model", "cat", f"/output/{name}.jsonl") + "\n")
        password = self.fleet.password()
        with redis.Redis.from_url(self.fleet.redis_url, password=password, decode_responses=True) as client:
            return Evidence(
                kickoffs=facts.kickoffs(self.folder / "kickoffs.jsonl"),
                cancels=facts.cancels(self.folder / "kickoffs.jsonl"),
                runs=tuple(facts.run_facts(self.store, run.id) for run in self._runs()),
                batches=facts.batch_facts(self.store, client),
                model_calls=facts.model_calls(self.folder / "model.jsonl"),
                tool_calls=facts.tool_calls(self.folder / "tools.jsonl"),
                cuts=tuple(self._cuts_by_life()),
                outages=tuple(self.outages),
                lease=Settings().lease,  # as it is where nobody says otherwise
                immortal=tuple(key for key in facts.immortal(client) if key.startswith("{crewq}")),
                secrets=("the containers' logs",)
                if facts.tells_a_secret(self.fleet.log("worker", "flower", "redis"))
                else (),
            )

    def _cuts_by_life(self) -> Iterator[Cut]:
        lives = facts.lines_of(self.folder / "lives.jsonl")
        for worker, begin, end, why in self._cuts:
            yield Cut(
                max((one["at"], one["key"]) for one in lives if one["worker"] == worker and one["at"] < begin)[1],
                begin,
                end,
                why,
            )


def crews_of(folder: Path) -> Path:
    """A directory with what workers and the model server load, which any user may read."""
    crews = folder / "crews"
    for module in ("chaos", "model_server.py", "waiting.py"):
        source, target = ROOT / "tests" / module, crews / "tests" / module
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    for path in (crews, *crews.rglob("*"), *folder.parents[:2], folder):
        path.chmod(0o755)
    return crews


# -- what it came to --------------------------------------------------------------------------------------------------


def table(hall: Hall, evidence: Evidence) -> str:
    """A row for each deed, as Markdown."""
    made: dict[tuple[str, int, str], list[facts.ModelCall]] = {}
    for call in evidence.model_calls:
        made.setdefault((call.name, call.task, call.digest), []).append(call)
    again = [call for calls in made.values() for call in sorted(calls, key=lambda one: one.started)[1:]]
    twice = [calls[-1] for calls in made.values() if sum(call.paid for call in calls) > 1]
    taken = [pair for run in evidence.runs for pair in crashes(run)]
    rows = []
    for deed, later in zip(hall.deeds, [*(deed.begin for deed in hall.deeds[1:]), FOREVER], strict=True):
        own = [after - deed.begin for _, after in taken if deed.begin <= after < later]
        counts = (sum(deed.begin <= call.started < later for call in calls) for calls in (again, twice))
        longest = f"{max(own):.1f} s" if own else "-"
        took = f"{deed.end - deed.begin:.1f} s"
        rows.append(" | ".join(map(str, (deed.what, took, deed.under_way, len(own), longest, *counts))))
    head = (
        "what was done | took | tasks under way | taken over | the last after | calls made again "
        "| answered twice, in flight at a death"
    )
    return "\n".join(f"| {row} |" for row in (head, "|".join(["---"] * 7), *rows))


def crashes(run: RunFacts) -> Iterator[tuple[float, float]]:
    """When each attempt began whose worker was lost, and when the next one did."""
    starts = {(event.task, event.attempt): event for event in run.events if isinstance(event, TaskStarted)}
    for event in run.events:
        if isinstance(event, TaskRequeued) and event.reason == "crashed":
            after = starts.get((event.task, event.attempt + 1))
            if after and event.attempt:
                yield starts[event.task, event.attempt].at.timestamp(), after.at.timestamp()


__all__ = ["Deed", "Hall", "table"]
