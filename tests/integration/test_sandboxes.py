"""Code that a model writes, in real workers: where it is run, and what becomes of it when something is not there or dies."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from crewq import LLM, Agent, Crew, Task, errors
from crewq.events import CallFinished
from crewq.server import Server
from crewq.testing import ScriptedModel, call
from tests.integration.conftest import StartWorker
from tests.integration.crews import Repeat, agent
from tests.integration.worker_process import WorkerProcess, environment
from tests.model_server import ModelServer, calls
from tests.sandboxes import EVERY_SANDBOX, need
from tests.unit.agent.test_hostile import REACHING_OUT, SECRET, Outside
from tests.waiting import until

CONTAINER = "import socket\nprint(socket.gethostname())"  # what Docker calls the container


def crew(who: Agent) -> Crew:
    return Crew(tasks=[Task(description="Compute", expected_output="", agent=who)])


def coder(code: str, **fields: Any) -> Agent:
    """Has `code` run, and answers with what came of it."""
    return agent(Repeat(asked=call("run_python", code=code)), allow_code_execution=True, **fields)


@pytest.mark.parametrize("sandbox", EVERY_SANDBOX)
def test_code_runs_where_the_agent_says(fleet: WorkerProcess, sandbox: Any) -> None:
    need(sandbox)
    all_of_python = "try:\n  import ctypes\n  print('container')\nexcept ImportError:\n  print('monty')"
    assert crew(coder(all_of_python, sandbox=sandbox)).kickoff().raw == sandbox
    told = crew(coder("import os\nprint(os.environ)", sandbox=sandbox)).kickoff().raw
    assert "environ" in told
    assert "CREWQ" not in told


@pytest.mark.parametrize("sandbox", EVERY_SANDBOX)
def test_hostile_code_of_a_model_reaches_nothing_of_its_worker(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer, tmp_path: Path, sandbox: Any
) -> None:
    """All that `tests/unit/agent/test_hostile.py` tries from within, asked for over HTTP in one reply."""
    need(sandbox)
    worker = start_worker(own_redis.url, CREWQ_TEST_SECRET=SECRET).ready()
    (folder := tmp_path / "outside").mkdir()
    with socket.create_server(("", 0)) as listening:
        listening.settimeout(0)
        outside = Outside(folder, listening)
        prelude = f"{outside.prelude()}parent = {worker.process.pid}\n"
        attacks = [("run_python", {"code": prelude + code}) for code in REACHING_OUT.values()]
        model_server.enqueue(calls(*attacks), calls(("run_python", {"code": "6 * 7"})), "It is 42.")
        llm = LLM(model="openai/any", base_url=model_server.url)
        run = crew(agent(llm, allow_code_execution=True, sandbox=sandbox)).kickoff_async()
        assert run.result(100).raw == "It is 42."
        told = [one["content"] for one in model_server.ledger[-1].request["messages"] if one["role"] == "tool"]
        outside.assert_unreached(SimpleNamespace(output="\n".join(told), error=None))  # type: ignore[arg-type]
    assert len(told) == len(attacks) + 1
    assert told[-1] == "42"
    assert own_redis.url not in str(told), "where its runs are"
    assert run.tasks[0].attempt == 1
    assert worker.process.poll() is None


# More than is usual in the one, and less than is usual in the other.
GIVEN = [("monty", 128, "80000000"), pytest.param("container", 96, "MemoryError", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("sandbox", "megabytes", "told"), GIVEN)
def test_a_worker_gives_code_the_time_and_memory_of_its_settings(
    own_redis: Server, start_worker: StartWorker, sandbox: Any, megabytes: int, told: str
) -> None:
    need(sandbox)
    start_worker(own_redis.url, CREWQ_SANDBOX_SECONDS="1.5", CREWQ_SANDBOX_MEMORY_MB=str(megabytes)).ready()
    assert told in crew(coder("print(len('a' * 80_000_000))", sandbox=sandbox)).kickoff().raw
    stopped = crew(coder("while True: pass", sandbox=sandbox)).kickoff().raw
    assert "TimeoutError" in stopped
    assert "1.5" in stopped


@pytest.mark.slow
def test_names_last_from_call_to_call_and_from_worker_to_worker(own_redis: Server, start_worker: StartWorker) -> None:
    need("container")
    first_call = call("run_python", code=f"x = 20\n{CONTAINER}")
    model = ScriptedModel(answers=[first_call, call("run_python", code="x + 1"), "Done."], latency_seconds=1.0)
    run = crew(agent(model, allow_code_execution=True, sandbox="container")).kickoff_async()
    with start_worker(own_redis.url):
        next(event for event in run.events() if isinstance(event, CallFinished) and event.kind == "tool")
    start_worker(own_redis.url)
    assert run.result(60).raw == "Done."
    assert run.tasks[0].attempt == 2
    here, answer = _told_by_tools(own_redis.url, run.id)
    assert answer == "21"
    until(lambda: not _exists(here))


def _told_by_tools(url: str, run: str) -> list[str]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        messages = json.loads(str(client.hget(f"{{crewq}}:run:{run}:task:0", "messages")))
    return [message["content"] for message in messages if message["role"] == "tool"]


def _exists(container_id: str) -> bool:
    command = ["docker", "ps", "--all", "--quiet", "--filter", f"id={container_id}"]
    return bool(subprocess.run(command, check=True, capture_output=True).stdout)


def test_a_worker_without_an_engine_says_so_before_a_model_is_asked(
    own_redis: Server, start_worker: StartWorker
) -> None:
    start_worker(own_redis.url, DOCKER_HOST="unix:///nowhere/docker.sock")
    run = crew(coder("1", sandbox="container", max_retry_limit=0)).kickoff_async()
    with pytest.raises(errors.RunFailed, match="The sandbox 'container' is not available here"):
        run.result(40)
    assert [event for event in run.events() if event.type == "call_started"] == []


SCRIPT = """
from crewq import Agent, Crew, Task
from crewq.testing import ScriptedModel, call
model = ScriptedModel(answers=[call("run_python", code="import ctypes\\n6 * 7"), "Done."])
who = Agent(role="Coder", goal="Compute", backstory="You code.", allow_code_execution=True, llm=model)
print(Crew(tasks=[Task(description="Compute", agent=who)]).kickoff())
"""


@pytest.mark.slow
def test_embedded_crews_take_the_setting(tmp_path: Path) -> None:
    need("container")
    assert _embedded(tmp_path, CREWQ_SANDBOX="container") == ("Done.\n", "")


def test_an_embedded_kickoff_without_an_engine_is_an_error(tmp_path: Path) -> None:
    env = {"CREWQ_SANDBOX": "container", "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    out, err = _embedded(tmp_path, **env)
    assert out == ""
    assert "SandboxMissing: Agent 'Coder' has allow_code_execution=True, but the sandbox 'container' is not" in err


def _embedded(folder: Path, **env: str) -> tuple[str, str]:
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=folder, env=environment(**env), capture_output=True, text=True, timeout=60)
    return done.stdout, done.stderr
