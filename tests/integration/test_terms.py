"""For whom a kickoff is, and how urgent: kept with runs, batches and replays, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from crewq import errors
from crewq.server import Server
from crewq.terms import Terms
from tests.integration.conftest import StartWorker
from tests.integration.crews import Echo, crew, greetings
from tests.integration.test_cli import Shell
from tests.waiting import until

ACME = Terms(tenant="acme", priority="low")


def test_a_run_keeps_its_terms_and_a_replay_has_them_too(fleet: object) -> None:
    run = greetings.kickoff_async({"who": "Ann"}, tenant="acme", priority="low")
    run.result(20)
    assert run.record().terms == ACME
    again = greetings.replay_async(run.task_ids[1])
    again.result(20)
    assert again.record().terms == ACME
    assert [task.state for task in run.tasks] == ["completed"] * 2


def test_a_batch_and_its_runs_keep_its_terms(fleet: object) -> None:
    batch = greetings.kickoff_for_each_async([{"who": name} for name in "ab"], tenant="acme", priority="low")
    assert len(batch.results(20)) == 2
    assert batch.progress().terms == ACME
    assert {run.record().terms for run in batch.runs} == {ACME}


def test_a_key_of_one_tenant_is_not_anothers(fleet: object) -> None:
    work = crew("Once", llm=Echo())
    first = work.kickoff_async(idempotency_key="one", tenant="acme")
    assert work.kickoff_async(idempotency_key="one", tenant="acme").id == first.id
    for tenant in ("other", "default"):
        with pytest.raises(errors.KeyReused, match="another tenant"):
            work.kickoff_async(idempotency_key="one", tenant=tenant)
    batch = work.kickoff_for_each_async([{}], idempotency_key="many", tenant="acme")
    with pytest.raises(errors.KeyReused):
        work.kickoff_for_each_async([{}], idempotency_key="many", tenant="other")
    batch.results(20)


def test_a_tenant_with_little_is_done_long_before_one_with_much(own_redis: Server, start_worker: StartWorker) -> None:
    """Both wait when the worker comes, the one with little behind the one with much."""
    work = crew("Say {n}", llm=Echo(latency=0.01))
    much = work.kickoff_for_each_async([{"n": at} for at in range(200)], tenant="acme")
    little = work.kickoff_for_each_async([{"n": at} for at in range(3)], tenant="other")
    start_worker(own_redis.url, "-c", "4", CREWQ_CONCURRENCY="4").ready()
    assert len(little.results(60)) == 3
    last = max(run.record().ended or 0 for run in little.runs)
    assert len(much.results(60)) == 200
    before = [run for run in much.runs if (run.record().ended or 0) <= last]
    assert len(before) <= 60  # 32 were let go before there was anybody to share with


def test_weights_are_told_by_the_workers(own_redis: Server, start_worker: StartWorker) -> None:
    start_worker(own_redis.url, "-c", "4", CREWQ_CONCURRENCY="4", CREWQ_WEIGHTS="acme=3,*=0.5").ready()
    with redis.Redis.from_url(own_redis.url, decode_responses=True) as client:
        until(lambda: client.hgetall("{crewq}:weights") == {"acme": "3", "*": "0.5"}, 10)


def test_the_command_line_takes_lists_and_shows_them(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell("run", "my_crews:simple", "--input", "what=this", "--tenant", "acme", "--priority", "high")
    assert "TENANT" in shell("runs")[0]
    shell("run", "my_crews:simple", "--input", "what=that")
    (run,) = shell.json("runs", "--tenant", "acme")
    assert (run["tenant"], run["priority"]) == ("acme", "high")
    assert "\n  tenant acme, priority high\n" in shell("show", run["run"])[0]
    (other,) = shell.json("runs", "--tenant", "default")
    assert other["run"] != run["run"]
    assert "TENANT" not in shell("runs", "--tenant", "default")[0]
    assert "no run of the tenant nobody in" in shell("runs", "--tenant", "nobody")[1]
    (tmp_path / "two.json").write_text(json.dumps([{"what": "a"}, {"what": "b"}]))
    shell("run", "my_crews:simple", "--inputs", "two.json", "--tenant", "acme", "--no-progress")
    batch = shell.json("runs", "--tenant", "acme")[0]["batch"]
    assert shell.json("show", batch)["tenant"] == "acme"
    assert "tenant acme" in shell("show", batch)[0]
    _, said = shell("run", "my_crews:simple", "--input", "what=this", "--tenant", "two words", code=2)
    assert "kickoff(tenant) is not valid" in said
