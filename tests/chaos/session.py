"""One chaos run from beginning to end: load, faults, peace, evidence, judgement."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from crewq.producer import disconnect
from crewq.settings import DAY
from crewq.store import Store
from crewq.store.keys import UNFINISHED
from tests.chaos import evidence as facts
from tests.chaos.checker import Objection, check
from tests.chaos.evidence import Evidence
from tests.chaos.injector import Injector
from tests.chaos.processes import BROKER_DB
from tests.chaos.report import render
from tests.chaos.stage import Stage


def run(
    folder: Path,
    *,
    seed: int,
    seconds: float,
    workers: int,
    kinds: Sequence[str],
    per_minute: float,
    appendfsync: str = "everysec",
) -> tuple[str, list[Objection]]:
    """Put a system under load, break it for so many seconds, let it come to rest, and judge it.

    Returns:
        The report, as Markdown, and what the checker objects to.
    """
    with Stage(folder, workers=workers, seed=seed, appendfsync=appendfsync) as stage:
        try:
            stage.begin_load()
            injector = Injector(stage, kinds, per_minute, seed)
            injector.run(seconds)
            stage.end_load()
            stage.settle()
            found = gather(stage)
        finally:
            disconnect()
    (folder / "evidence.pickle").write_bytes(pickle.dumps(found))  # for who wants to look closer
    objections = check(found)
    return render(found, objections, injector.injected, seed=seed, seconds=seconds), objections


def gather(stage: Stage) -> Evidence:
    """Everything that is known at the end. Stops the workers, and lets the retention of all runs pass."""
    folder = stage.folder
    cuts = tuple(cut for worker in stage.workers for cut in worker.cuts)
    for worker in stage.workers:
        worker.kill()
    with stage.redis.client() as client:
        runs = stage.store.runs.latest(1_000_000)
        return Evidence(
            kickoffs=facts.kickoffs(folder / "kickoffs.jsonl"),
            cancels=facts.cancels(folder / "kickoffs.jsonl"),
            runs=tuple(facts.run_facts(stage.store, client, run) for run in runs),
            batches=facts.batch_facts(stage.store, client),
            model_calls=facts.model_calls(folder / "model.jsonl"),
            tool_calls=facts.tool_calls(folder / "tools.jsonl"),
            cuts=cuts,
            workers={str(pid): key for worker in stage.workers for pid, key in worker.keys.items()},
            outages=tuple(stage.redis.outages),
            refusals=tuple(stage.redis.refusals),
            deserted=tuple(stage.deserted),
            immortal=facts.immortal(client),
            heard=stage.listener.heard,
            secrets=_secrets(stage),
            left_over=_left_over(stage, client, runs),
        )


def _left_over(stage: Stage, client: object, runs: Sequence[str]) -> tuple[str, ...]:
    """What still names a run when its retention is over and the sweeper has been."""
    later = time.time() + UNFINISHED + DAY
    with closing(Store(stage.settings, patience=0.0, clock=lambda: int(later * 1000))) as future:
        kept = -1
        while kept != (kept := len(future.runs.latest(len(runs)))):
            future.runs.sweep(grace=0.0, max_attempts=1)
    return facts.left_over(client, runs)


def _secrets(stage: Stage) -> tuple[str, ...]:
    logs = [worker.log for worker in stage.workers]
    told = [f"the log of {log.stem}" for log in logs if facts.tells_a_secret(log.read_bytes())]
    return (*stage.listener.secrets, *told, *facts.broker_secrets(stage.redis.history, BROKER_DB))
