"""A worker's sign of life for whoever runs its container: a file that is touched for as long as work can go on."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from crewq import errors
from crewq.host import Host

log = logging.getLogger("crewq.heartbeat")

PERIOD = 5.0  # seconds between two touches


class Heartbeat:
    """Touches a file from the event loop, so that a loop that stands still shows. Redis being away does not: it comes back,
    and a worker that is started anew would not mend that.

    Args:
        host: whose event loop it is.
        file: what is touched; gone when the worker stops.
        period: seconds between two touches.
    """

    def __init__(self, host: Host, file: Path, period: float = PERIOD) -> None:
        self._file = file
        self._period = period
        self._beating = host.submit(self._beat())

    def stop(self) -> None:
        """Touch it no more, and remove it."""
        self._beating.cancel()
        self._file.unlink(missing_ok=True)

    async def _beat(self) -> None:
        while True:
            try:
                self._file.touch()
            except OSError as error:
                log.warning("%s cannot be touched: %s", self._file, errors.explain(error))
            await asyncio.sleep(self._period)


__all__ = ["PERIOD", "Heartbeat"]
