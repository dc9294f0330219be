"""Metrics of real workers, read as Prometheus does."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from crewq import LLM, Crew, Task
from crewq.server import Server
from tests.integration.conftest import StartWorker
from tests.integration.crews import add, agent
from tests.integration.flower_process import free_port
from tests.integration.test_cli import Shell
from tests.model_server import ModelServer, error
from tests.waiting import until


def values(text: str) -> dict[str, float]:
    """Every value, by its name and the values of its labels, in the order of those."""
    return {
        " ".join((sample.name, *(value for _, value in sorted(sample.labels.items())))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_workers_did_is_told_by_a_process_that_saw_none_of_it(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer, tmp_path: Path
) -> None:
    worker = start_worker(own_redis.url, CREWQ_CONCURRENCY="5").ready()
    shell = Shell(tmp_path, CREWQ_REDIS_URL=own_redis.url)
    until(lambda: values(shell("metrics", "--once")[0])["crewq_workers"] == 1)
    price = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.01}
    llm = LLM(model="openai/any", base_url=model_server.url, **price)
    asked = '[[call add {"left": 1, "right": 2}]] [[say One two three.]]'
    crew = Crew(tasks=[Task(description=asked, agent=agent(llm, tools=[add])) for _ in range(2)])
    model_server.enqueue(error(500))
    run = crew.kickoff_async()
    assert run.result(30).raw == "One two three."
    usage = run.record().usage
    found = values(shell("metrics", "--once")[0])
    expected = {
        "crewq_store_up": 1,
        "crewq_runs_accepted_total": 1,
        "crewq_runs_total completed": 1,
        "crewq_runs_total failed": 0,
        "crewq_runs_kept completed": 1,
        "crewq_tasks_total completed": 2,
        "crewq_model_calls_total openai/any answered": 4,
        "crewq_model_calls_total openai/any failed": 1,
        "crewq_tool_calls_total answered": 2,
        "crewq_tokens_total prompt openai/any": usage.prompt_tokens,
        "crewq_tokens_total completion openai/any": 2 * (5 + 3),
        "crewq_tasks_active": 0,
        "crewq_tasks_running": 0,
        "crewq_task_seconds_count": 2,
        "crewq_task_wait_seconds_count": 2,
        "crewq_run_seconds_count": 1,
        "crewq_model_call_seconds_count openai/any": 4,
        "crewq_workers": 1,
        "crewq_worker_slots": 5,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["crewq_cost_dollars_total openai/any"] == pytest.approx(usage.cost)
    assert 0 < found["crewq_model_call_seconds_sum openai/any"] < 30
    worker.terminate()
    worker.exit_status()
    assert values(shell("metrics", "--once")[0]) == found | {"crewq_workers": 0, "crewq_worker_slots": 0}


def test_what_is_under_way_and_what_waits_is_told_while_it_is_so(
    own_redis: Server, start_worker: StartWorker, tmp_path: Path
) -> None:
    start_worker(own_redis.url, CREWQ_CONCURRENCY="1").ready()
    port = free_port()
    exporter = Shell(tmp_path, CREWQ_REDIS_URL=own_redis.url).start("metrics", "--port", str(port))

    def scraped() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return values(answer.read().decode())

    assert exporter.stderr is not None
    assert f"http://127.0.0.1:{port}/metrics" in exporter.stderr.readline()
    with ModelServer(latency=1.0) as server:
        crew = Crew(tasks=[Task(description="Wait.", agent=agent(LLM(model="openai/any", base_url=server.url)))])
        runs = [crew.kickoff_async() for _ in range(3)]
        server.ledger.wait_for(lambda calls: len(calls) == 1)
        found = scraped()
        assert (found["crewq_tasks_running"], found["crewq_tasks_queued"], found["crewq_tasks_active"]) == (1, 2, 3)
        assert found["crewq_lane_tasks_queued 3 crewq"] == 2
        assert (found["crewq_runs_kept running"], found["crewq_runs_kept queued"]) == (1, 2)
        for run in runs:
            run.result(30)
    assert scraped()["crewq_tasks_active"] == 0
    exporter.send_signal(signal.SIGTERM)
    assert exporter.wait(20) == 0
    exporter.communicate()


def test_a_port_that_is_taken_is_said(own_redis: Server, tmp_path: Path) -> None:
    port = own_redis.url.rpartition(":")[2].partition("/")[0]
    shell = Shell(tmp_path, CREWQ_REDIS_URL=own_redis.url)
    assert port.isdecimal(), own_redis.url
    said = shell("metrics", "--port", port, code=2)[1]
    assert f"Nothing can be served at 127.0.0.1:{port}" in said


def test_no_redis_is_an_error_and_no_empty_list(tmp_path: Path) -> None:
    shell = Shell(tmp_path, CREWQ_REDIS_URL="redis://127.0.0.1:1")
    assert shell("metrics", "--once", code=4)[0] == ""
