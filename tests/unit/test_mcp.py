"""Servers of tools as a person writes them, as they travel, and whether a worker lets them in."""

from __future__ import annotations

from typing import Any

import pytest

from crewq import Agent, errors, tool_servers
from crewq import freeze as freezing
from crewq.agent import McpTool, Offer
from crewq.freeze import freeze, modules_of
from crewq.mcp import (
    MCPServerHTTP,
    MCPServerSSE,
    MCPServerStdio,
    Server,
    ToolFilterContext,
    create_dynamic_tool_filter,
    create_static_tool_filter,
)
from crewq.settings import Settings
from crewq.spec import ServerSpec
from crewq.tool_servers import admit, told_apart
from tests.unit.parts import EMBEDDED, REMOTE, agent, plan, task

HERE = MCPServerStdio(command="uvx", args=["files"], env={"KEY": "${FILES_KEY}"})
THERE = MCPServerHTTP(url="https://mcp.example.com/v1/mcp", headers={"Authorization": "Bearer ${TOKEN}"})


# -- how they are written ------------------------------------------------------------------------------------------------


def test_an_agent_travels_with_its_servers() -> None:
    spec = freeze(plan(task(by=agent(mcps=[HERE, THERE, "https://mcp.example.com/sse#find"]))), REMOTE)
    first, second, third = spec.agents[0].mcps
    assert (first.transport, first.command, first.args, first.env) == ("stdio", "uvx", ("files",), HERE.env)
    assert (second.transport, second.url, second.allowed) == ("http", THERE.url, None)
    assert (third.url, third.allowed) == ("https://mcp.example.com/sse", ("find",))
    assert type(spec).from_json(spec.to_json(), "here") == spec
    assert MCPServerSSE(url="https://x.org/sse", verify=False).spec().verify is False


def test_a_filter_by_names() -> None:
    chosen = create_static_tool_filter(["a", "b"], blocked_tool_names=["b"])
    spec = MCPServerStdio(command="uvx", tool_filter=chosen).spec()
    assert (spec.allowed, spec.blocked) == (("a", "b"), ("b",))


def chosen(tool: Any) -> bool:
    return True


def chosen_for(context: ToolFilterContext, tool: Any) -> bool:
    return True


def of_nothing() -> bool:
    return True


@pytest.mark.parametrize("function", [chosen, create_dynamic_tool_filter(chosen_for)])
def test_a_filter_by_a_function_travels_by_its_name(function: Any) -> None:
    server = MCPServerStdio(command="uvx", tool_filter=function)
    spec = freeze(plan(task(by=agent(mcps=[server]))), REMOTE)
    assert spec.agents[0].mcps[0].chosen_by == f"tests.unit.test_mcp:{function.__name__}"
    assert "tests.unit.test_mcp" in modules_of(spec)


@pytest.mark.parametrize("function", [lambda tool: True, create_static_tool_filter(["a"]).model_copy, print])
def test_a_filter_that_no_worker_can_find_does_not_travel(function: Any) -> None:
    server = MCPServerStdio(command="uvx")
    server.__dict__["tool_filter"] = function  # print has no signature that tells
    with pytest.raises(errors.NotPortable, match="The tool_filter of the MCP server 'uvx'"):
        freeze(plan(task(by=agent(mcps=[server]))), EMBEDDED)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: agent(mcps=["notion"]), r"Agent\(mcps=\['notion'\]\).*catalogue"),
        (lambda: agent(mcps=[3]), "int is no server"),
        (lambda: agent(mcps=[{"command": "uvx"}]), "dict is no server"),
        (lambda: agent(mcps=HERE), r"Agent\(mcps"),
        (lambda: MCPServerHTTP(url="mcp.example.com"), "https://mcp.example.com/mcp"),
        (lambda: MCPServerHTTP(url="https://x.org", streamable=False), r"MCPServerHTTP\(streamable"),
        (lambda: MCPServerHTTP(url="https://x.org", header={}), "Did you mean 'headers'"),
        (lambda: MCPServerStdio(command=""), r"MCPServerStdio\(command"),
        (lambda: MCPServerStdio(command="uvx", cache_tools_list=True), "leave it out"),
        (lambda: MCPServerStdio(command="uvx", tool_filter=of_nothing), "a tool, or a context and a tool"),
    ],
)
def test_a_server_that_is_written_wrongly(wrong: Any, said: str) -> None:
    with pytest.raises(errors.FieldError, match=said):
        wrong()


@pytest.mark.parametrize(
    ("server", "field"),
    [
        (MCPServerStdio(command="uvx", env={"SERVICE_KEY": "hunter2"}), r"env\.SERVICE_KEY"),
        (MCPServerStdio(command="uvx", args=["--api-key", "hunter2"]), r"args\.1 \(--api-key\)"),
        (MCPServerStdio(command="uvx", args=["--token=hunter2"]), r"args\.0 \(--token\)"),
        (MCPServerHTTP(url="https://x.org/mcp?apiKey=hunter2"), "url"),
        (MCPServerHTTP(url="https://me:hunter2@x.org/mcp"), "url"),
        (MCPServerSSE(url="https://x.org/sse", headers={"Authorization": "Bearer hunter2"}), r"headers\.Authorization"),
    ],
)
@pytest.mark.parametrize("settings", [EMBEDDED, REMOTE], ids=["embedded", "remote"])
def test_a_literal_key_does_not_travel(server: Server, field: str, settings: Settings) -> None:
    with pytest.raises(errors.KeyInServer, match=field) as caught:
        freeze(plan(task(by=agent(mcps=[server]))), settings)
    assert "hunter2" not in str(caught.value)


def test_what_is_no_key_travels() -> None:
    server = MCPServerStdio(
        command="uvx", args=["--port", "80", "--verbose", "--key", "${A_KEY}"], env={"LANG": "C", "PRIMARY": "x"}
    )
    assert server.spec().args[-1] == "${A_KEY}"


def test_the_package_is_wanted_where_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "find_spec", lambda name: None)
    served = plan(task(by=Agent(role="Clerk", goal="g", backstory="b", mcps=[HERE])))
    with pytest.raises(errors.McpMissing, match=r"Clerk.*pip install 'crewq\[mcp\]'"):
        freeze(served, EMBEDDED)
    assert freeze(served, REMOTE).agents[0].mcps


# -- whether a worker lets them in ---------------------------------------------------------------------------------------


def at(url: str) -> ServerSpec:
    return MCPServerHTTP(url=url).spec()


@pytest.mark.parametrize(
    ("allowed", "server", "admitted"),
    [
        ("uvx", HERE.spec(), True),
        ("/usr/bin/uvx", HERE.spec(), False),
        ("uv", HERE.spec(), False),
        ("", HERE.spec(), False),
        ("https://mcp.example.com", at("https://mcp.example.com/v1/mcp"), True),
        ("https://mcp.example.com/", at("https://mcp.example.com"), True),
        ("https://mcp.example.com/v1", at("https://mcp.example.com/v1/mcp?x=1"), True),
        ("https://mcp.example.com/v1", at("https://mcp.example.com/v11/mcp"), False),
        ("https://mcp.example.com/v1", at("https://mcp.example.com/v1/../v2"), False),
        ("https://mcp.example.com", at("https://mcp.example.com.evil.org/mcp"), False),
        ("https://mcp.example.com", at("http://mcp.example.com/mcp"), False),
        ("https://mcp.example.com", at("https://me@mcp.example.com/mcp"), False),
        ("https://mcp.example.com", at("https://mcp.example.com:8443/mcp"), False),
        ("https", at("https://mcp.example.com/mcp"), False),
    ],
)
def test_a_worker_admits_what_it_is_told_of(allowed: str, server: ServerSpec, admitted: bool) -> None:
    settings = Settings.from_env({"CREWQ_REDIS_URL": "redis://r", "CREWQ_MCP_SERVERS": f"other, {allowed}"})
    if admitted:
        admit(settings, server)
    else:
        with pytest.raises(errors.McpRefused, match="CREWQ_MCP_SERVERS"):
            admit(settings, server)


def test_embedded_mode_admits_all() -> None:
    admit(Settings(redis_url="unix:///x", at_home=True), HERE.spec())


def test_a_worker_without_the_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ImportError("No module named 'mcp'")

    monkeypatch.setattr(tool_servers, "load_mcp", absent)
    with pytest.raises(errors.McpRefused, match=r"pip install 'crewq\[mcp\]'"):
        admit(Settings(at_home=True), HERE.spec())


# -- their tools ---------------------------------------------------------------------------------------------------------


async def never(name: str, arguments: dict[str, Any]) -> str:
    raise AssertionError


def test_tools_of_equal_names_are_told_apart() -> None:
    theirs = [McpTool.of(Offer(name=name), never) for name in ("find", "Find", "list", "uvx_find")]
    found = told_apart(theirs, ["find", "run_python"], HERE.spec())
    assert [tool.public_name for tool in found] == ["uvx_find", "2_uvx_find", "list", "uvx_uvx_find"]
    assert [tool.offer.name for tool in found] == ["find", "Find", "list", "uvx_find"]


def test_a_tool_is_described_as_its_server_does() -> None:
    schema = {"type": "object", "properties": {"at": {"type": "integer"}}, "required": ["at"], "title": "X"}
    made = McpTool.of(Offer(name="Get-It", description="Gets it.", parameters=schema), never)
    described = made.schema_for_model()["function"]
    assert (described["name"], described["description"]) == ("get_it", "Gets it.")
    assert described["parameters"] == {"type": "object", "properties": schema["properties"], "required": ["at"]}
    assert made.parse({"at": "as it is", "more": [1]}) == {"at": "as it is", "more": [1]}
    assert not made.idempotent
    assert McpTool.of(Offer(name="x", idempotent=True), never).idempotent
