"""A TCP proxy in front of Redis, which can turn into a black hole, or cut every connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Self

PIECE = 65_536


class Proxy:
    """Listens on a port of its own and passes everything on to `port`, in a thread, as a context manager."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen()).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close()).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def swallow(self) -> None:
        """From now on nothing comes through, and nobody is told: packets vanish."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def reset(self) -> None:
        """Cut all connections, and let everything through that comes after."""
        self._do(self._reset()).result(5)

    def _do(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _listen(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while piece := await reader.read(PIECE):
                await self._passing.wait()
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _reset(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()
        self._passing.set()

    async def _close(self) -> None:
        self._server.close()
        await self._reset()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)  # the transports that were aborted close their sockets at the loop's next turn
