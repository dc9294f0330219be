"""A worker's servers of tools (MCP): which it may use, what they offer, and how they are connected to and left."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from crewq import errors
from crewq.agent import Connection, McpTool, Offer, call_in, load_mcp
from crewq.calls import Attempt
from crewq.host import Host
from crewq.references import arity, is_function
from crewq.settings import Settings
from crewq.spec import AgentSpec, ServerSpec, ToolFilterContext
from crewq.tools import tool_name

OFFERS: TypeAdapter[list[Offer]] = TypeAdapter(list[Offer])


def admit(settings: Settings, server: ServerSpec) -> None:
    """See that this worker may and can use a server, before it does: what is in a spec alone starts no command and is sent
    no key. In embedded mode the spec is the user's own, and every server will do.

    Raises:
        McpRefused: it may not, or the package is not there.
        ReferenceRefused: this worker may not load the filter of its tools.
    """
    if not settings.at_home and not any(_names(entry, server) for entry in settings.mcp_servers):
        wanted = server.command or "{0.scheme}://{0.netloc}/".format(urlsplit(server.url))
        raise errors.McpRefused(
            server=server.label,
            reason=f"{wanted!r} is not among those that CREWQ_MCP_SERVERS allows.",
            advice=f"Start the worker with CREWQ_MCP_SERVERS={wanted} (a list with commas), if you trust it.",
        )
    try:
        load_mcp()
    except ImportError as error:
        raise errors.McpRefused(
            server=server.label,
            reason=f"the package mcp is not installed here ({error}).",
            advice="Install it where the workers run: pip install 'crewq[mcp]'.",
        ) from error
    if server.chosen_by:
        _filter_of(settings, server.chosen_by)  # an import may take seconds, and the event loop has none to give


def _filter_of(settings: Settings, reference: str) -> Callable[..., Any]:
    found: Callable[..., Any] = settings.imports.resolve(reference, is_function, "a function")
    return found


def _names(entry: str, server: ServerSpec) -> bool:
    """Whether an entry of CREWQ_MCP_SERVERS, a command or the beginning of an address, names a server."""
    if server.transport == "stdio":
        return entry == server.command
    given, wanted = urlsplit(entry), urlsplit(server.url)
    same = (given.scheme, given.netloc) == (wanted.scheme, wanted.netloc)
    folder = given.path.rstrip("/")
    return same and ".." not in wanted.path and f"{wanted.path}/".startswith(f"{folder}/")


class ToolServer:
    """A server as one agent uses it in one piece of work. It is connected to when it is first needed, and again should it
    have gone meanwhile; in an attempt that finds every call of it in the journal, not at all.

    Args:
        host: this worker.
        agent: the agent.
        server: the server.
    """

    def __init__(self, host: Host, agent: AgentSpec, server: ServerSpec) -> None:
        self._host = host
        self._agent = agent
        self._server = server
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def tools(self, attempt: Attempt) -> list[McpTool]:
        """What it offers, of that what the agent is to be given. The list is kept like any answer, so that an agent is
        offered the same in every attempt.

        Raises:
            McpRefused: the agent is to be given a tool that it does not have, or it cannot be used here.
            McpUnreachable: it does not start or answer.
            FunctionBroken: the function that chooses among them failed.
        """
        server = self._server
        digest = hashlib.sha256(f"offers\0{server.model_dump_json()}".encode()).hexdigest()[:32]
        call = attempt.call("tool", f"list the tools of {server.label}", digest)
        text, _ = await attempt.make(call, self._offers, write=str)
        offers = {offer.name: offer for offer in OFFERS.validate_json(text)}
        wanted = offers if server.allowed is None else server.allowed
        if missing := sorted({*wanted} - {*offers}):
            raise errors.McpRefused(
                server=server.label,
                reason=f"it has no tool called {', '.join(map(repr, missing))}.",
                advice=f"Those that it has: {', '.join(offers) or 'none'}.",
            )
        given = [offers[name] for name in offers if name in wanted and name not in server.blocked]
        return [McpTool.of(offer, self._call, f"{digest} {offer.name}") for offer in given]

    def close(self) -> None:
        """Leave it, without waiting for its end."""
        if self._connection:
            self._connection.close()

    async def _offers(self) -> str:
        offers = await (await self._connected()).offers()
        if self._server.chosen_by:
            offers = await self._chosen(offers, self._server.chosen_by)
        return OFFERS.dump_json(offers).decode()

    async def _chosen(self, offers: list[Offer], function: str) -> list[Offer]:
        chooses = _filter_of(self._host.settings, function)
        context = ToolFilterContext(agent=self._agent, server_name=self._server.label)
        before = (context,) if arity(chooses) > 1 else ()
        try:
            return [
                one for one in offers if await call_in(self._host.tool_threads, partial(chooses, *before, _told(one)))
            ]
        except Exception as error:  # whatever the user's own code raises
            reason = f"it raised {errors.explain(error)}"
            raise errors.FunctionBroken(kind="tool_filter", function=function, reason=reason) from error

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        return await (await self._connected()).call(name, arguments)

    async def _connected(self) -> Connection:
        async with self._turn:  # calls of one reply are made side by side
            if self._connection is None or not self._connection.is_open:
                self._connection = Connection(self._server, os.environ)
                self._host.see_out(self._connection.task)
                await self._connection.start()
            return self._connection


def _told(offer: Offer) -> dict[str, Any]:
    """A tool as a filter is shown it (CrewAI's form)."""
    return {"name": offer.name, "description": offer.description, "inputSchema": offer.parameters}


def told_apart(tools: Iterable[McpTool], taken: Iterable[str], server: ServerSpec) -> list[McpTool]:
    """The tools of a server with names that no other tool of the agent has: where one is taken, that of the server goes
    before it."""
    names = set(taken)
    found: list[McpTool] = []
    for tool in tools:
        name, prefixed = tool.public_name, tool_name(f"{server.label}_{tool.name}")
        at = 1
        while name in names:
            name, at = (prefixed if at == 1 else tool_name(f"{at}_{prefixed}")), at + 1
        names.add(name)
        found.append(tool if name == tool.public_name else tool.model_copy(update={"name": name}))
    return found


__all__ = ["ToolServer", "admit", "told_apart"]
