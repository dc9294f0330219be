"""A server of tools that speaks MCP, written with the official package; it writes down what it is asked.

As a process, over stdin and stdout, or over HTTP:

    python -m tests.mcp_server NOTES
    python -m tests.mcp_server NOTES http|sse PORT
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

import anyio
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from tests.waiting import until

ROOT = Path(__file__).parents[1]
PATHS = {"http": "/mcp", "sse": "/sse"}


def server(notes: Path) -> MCPServer:
    """The server; `notes` gets a line for its start and for each call."""
    made = MCPServer("tests")

    def note(line: str) -> None:
        with notes.open("a") as file:
            file.write(f"{line}\n")

    @made.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(left: int, right: int) -> int:
        """Add two numbers."""
        note(f"add {left} {right}")
        return left + right

    @made.tool()
    def pay(amount: int) -> str:
        """Pay, which must not happen twice."""
        note(f"pay {amount}")
        return f"paid {amount}"

    @made.tool()
    def refuse(reason: str) -> str:
        """Fail."""
        note(f"refuse {reason}")
        raise ToolError(reason)

    @made.tool()
    def die() -> str:
        """Take the server down."""
        note("die")
        os._exit(3)

    @made.tool()
    async def sleep(seconds: float) -> str:
        """Take a while."""
        note(f"sleep {seconds}")
        await anyio.sleep(seconds)
        return "rested"

    @made.tool()
    def variable(name: str) -> str:
        """Tell a variable of the environment."""
        return os.environ.get(name, "not set")

    @made.tool()
    def picture() -> list[Image | str]:
        """Show a picture."""
        return [Image(data=b"\x89PNG", format="png"), "A cat."]

    note(f"started {os.getpid()}")
    return _remembering(made)


def _remembering(made: MCPServer) -> MCPServer:
    words: list[str] = []

    @made.tool()
    def remember(word: str) -> str:
        """Remember a word, and tell all that there are."""
        words.append(word)
        return " ".join(words)

    return made


class McpProcess:
    """The server over HTTP. `url` is its address, `notes` what it was asked.

    Args:
        folder: where its notes go.
        transport: `http` or `sse`.
    """

    def __init__(self, folder: Path, transport: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._notes = folder / f"{port}.notes"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mcp_server", str(self._notes), transport, str(port)],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: _listens(port), 30)
        self.origin = f"http://127.0.0.1:{port}"
        self.url = self.origin + PATHS[transport]

    @property
    def notes(self) -> list[str]:
        return self._notes.read_text().splitlines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Serve until stdin is closed, or for ever."""
    notes, *rest = sys.argv[1:]
    made = server(Path(notes))
    match rest:
        case ["http", port]:
            made.run("streamable-http", port=int(port))
        case ["sse", port]:
            made.run("sse", port=int(port))
        case _:
            made.run()


if __name__ == "__main__":
    main()
