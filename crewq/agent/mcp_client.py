"""Servers of tools that speak MCP, over the official client, which is an extra and is imported when it is first needed."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import IO, Any, TypeAlias, TypeVar

from pydantic import Field, ValidationError

from crewq.errors import McpRefused, McpUnreachable, TaskError, explain
from crewq.literal_keys import REFERENCE
from crewq.spec import Frozen, ServerSpec
from crewq.tools import BaseTool

Result = TypeVar("Result")
# Calls one tool of a server, by the name that the server knows it by, and answers its result as a text.
CallTool: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[str]]

PAGES = 100  # of a list of tools, at most: a server that never comes to an end holds nobody up
LAST_WORDS = 600  # bytes of what a server said on stderr, that an error tells
PARTING = 3.0  # seconds that an error waits for a server's last words
HIDDEN = "***"


def load_mcp() -> Any:
    """The package mcp. A worker calls this in a job's thread, as the import takes seconds.

    Raises:
        ImportError: it is not installed.
    """
    import mcp

    # They would log addresses, in which a key may stand, and what servers say.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("mcp.client").setLevel(logging.CRITICAL)
    return mcp


class Offer(Frozen):
    """A tool as its server describes it.

    Fields:
        name: as the server calls it.
        parameters: the JSON schema of its arguments.
        idempotent: whether the server says that it only reads, or that calling it once more changes nothing.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    idempotent: bool = False


class McpTool(BaseTool):
    """A tool of a server. What its arguments must be is for the server to say, so they are passed on as they are."""

    offer: Offer = Field(exclude=True)
    call: CallTool = Field(exclude=True)

    def model_post_init(self, context: Any) -> None:
        """Nothing is to be derived: the server has described it."""

    @classmethod
    def of(cls, offer: Offer, call: CallTool, source: str = "") -> McpTool:
        """The tool that a server offers.

        Args:
            offer: how the server describes it.
            call: calls it.
            source: what tells it from the tools of other servers.
        """
        described = {"name": offer.name, "description": offer.description or offer.name, "idempotent": offer.idempotent}
        made = cls(offer=offer, call=call, **described)
        made._source = source
        return made

    def parse(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(arguments)

    def _parameters(self) -> dict[str, Any]:
        return {"type": "object", **self.offer.parameters}

    def _run(self) -> str:
        raise NotImplementedError(f"{self.name} is used in an event loop.")

    async def _arun(self, **arguments: Any) -> str:
        return await self.call(self.offer.name, arguments)


# -- a connection ------------------------------------------------------------------------------------------


class Connection:
    """A server in use. What the client opens is entered and left in one asyncio task, as its cancel scopes want it; the task
    ends when `close` is called, or when the server does.

    Args:
        server: the server.
        environ: where `${NAME}` is looked up.

    Raises:
        McpRefused: a variable that it names is not set.
    """

    def __init__(self, server: ServerSpec, environ: Mapping[str, str]) -> None:
        self._server, self._hidden = _filled(server, environ)
        self._label = server.label
        self._last_words = ""
        self._enough = asyncio.Event()
        self._client: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._live(), name=f"crewq-mcp {server.label}")

    @property
    def is_open(self) -> bool:
        """Whether it can be asked, or will be once it has started."""
        return not self.task.done() and not self._enough.is_set()

    async def start(self) -> None:
        """Wait until it can be asked.

        Raises:
            McpUnreachable: it does not come to that.
        """
        seconds = self._server.connect_timeout
        await asyncio.wait({self._client, self.task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._client.done():
            return
        timed_out = not self.task.done()
        self.close()
        await asyncio.wait({self.task}, timeout=PARTING)
        raise self._gone(f"it was not ready within {seconds:g} s." if timed_out else None)

    def close(self) -> None:
        """Have it end, soon: a process that does not end by itself is killed after seconds."""
        self._enough.set()
        if not self._client.done():
            self.task.cancel()

    async def offers(self) -> list[Offer]:
        """The tools that it offers.

        Raises:
            McpUnreachable: it does not answer, or has gone.
        """
        found: list[Offer] = []
        cursor: str | None = None
        for _ in range(PAGES):
            ask = partial(self._client.result().list_tools, cursor=cursor)
            page = await self._answer(ask(), self._server.connect_timeout)
            found += [_offer(tool) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Call a tool, and have its result as a text.

        Raises:
            TaskError: the tool failed.
            McpUnreachable: the server does not answer, or has gone; nobody knows whether the call had its effect.
        """
        result = await self._answer(self._client.result().call_tool(name, arguments), self._server.call_timeout)
        text = "\n".join(_as_text(block) for block in result.content)
        if result.is_error:
            raise TaskError(reason=text or "the server said no more than that.")
        if not text and result.structured_content is not None:
            return str(result.model_dump_json(include={"structured_content"}))
        return text

    async def _live(self) -> None:
        with tempfile.TemporaryFile() as stderr:
            try:
                async with _opened(self._server, stderr) as client:
                    self._client.set_result(client)
                    await self._enough.wait()
            finally:
                stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - LAST_WORDS))
                self._last_words = stderr.read().decode(errors="replace").strip()

    async def _answer(self, question: Coroutine[Any, Any, Result], seconds: float) -> Result:
        """What the server answers, unless it has gone: then the client would wait for ever."""
        asking = asyncio.ensure_future(question)
        try:
            await asyncio.wait({asking, self.task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asking.cancel()
        if asking.done() and not asking.cancelled() and not self._has_closed(asking.exception()):
            error = asking.exception()
            if error is not None:
                raise McpUnreachable(server=self._label, reason=self._masked(_said(error))) from error
            return asking.result()
        if asking.done() or self.task.done():
            self.close()
            await asyncio.wait({self.task}, timeout=PARTING)
            raise self._gone()
        raise McpUnreachable(server=self._label, reason=f"it did not answer within {seconds:g} s.")

    def _has_closed(self, error: BaseException | None) -> bool:
        from mcp.types import CONNECTION_CLOSED

        return getattr(error, "code", None) == CONNECTION_CLOSED

    def _gone(self, reason: str | None = None) -> McpUnreachable:
        error = None if self.task.cancelled() or not self.task.done() else self.task.exception()
        error = _innermost(error) if error else None
        parts = [reason or (_said(error) if error else "it has gone.")]
        if isinstance(error, OSError) and self._server.command and not self._client.done():
            parts = [f"its command {self._server.command!r} cannot be started: {error.strerror or error}."]
        if self._last_words:
            parts.append(f"Its last words: {self._last_words}")
        return McpUnreachable(server=self._label, reason=self._masked(" ".join(parts)))

    def _masked(self, text: str) -> str:
        """`text` without the secrets that this server was given."""
        for secret in self._hidden:
            text = text.replace(secret, HIDDEN)
        return text


def _filled(server: ServerSpec, environ: Mapping[str, str]) -> tuple[ServerSpec, list[str]]:
    """The server with each `${NAME}` as this environment has it, and what that put in."""
    text = server.model_dump_json()
    missing = sorted({name for name in REFERENCE.findall(text) if name not in environ})
    if missing:
        raise McpRefused(
            server=server.label,
            reason=f"{', '.join(missing)} must be in the environment of the worker, and is not.",
            advice="Set it where the workers run, then `crewq replay` the task.",
        )

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return REFERENCE.sub(lambda found: environ[found[1]], value)
        if isinstance(value, tuple):
            return tuple(fill(item) for item in value)
        return {name: fill(item) for name, item in value.items()} if isinstance(value, dict) else value

    fields = {name: fill(getattr(server, name)) for name in ("args", "env", "url", "headers")}
    hidden = sorted({environ[name] for name in REFERENCE.findall(text)} - {""}, key=len, reverse=True)
    return server.model_copy(update=fields), hidden


@asynccontextmanager
async def _opened(server: ServerSpec, stderr: IO[bytes]) -> Any:
    async with AsyncExitStack() as stack:
        transport = await _transport(server, stderr, stack)
        yield await stack.enter_async_context(load_mcp().Client(transport))


async def _transport(server: ServerSpec, stderr: IO[bytes], stack: AsyncExitStack) -> AbstractAsyncContextManager[Any]:
    if server.transport == "stdio":
        from mcp.client.stdio import StdioServerParameters, stdio_client

        how = StdioServerParameters(command=server.command, args=list(server.args), env=server.env)
        return stdio_client(how, errlog=stderr)  # type: ignore[arg-type]
    import httpx2

    def http(headers: Any = None, timeout: Any = None, auth: Any = None) -> Any:
        timeout = timeout or httpx2.Timeout(server.connect_timeout, read=server.call_timeout)
        return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, verify=server.verify)

    if server.transport == "sse":
        from mcp.client.sse import sse_client

        return sse_client(server.url, headers=server.headers, httpx_client_factory=http)
    from mcp.client.streamable_http import streamable_http_client

    client = await stack.enter_async_context(http(server.headers))
    return streamable_http_client(server.url, http_client=client)


# -- what a server says ------------------------------------------------------------------------------------


def _offer(tool: Any) -> Offer:
    hints = tool.annotations
    idempotent = bool(hints and (hints.read_only_hint or hints.idempotent_hint))
    described = tool.description or tool.title or ""
    return Offer(name=tool.name, description=described, parameters=tool.input_schema, idempotent=idempotent)


def _as_text(block: Any) -> str:
    """A part of a result, in words: what is no text is named, not shown."""
    match block.type:
        case "text":
            return str(block.text)
        case "resource":
            return str(getattr(block.resource, "text", f"[not shown: {block.resource.uri}]"))
        case "resource_link":
            return f"{block.name}: {block.uri}"
        case kind:
            return f"[not shown: {kind}, {getattr(block, 'mime_type', 'of an unknown type')}]"


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _said(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return f"its answer is not what MCP has there: {str(error).splitlines()[0]}."
    return getattr(error, "message", None) or explain(error)


__all__ = ["CallTool", "Connection", "McpTool", "Offer", "load_mcp"]
