"""Servers of tools that speak MCP, as an agent names them: `Agent(mcps=[...])`, with CrewAI's names (`crewai.mcp`).

Nothing is connected to here: what stands here travels, and the worker connects. A key does not travel: where one is
wanted, `${NAME}` stands for that variable of the worker's environment.

    Agent(..., mcps=[
        MCPServerStdio(command="uvx", args=["some-server"], env={"API_KEY": "${SOME_API_KEY}"}),
        MCPServerHTTP(url="https://mcp.example.com/mcp", headers={"Authorization": "Bearer ${EXAMPLE_TOKEN}"}),
        "https://mcp.example.com/mcp#search",
    ])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from crewq import errors
from crewq.literal_keys import literal_keys
from crewq.member import Member
from crewq.portable import portable_function
from crewq.references import arity
from crewq.spec import Frozen, ServerSpec, ToolFilterContext

CONNECT_TIMEOUT: Final = 60.0  # seconds: a command such as npx or uvx may have to fetch the server first
CALL_TIMEOUT: Final = 300.0  # seconds: what the official client allows an answer
Chooses: TypeAlias = Callable[..., Any]
LISTED_ONCE: Final = "leave it out: a server is asked once in a task what it offers."


class ToolFilter(Frozen):
    """Which of a server's tools an agent is given.

    Fields:
        allowed: only these; None: all.
        blocked: not these.
    """

    allowed: tuple[str, ...] | None = None
    blocked: tuple[str, ...] = ()


def create_static_tool_filter(
    allowed_tool_names: Sequence[str] | None = None, blocked_tool_names: Sequence[str] | None = None
) -> ToolFilter:
    """A filter by names, as the server calls its tools (CrewAI's function).

    Args:
        allowed_tool_names: only these are given to the agent; None: all.
        blocked_tool_names: these are not, even if they are allowed.
    """
    allowed = None if allowed_tool_names is None else tuple(allowed_tool_names)
    return ToolFilter(allowed=allowed, blocked=tuple(blocked_tool_names or ()))


def create_dynamic_tool_filter(filter_func: Chooses) -> Chooses:
    """A filter by a function of a context and a tool (CrewAI's function): the function as it is.

    Args:
        filter_func: called in the worker, with a `ToolFilterContext` and the tool as a dict.
    """
    return filter_func


class _Server(Member):
    """What all servers have. Times are in seconds.

    Fields:
        tool_filter: which of its tools the agent is given: a filter by names, or a function at the top level of a module,
            which is called in the worker with each tool as a dict (`name`, `description`, `inputSchema`), or before that
            with a `ToolFilterContext`, and says yes or no.
        connect_timeout: how long it may take to start or be reached.
        call_timeout: how long one call of a tool may take.
    """

    lacks: ClassVar[dict[str, str]] = {"cache_tools_list": LISTED_ONCE}

    tool_filter: ToolFilter | Chooses | None = None
    connect_timeout: float = Field(default=CONNECT_TIMEOUT, gt=0)
    call_timeout: float = Field(default=CALL_TIMEOUT, gt=0)

    @field_validator("tool_filter")
    @classmethod
    def _takes_a_tool(cls, given: Any) -> Any:
        if callable(given) and arity(given) not in (1, 2):
            raise ValueError("a filter takes a tool, or a context and a tool: def my_filter(tool)")
        return given

    def spec(self) -> ServerSpec:
        """How it travels.

        Raises:
            KeyInServer: it holds a literal key.
            NotPortable: its filter is a function that cannot travel.
        """
        kept = self.model_dump(mode="json", exclude={"tool_filter", "streamable"}, exclude_none=True)
        chosen = self.tool_filter
        names = chosen.model_dump() if isinstance(chosen, ToolFilter) else {}
        spec = ServerSpec(transport=self._transport(), **kept, **names)
        if chosen and not isinstance(chosen, ToolFilter):
            function = portable_function(chosen, f"The tool_filter of the MCP server {spec.label!r}")
            spec = spec.model_copy(update={"chosen_by": function})
        where = next(literal_keys(kept, strict=True), None)
        if where is not None:
            raise errors.KeyInServer(server=spec.label, field=where)
        return spec

    def _transport(self) -> Literal["stdio", "http", "sse"]:
        raise NotImplementedError


class MCPServerStdio(_Server):
    """A server that the worker starts as a process of its own and talks to over stdin and stdout.

    Fields:
        command: what is started, looked up where the worker runs; it must be among its CREWQ_MCP_SERVERS.
        args: its arguments.
        env: variables of its environment; of the worker's own it is given only PATH, HOME and the like.
    """

    command: str = Field(min_length=1)
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] | None = None

    def _transport(self) -> Literal["stdio", "http", "sse"]:
        return "stdio"


class _Remote(_Server):
    """A server at an address.

    Fields:
        url: its address, which must begin like one of the worker's CREWQ_MCP_SERVERS.
        headers: sent with each request.
        verify: whether its certificate is checked, or the path of a file of authorities, where the worker runs.
    """

    url: str
    headers: dict[str, str] | None = None
    verify: bool | str = True

    @field_validator("url")
    @classmethod
    def _is_address(cls, given: str) -> str:
        if urlsplit(given).scheme not in ("http", "https") or not urlsplit(given).hostname:
            raise ValueError("it must be an address such as https://mcp.example.com/mcp")
        return given


class MCPServerHTTP(_Remote):
    """A server reached over streamable HTTP."""

    streamable: Literal[True] = True  # CrewAI's; a server of the older kind is an MCPServerSSE

    def _transport(self) -> Literal["stdio", "http", "sse"]:
        return "http"


class MCPServerSSE(_Remote):
    """A server reached over HTTP with server-sent events, the older of the two ways."""

    def _transport(self) -> Literal["stdio", "http", "sse"]:
        return "sse"


Server: TypeAlias = MCPServerStdio | MCPServerHTTP | MCPServerSSE


def as_server(given: Any) -> Any:
    """What `Agent(mcps=[...])` makes of an entry: an address is an MCPServerHTTP, whose part after # names the one tool
    that is wanted.

    Raises:
        InvalidField: it is none, or a name of CrewAI's own catalogue.
    """
    if isinstance(given, _Server):
        return given
    if not isinstance(given, str):
        reason = f"{type(given).__name__} is no server: give an address, or an object of a class of crewq.mcp."
        raise errors.InvalidField(owner="Agent", field="mcps=[...]", reason=reason)
    url, _, name = given.partition("#")
    if "://" not in url:
        reason = "it is no address; a server of CrewAI's catalogue has one too: give that, such as https://.../mcp."
        raise errors.InvalidField(owner="Agent", field=f"mcps=[{given!r}]", reason=reason)
    return MCPServerHTTP(url=url, tool_filter=create_static_tool_filter([name]) if name else None)


__all__ = [
    "MCPServerHTTP",
    "MCPServerSSE",
    "MCPServerStdio",
    "Server",
    "ToolFilter",
    "ToolFilterContext",
    "as_server",
    "create_dynamic_tool_filter",
    "create_static_tool_filter",
]
