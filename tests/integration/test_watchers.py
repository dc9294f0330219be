"""litellm's callbacks in a worker: each call tells them whose it is, over real HTTP, and providers are told nothing of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from crewq import LLM, Crew, Task
from crewq.server import Server
from tests.integration.conftest import StartWorker
from tests.integration.crews import add, agent
from tests.integration.worker_process import IMPORTS
from tests.model_server import ModelServer, calls, error, hang
from tests.waiting import until

WATCHED = {
    "CREWQ_IMPORTS": f"{IMPORTS},tests.integration.watching",
    "CREWQ_LITELLM_CALLBACKS": "tests.integration.watching:watcher",
    "OPENAI_API_KEY": "sk-any",
}


def told(folder: Path, count: int) -> list[dict[str, Any]]:
    """What a watcher was told, once that is so much."""

    def lines() -> list[str]:
        notes = folder / "notes"
        return [line for line in notes.read_text().splitlines() if line.startswith("{")] if notes.exists() else []

    until(lambda: len(lines()) >= count, 20)
    return [json.loads(line) for line in lines()]


def test_each_call_tells_whose_it_is(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer, tmp_path: Path
) -> None:
    start_worker(own_redis.url, **WATCHED)
    model_server.enqueue(error(500), calls(("add", {"left": 1, "right": 2})), "Three.", "It was three.")
    more = {"metadata": {"shop": "north"}}
    clerk = agent(LLM(model="openai/any", base_url=model_server.url, additional_params=more), tools=[add])
    teller = agent(LLM(model="openai/any", base_url=model_server.url), role="Teller")
    tasks = [Task(name="sum", description="Add", agent=clerk), Task(description="Tell", agent=teller)]
    run = Crew(name="shop", tasks=tasks).kickoff_async()
    assert run.result(60).raw == "It was three."

    seen = told(tmp_path, 4)
    assert [(one["outcome"], one["crewq_step"], one["crewq_agent"], one["crewq_task_name"]) for one in seen] == [
        ("failed", 1, "Tester", "sum"),
        ("answered", 1, "Tester", "sum"),
        ("answered", 2, "Tester", "sum"),
        ("answered", 1, "Teller", "task 2"),
    ]
    assert [one["crewq_task"] for one in seen] == [*[run.task_ids[0]] * 3, run.task_ids[1]]
    assert [one.get("shop") for one in seen] == ["north", "north", "north", None]
    for one in seen:
        assert (one["crewq_run"], one["crewq_crew"], one["crewq_attempt"]) == (run.id, "shop", 1)
        assert (one["session_id"], one["trace_name"], one["trace_id"]) == (run.id, "shop", run.id.replace("-", ""))
    assert seen[0]["generation_name"] == "sum: Tester"
    for call in model_server.ledger:
        assert not {"metadata", "trace_id"} & set(call.request)
        assert run.id not in json.dumps(call.request)


def test_a_task_that_goes_on_elsewhere_counts_its_steps_on(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer, tmp_path: Path
) -> None:
    first = start_worker(own_redis.url, **WATCHED).ready()
    model_server.enqueue(calls(("add", {"left": 1, "right": 2})), hang(), "Three.")
    clerk = agent(LLM(model="openai/any", base_url=model_server.url), tools=[add])
    run = Crew(name="shop", tasks=[Task(name="sum", description="Add", agent=clerk)]).kickoff_async()
    model_server.ledger.wait_for(lambda made: len(made) == 2, timeout=30)
    told(tmp_path, 1)
    os.killpg(first.process.pid, signal.SIGKILL)
    start_worker(own_redis.url, **WATCHED)
    assert run.result(60).raw == "Three."
    assert [(one["crewq_attempt"], one["crewq_step"]) for one in told(tmp_path, 2)] == [(1, 1), (2, 2)]


def test_a_worker_that_stops_has_told_of_all_its_calls(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer, tmp_path: Path
) -> None:
    worker = start_worker(own_redis.url, **WATCHED).ready()
    model_server.enqueue(*["Yes."] * 20)
    clerk = agent(LLM(model="openai/any", base_url=model_server.url))
    batch = Crew(tasks=[Task(description="Say yes", agent=clerk)]).kickoff_for_each_async([{}] * 20)
    assert len(batch.results(60)) == 20
    worker.terminate()
    assert worker.exit_status() == 0
    assert len(told(tmp_path, 20)) == 20


def test_a_worker_does_not_start_with_one_that_is_not_there(own_redis: Server, start_worker: StartWorker) -> None:
    for name, reason in {
        "langfuze": "litellm has no callback 'langfuze'",
        "tests.integration.watching:not_one": "it is not a function",
        "os:getcwd": "CREWQ_IMPORTS",
    }.items():
        worker = start_worker(own_redis.url, **WATCHED | {"CREWQ_LITELLM_CALLBACKS": f"langfuse_otel,{name}"})
        assert worker.exit_status(40) != 0
        assert f"CREWQ_LITELLM_CALLBACKS='{name}' is not valid: " in worker.log
        assert reason in worker.log
