"""Servers of tools: real ones, written with the official package, used by a real worker process and in embedded mode."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from crewq import LLM, Crew, Run, Task, errors
from crewq.mcp import MCPServerHTTP, MCPServerSSE, MCPServerStdio, Server, create_static_tool_filter
from crewq.server import Server as RedisServer
from crewq.testing import ScriptedCall, call
from tests.integration import crews
from tests.integration.crews import Repeat, agent, scripted
from tests.integration.worker_process import ROOT, WorkerProcess, environment
from tests.mcp_server import McpProcess
from tests.model_server import ModelServer, calls
from tests.waiting import until

TOKEN = "TOP-SECRET-MCP-4711"
FORBIDDEN = "/usr/bin/env"


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, McpProcess]]:
    folder = tmp_path_factory.mktemp("remote")
    with McpProcess(folder, "http") as http, McpProcess(folder, "sse") as sse, McpProcess(folder, "http") as mortal:
        yield {"http": http, "sse": sse, "mortal": mortal}


@pytest.fixture(scope="module")
def worker_env(remote: dict[str, McpProcess]) -> dict[str, str]:
    allowed = [sys.executable, "no-such-command", *(server.origin for server in remote.values()), "http://127.0.0.1:1"]
    return {"CREWQ_MCP_SERVERS": ",".join(allowed), "MCP_TEST_TOKEN": TOKEN}


@pytest.fixture(scope="module")
def module_worker(
    fleet_server: RedisServer, worker_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    folder = tmp_path_factory.mktemp("mcp-worker")
    options = ("-Q", "mcp")  # beside the fleet's worker, which may use no server
    with WorkerProcess(folder, fleet_server.url, *options, CREWQ_QUEUE="mcp", **worker_env) as worker:
        yield worker.ready()


@pytest.fixture
def worker(
    module_worker: WorkerProcess,
    fleet_server: RedisServer,
    producer_of: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> WorkerProcess:
    monkeypatch.setenv("CREWQ_QUEUE", "mcp")
    producer_of(fleet_server.url)
    return module_worker


@pytest.fixture
def there(remote: dict[str, McpProcess]) -> MCPServerHTTP:
    return MCPServerHTTP(url=remote["http"].url)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def local(notes: Path) -> MCPServerStdio:
    return stdio(notes)


def stdio(notes: Path, **fields: Any) -> MCPServerStdio:
    env = {"PYTHONPATH": str(ROOT)} | fields.pop("env", {})
    return MCPServerStdio(command=sys.executable, args=["-m", "tests.mcp_server", str(notes)], env=env, **fields)


def said(notes: Path) -> list[str]:
    """What a server was asked, its starts aside."""
    return [line for line in lines(notes) if not line.startswith("started")]


def lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def alive(notes: Path) -> list[int]:
    """The processes of a server that still run."""
    pids = [int(line.split()[1]) for line in lines(notes) if line.startswith("started")]
    return [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()]


def start(*servers: Server | str, asked: ScriptedCall | None = None, llm: Any = None, **fields: Any) -> Run:
    """A task of one agent with these servers, which tells what its one call of a tool gave back."""
    who = agent(llm or Repeat(asked=asked), mcps=list(servers), **{"max_retry_limit": 0} | fields)
    return Crew(name="served", tasks=[Task(name="use", description="Use it.", agent=who)]).kickoff_async()


def ask(*servers: Server | str, asked: ScriptedCall, **fields: Any) -> str:
    return start(*servers, asked=asked, **fields).result(60).raw


def refusal(*servers: Server | str, **fields: Any) -> str:
    with pytest.raises(errors.RunFailed) as caught:
        ask(*servers, asked=call("add", left=1, right=2), **fields)
    return str(caught.value)


# -- what works ----------------------------------------------------------------------------------------------------------


def test_a_server_that_the_worker_starts(worker: WorkerProcess, local: MCPServerStdio, notes: Path) -> None:
    assert ask(local, asked=call("add", left=1, right=2)) == "3"
    assert said(notes) == ["add 1 2"]
    until(lambda: not alive(notes))


def test_a_server_is_started_once_in_a_task_and_keeps_its_state(
    worker: WorkerProcess, local: MCPServerStdio, notes: Path, model_server: ModelServer
) -> None:
    asked = [calls(("remember", {"word": word})) for word in ("one", "two")]
    model_server.enqueue(*asked, "Remembered.")
    assert start(local, llm=LLM(model="openai/any", base_url=model_server.url)).result(60).raw == "Remembered."
    assert model_server.ledger[-1].request["messages"][-1]["content"] == "one two"
    assert sum(line.startswith("started") for line in lines(notes)) == 1
    until(lambda: not alive(notes))


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_a_server_at_an_address(worker: WorkerProcess, remote: dict[str, McpProcess], transport: str) -> None:
    there = remote[transport]
    kind = {"http": MCPServerHTTP, "sse": MCPServerSSE}[transport]
    assert ask(kind(url=there.url), asked=call("add", left=4, right=5)) == "9"
    assert there.notes[-1] == "add 4 5"


def test_an_address_alone_with_the_one_tool_that_is_wanted(
    worker: WorkerProcess, remote: dict[str, McpProcess]
) -> None:
    address = f"{remote['http'].url}#add"
    assert ask(address, asked=call("add", left=1, right=1)) == "2"
    assert ask(address, asked=call("pay", amount=1)).endswith("The tools there are: add.")


def test_a_filter_keeps_tools_from_the_agent(worker: WorkerProcess, there: MCPServerHTTP) -> None:
    there.tool_filter = create_static_tool_filter(["add", "pay"], blocked_tool_names=["pay"])
    assert ask(there, asked=call("pay", amount=1)).endswith("The tools there are: add.")
    there.tool_filter = create_static_tool_filter(["addd"])
    assert "it has no tool called 'addd'" in refusal(there)


@pytest.mark.parametrize("function", [crews.only_reading, crews.only_for_testers])
def test_a_function_keeps_tools_from_the_agent(worker: WorkerProcess, there: MCPServerHTTP, function: Any) -> None:
    there.tool_filter = function
    assert ask(there, asked=call("pay", amount=1)).endswith("The tools there are: add.")
    assert ask(there, asked=call("add", left=1, right=1)) == "2"


def test_a_function_that_fails_is_named(worker: WorkerProcess, there: MCPServerHTTP) -> None:
    there.tool_filter = crews.failing
    assert "The tool_filter tests.integration.crews:failing failed: it raised RuntimeError" in refusal(there)


def test_two_servers_with_equal_tools(
    worker: WorkerProcess, remote: dict[str, McpProcess], there: MCPServerHTTP
) -> None:
    both = (there, MCPServerSSE(url=remote["sse"].url))
    assert ask(*both, asked=call("127_0_0_1_add", left=2, right=2)) == "4"
    assert remote["sse"].notes[-1] == "add 2 2"


def test_what_is_no_text_is_named(worker: WorkerProcess, there: MCPServerHTTP) -> None:
    assert ask(there, asked=call("picture")) == "[not shown: image, image/png]\nA cat."


def test_a_model_over_http_is_told_of_its_tools(
    worker: WorkerProcess, there: MCPServerHTTP, model_server: ModelServer
) -> None:
    model_server.enqueue(calls(("add", {"left": 20, "right": 22})), "It is 42.")
    run = start(there, llm=LLM(model="openai/any", base_url=model_server.url))
    assert run.result(60).raw == "It is 42."
    first, second = (call.request for call in model_server.ledger)
    described = {tool["function"]["name"]: tool["function"] for tool in first["tools"]}
    assert described["add"]["description"] == "Add two numbers."
    assert described["add"]["parameters"]["required"] == ["left", "right"]
    assert second["messages"][-1]["content"] == "42"


# -- what goes wrong -----------------------------------------------------------------------------------------------------


def test_a_tool_that_fails_is_told_to_the_model(worker: WorkerProcess, there: MCPServerHTTP) -> None:
    told = ask(there, asked=call("refuse", reason="no such account"))
    assert told == "The tool refuse failed: Error executing tool refuse: no such account"
    wrong = ask(there, asked=call("add", left="one"))
    assert wrong.startswith("The tool add failed:")
    assert "right" in wrong


def test_a_server_that_dies_is_told_to_the_model_and_started_again(
    worker: WorkerProcess, local: MCPServerStdio, notes: Path
) -> None:
    run = start(local, llm=scripted(call("die"), call("add", left=1, right=2), "Done."))
    assert run.result(60).raw == "Done."
    assert said(notes) == ["die", "add 1 2"]
    assert sum(line.startswith("started") for line in lines(notes)) == 2
    told = [message["content"] for message in run.result().tasks_output[0].messages if message["role"] == "tool"]
    assert told == [f"The tool die failed: The MCP server {Path(sys.executable).name!r} failed: it has gone.", "3"]


def test_a_remote_server_that_dies_is_told_to_the_model(worker: WorkerProcess, remote: dict[str, McpProcess]) -> None:
    told = ask(MCPServerHTTP(url=remote["mortal"].url), asked=call("die"))
    assert told.startswith("The tool die failed: The MCP server '127.0.0.1' failed:")


def test_a_call_that_takes_too_long(worker: WorkerProcess, there: MCPServerHTTP) -> None:
    there.call_timeout = 0.5
    told = ask(there, asked=call("sleep", seconds=60))
    assert told.endswith("it did not answer within 0.5 s.")


def test_a_server_that_does_not_start(worker: WorkerProcess) -> None:
    missing = MCPServerStdio(command="no-such-command")
    assert "its command 'no-such-command' cannot be started: No such file" in refusal(missing)
    code = "import os, sys; sys.exit('no config for ' + os.environ['KEY'])"
    broken = MCPServerStdio(command=sys.executable, args=["-c", code], env={"KEY": "${MCP_TEST_TOKEN}"})
    told = refusal(broken)
    assert "Connection closed Its last words: no config for ***" in told
    assert TOKEN not in told
    silent = MCPServerStdio(command=sys.executable, args=["-c", "import time; time.sleep(60)"], connect_timeout=0.5)
    assert "it was not ready within 0.5 s." in refusal(silent)


def test_an_address_where_nobody_listens(worker: WorkerProcess) -> None:
    assert "The MCP server '127.0.0.1' failed: ConnectError" in refusal(MCPServerHTTP(url="http://127.0.0.1:1/mcp"))


def test_a_server_that_was_down_is_tried_again(worker: WorkerProcess, notes: Path, tmp_path: Path) -> None:
    flag = tmp_path / "up"
    code = (
        f"import os, pathlib, runpy, sys; up = pathlib.Path({str(flag)!r}); sys.argv[1:] = [{str(notes)!r}]\n"
        "if not up.exists(): up.touch(); sys.exit('down')\n"
        "runpy.run_module('tests.mcp_server', run_name='__main__')"
    )
    server = MCPServerStdio(command=sys.executable, args=["-c", code], env={"PYTHONPATH": str(ROOT)})
    assert ask(server, asked=call("add", left=1, right=2), max_retry_limit=1) == "3"


def test_a_worker_uses_only_the_servers_that_it_is_told_of(worker: WorkerProcess, notes: Path) -> None:
    told = refusal(MCPServerStdio(command=FORBIDDEN, args=["touch", str(notes)]))
    assert f"CREWQ_MCP_SERVERS={FORBIDDEN}" in told
    assert not notes.exists()
    assert "CREWQ_MCP_SERVERS=https://example.org/" in refusal(MCPServerHTTP(url="https://example.org/mcp"))


# -- secrets -------------------------------------------------------------------------------------------------------------


def test_a_key_is_read_where_the_worker_runs_and_stays_there(
    worker: WorkerProcess, notes: Path, fleet_server: RedisServer, there: MCPServerHTTP
) -> None:
    there.url += "?api_key=${MCP_TEST_TOKEN}"
    assert ask(there, asked=call("add", left=2, right=2)) == "4"
    keyed = stdio(notes, env={"API_KEY": "${MCP_TEST_TOKEN}"})
    assert ask(keyed, asked=call("add", left=1, right=2)) == "3"
    with redis.Redis.from_url(fleet_server.url, decode_responses=True) as client:
        texts = [client.get(key) for key in client.scan_iter("*spec:*")]
    assert any("${MCP_TEST_TOKEN}" in str(text) for text in texts)
    assert not any(TOKEN in str(text) for text in texts)
    assert TOKEN not in worker.log
    assert ask(keyed, asked=call("variable", name="API_KEY")) == TOKEN  # if the server tells it, that is its own affair


def test_a_variable_that_the_worker_lacks(worker: WorkerProcess, notes: Path) -> None:
    assert "NOT_SET_ANYWHERE must be in the environment of the worker" in refusal(
        stdio(notes, env={"API_KEY": "${NOT_SET_ANYWHERE}"})
    )


def test_a_server_has_nothing_else_of_the_workers_environment(worker: WorkerProcess, local: MCPServerStdio) -> None:
    assert ask(local, asked=call("variable", name="MCP_TEST_TOKEN")) == "not set"


def test_a_literal_key_is_an_error_at_kickoff(worker: WorkerProcess) -> None:
    with pytest.raises(errors.KeyInServer, match=r"headers\.Authorization"):
        start(MCPServerHTTP(url="https://x.example/mcp", headers={"Authorization": "Bearer abc"}), llm=scripted("x"))


# -- what must not happen twice ------------------------------------------------------------------------------------------


def test_a_run_that_is_cancelled_leaves_no_call_and_no_server(
    worker: WorkerProcess, local: MCPServerStdio, notes: Path
) -> None:
    run = start(local, asked=call("sleep", seconds=60))
    until(lambda: said(notes) == ["sleep 60.0"], 30)
    run.cancel()
    until(lambda: run.status == "cancelled")
    until(lambda: not alive(notes))


def test_a_worker_that_dies_takes_its_servers_with_it_and_repeats_nothing_with_an_effect(
    fleet_server: RedisServer, start_worker: Callable[..., WorkerProcess], worker_env: dict[str, str],
    producer_of: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, local: MCPServerStdio, notes: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("CREWQ_QUEUE", "doubt")
    producer_of(fleet_server.url)
    env = worker_env | {"CREWQ_QUEUE": "doubt"}
    first = start_worker(fleet_server.url, "-Q", "doubt", **env).ready()
    run = start(local, llm=scripted(call("pay", amount=7), call("sleep", seconds=60), "Done."))
    until(lambda: said(notes) == ["pay 7", "sleep 60.0"], 30)
    first.kill()
    until(lambda: not alive(notes))
    start_worker(fleet_server.url, "-Q", "doubt", **env).ready()
    until(lambda: run.status == "paused", 30)
    run.resume(call_in_doubt="skip")
    assert run.result(30).raw == "Done."
    assert said(notes) == ["pay 7", "sleep 60.0"]
    assert sum(line.startswith("started") for line in lines(notes)) == 1  # the list of tools was kept too


# -- embedded ------------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from crewq import Agent, Crew, Task
from crewq.mcp import MCPServerStdio
from crewq.testing import ScriptedModel, call

server = MCPServerStdio(
    command=sys.executable, args=["-m", "tests.mcp_server", sys.argv[1]],
    env={"PYTHONPATH": sys.argv[2], "API_KEY": "${MCP_TEST_TOKEN}"},
)
llm = ScriptedModel(answers=[call("add", left=20, right=22), call("variable", name="API_KEY"), "Done."])
who = Agent(role="R", goal="G", backstory="B", llm=llm, mcps=[server])
output = Crew(tasks=[Task(description="Use it.", agent=who)]).kickoff()
print(output.raw, [m["content"] for m in output.tasks_output[0].messages if m["role"] == "tool"])
"""


def test_embedded_mode_needs_no_permission(tmp_path: Path, notes: Path) -> None:
    env = environment(MCP_TEST_TOKEN="from the shell")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(notes), str(ROOT)],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.stdout == "Done. ['42', 'from the shell']\n", done.stderr
    assert said(notes) == ["add 20 22"]
    until(lambda: not alive(notes))
