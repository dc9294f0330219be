"""One chaos run from beginning to end: load, faults, peace, evidence, judgement."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from crewq.producer import disconnect
from tests.chaos import evidence as facts
from tests.chaos import oblivion
from tests.chaos.checker import Objection, check
from tests.chaos.evidence import Evidence
from tests.chaos.injector import Injector
from tests.chaos.processes import BROKER_DB, STORE_DB
from tests.chaos.report import render
from tests.chaos.stage import LEASE, Stage


def run(
    folder: Path,
    *,
    seed: int,
    seconds: float,
    workers: int,
    kinds: Sequence[str],
    per_minute: float,
    at_least: int = 0,
    appendfsync: str = "everysec",
    command: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[str, list[Objection]]:
    """Put a system under load, break it for so many seconds, let it come to rest, and judge it.

    Returns:
        The report, as Markdown, and what the checker objects to.
    """
    with Stage(folder, workers=workers, seed=seed, appendfsync=appendfsync) as stage:
        try:
            stage.begin_load()
            injector = Injector(stage, kinds, per_minute, seed, tell)
            injector.run(seconds, at_least)
            stage.end_load()
            tell("no more faults; waiting until all runs have ended")
            stage.settle()
            found = gather(stage)
        finally:
            disconnect()
    (folder / "evidence.pickle").write_bytes(pickle.dumps(found))  # for who wants to look closer
    objections = check(found)
    return render(found, objections, injector.injected, command=command), objections


def gather(stage: Stage) -> Evidence:
    """Everything that is known at the end. Stops the workers, and has Redis forget all runs."""
    stage.drain()
    folder = stage.folder
    cuts = tuple(cut for worker in stage.workers for cut in worker.cuts)
    for worker in stage.workers:
        worker.kill()
    with stage.redis.client() as client:
        runs = stage.store.runs.latest(1_000_000)
        found = Evidence(
            kickoffs=facts.kickoffs(folder / "kickoffs.jsonl"),
            cancels=facts.cancels(folder / "kickoffs.jsonl"),
            runs=tuple(facts.run_facts(stage.store, run) for run in runs),
            batches=facts.batch_facts(stage.store, client),
            model_calls=facts.model_calls(folder / "model.jsonl"),
            tool_calls=facts.tool_calls(folder / "tools.jsonl"),
            starved=facts.starved(folder / "tools.jsonl"),
            cuts=cuts,
            workers={
                **{str(pid): key for worker in stage.workers for pid, key in worker.keys.items()},
                **facts.children(folder / "lives.jsonl"),
            },
            outages=tuple(stage.redis.outages),
            rolled_back=tuple(stage.redis.rolled_back),
            refusals=tuple(stage.redis.refusals),
            deserted=tuple(stage.deserted),
            losses=tuple(stage.losses),
            bereaved=tuple(stage.bereaved),
            immortal=facts.immortal(client),
            heard=stage.listener.heard,
            secrets=_secrets(stage),
            lease=LEASE,
        )
        return _forgotten(stage, found, runs)


def _forgotten(stage: Stage, found: Evidence, runs: Sequence[str]) -> Evidence:
    """The evidence, and what is left once all runs are deleted or their time is over."""
    with stage.redis.client(STORE_DB) as client, stage.redis.client(BROKER_DB) as broker:
        full = oblivion.bytes_of(client, broker)
        oblivion.forget(client, stage.settings, time.time(), runs)
        return replace(
            found,
            left_over=tuple(
                what
                for database, before in zip((client, broker), stage.held, strict=True)
                for what in oblivion.remains(database, before, runs)
            ),
            held=(sum(sum(before.values()) for before in stage.held), full, oblivion.bytes_of(client, broker)),
        )


def _secrets(stage: Stage) -> tuple[str, ...]:
    logs = [worker.log for worker in stage.workers]
    told = [f"the log of {log.stem}" for log in logs if facts.tells_a_secret(log.read_bytes())]
    return (*stage.listener.secrets, *told, *facts.broker_secrets(stage.redis.history, BROKER_DB))
