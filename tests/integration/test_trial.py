"""`crewq test`: a crew several times over, in a directory of its own and by a judge over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crewq.server import Server
from tests.integration.conftest import StartWorker
from tests.integration.worker_process import environment
from tests.model_server import ModelServer, error, text

CREWS = """
from crewq import Agent, Crew, Task
from crewq.testing import ScriptedModel

answers = [{"match": "Count", "answers": ["Three of them."]}, {"match": "Praise bees", "answers": ["Dear bees."]}]
poet = Agent(role="Poet of {x}", goal="g", backstory="b", llm=ScriptedModel(keyed=answers))
count = Task(name="count", description="Count them.", expected_output="A number.", agent=poet)
praise = Task(name="praise", description="Praise {x}.", expected_output="A rhyme.", agent=poet)
crew = Crew(name="rhymes", agents=[poet], tasks=[count, praise])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_crews.py").write_text(CREWS)
    return tmp_path


def tried(folder: Path, *options: str, code: int = 0, **env: str) -> tuple[str, str]:
    """What `crewq test` prints of the crew."""
    command = [sys.executable, "-m", "crewq", "test", "my_crews:crew", *options]
    done = subprocess.run(command, cwd=folder, env=environment(**env), capture_output=True, text=True, timeout=100)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_all_runs_pass(folder: Path) -> None:
    said, progress = tried(folder, "--runs", "4", "--input", "x=bees")
    assert said.startswith("The crew 'rhymes', 4 runs: 4 passed (100%).\n")
    rows = [line.split() for line in said.splitlines()[2:6]]
    assert rows[0] == ["task", "agent", "passed", "median", "p95", "calls", "tokens", "cost"]
    assert rows[1][:5] == ["count", "Poet", "of", "bees", "4/4"]
    assert rows[1][-1] == rows[3][-1] == "$0.00"
    assert rows[3][:4] == ["the", "whole", "run", "4/4"]
    assert rows[3][-3] == "2.0"
    assert "completed" in progress
    assert tried(folder, "-n", "1", "--input", "x=bees", "--no-progress")[1] == ""


def test_a_run_that_fails_is_counted_and_told(folder: Path) -> None:
    (folder / "some.jsonl").write_text('{"x": "bees"}\n{"x": "wasps"}\n')
    said, _ = tried(folder, "--runs", "3", "--inputs", "some.jsonl", code=1)
    assert said.startswith("The crew 'rhymes', 6 runs: 3 passed (50%).\n")
    assert said.count("failed in task 'praise': The model scripted refused the request") == 3
    found: dict[str, Any] = json.loads(tried(folder, "--inputs", "some.jsonl", "--json", "--no-progress", code=1)[0])
    assert (found["runs"], found["passed"], found["pass_rate"]) == (6, 3, 0.5)
    assert found["seconds"]["median"] <= found["seconds"]["p95"]
    assert [(task["name"], task["passed"], task["pass_rate"]) for task in found["tasks"]] == [
        ("count", 6, 1.0),
        ("praise", 3, 0.5),
    ]
    assert found["usage"]["successful_requests"] == 9
    assert found["calls_per_run"] == 1.5
    assert found["tokens_per_run"] == found["usage"]["total_tokens"] / 6
    assert [one["state"] for one in found["each"]] == ["completed", "failed"] * 3
    assert [one["inputs"]["x"] for one in found["each"]] == ["bees", "wasps"] * 3
    assert {one["error"]["error"] for one in found["each"] if one["error"]} == {"ModelRefused"}


def test_a_judge_gives_scores_and_its_calls_are_kept_and_counted(folder: Path) -> None:
    def verdict(request: dict[str, Any]) -> Any:
        asked = request["messages"][-1]["content"]
        return text(json.dumps({"score": 9 if "Dear bees." in asked else 4, "reason": "so"}))

    with ModelServer(verdict) as server:
        env = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": server.url}
        options = ("--input", "x=bees", "--judge", "openai/gpt-4.1-mini", "-n", "2")
        found: dict[str, Any] = json.loads(tried(folder, *options, "--json", **env)[0])
        assert [task["score"] for task in found["tasks"]] == [4, 9]
        assert found["score"] == 6.5
        assert [one["scores"] for one in found["each"]] == [{"count": 4, "praise": 9}] * 2
        assert found["judge"]["usage"]["successful_requests"] == len(server.ledger) == 4
        assert found["judge"]["usage"]["cost"] > found["usage"]["cost"] == 0
        (prompt, _) = (call.prompt for call in server.ledger if "Dear bees." in call.prompt)
        assert "Praise bees." in prompt
        assert "A rhyme." in prompt

        server.enqueue(*[error(400, "no")] * 4)
        said, problems = tried(folder, *options, "--no-progress", code=1, **env)
        assert "2 passed (100%)" in said
        assert "it could not judge: " in problems


ASKING = """
import os
from crewq import LLM, Agent, Crew, Task

llm = LLM(model="openai/gpt-4.1-mini", base_url=os.environ["URL"])
poet = Agent(role="Poet", goal="g", backstory="b", llm=llm, max_retry_limit=0)
tasks = [Task(name=f"t{at}", description="Praise {x}.", agent=poet, guardrail="It rhymes.") for at in range(2)]
crew = Crew(name="rhymes", agents=[poet], tasks=tasks)
"""


def test_a_crew_is_tried_on_workers_of_its_own_and_costs_what_it_costs(
    fleet_server: Server, start_worker: StartWorker, folder: Path, model_server: ModelServer
) -> None:
    own = {"CREWQ_NAMESPACE": "trial", "CREWQ_QUEUE": "trial"}
    start_worker(fleet_server.url, OPENAI_API_KEY="of-the-worker", **own).ready()
    (folder / "my_crews.py").write_text(ASKING)
    accepted = '{"accepted": true, "feedback": ""}'
    model_server.enqueue("Dear bees.", accepted, "Bees again.", accepted, error(400, "no"))
    env = own | {"CREWQ_REDIS_URL": fleet_server.url, "URL": model_server.url}
    inputs = folder / "two.jsonl"
    inputs.write_text('{"x": "bees"}\n')
    options = ("--inputs", "two.jsonl", "--json", "--no-progress")
    assert json.loads(tried(folder, *options, "-n", "1", **env)[0])["pass_rate"] == 1
    assert len(model_server.ledger) == 4
    found = json.loads(tried(folder, *options, "-n", "1", code=1, **env)[0])
    assert (found["passed"], found["pass_rate"]) == (0, 0)
    model_server.enqueue("Dear bees.", accepted, "Bees again.", accepted)
    passed = json.loads(tried(folder, *options, "-n", "1", **env)[0])
    assert passed["usage"]["successful_requests"] == 4
    assert passed["usage"]["cost"] > 0
    assert passed["usage"]["unpriced_requests"] == 0
    assert passed["seconds"]["median"] > 0
    assert {call.key for call in model_server.ledger} == {"of-the-worker"}


def test_what_cannot_be_tried_is_wrong_usage(folder: Path) -> None:
    assert "needs inputs that were not given: --input x=..." in tried(folder, code=2)[1]
    assert "Invalid value for '-n'" in tried(folder, "--runs", "0", "--input", "x=1", code=2)[1]
    assert not (folder / ".crewq" / "appendonlydir").exists()
