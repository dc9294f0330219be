"""A run as it happens: its events as server-sent events, which go on where the browser has stopped to listen.

An event's id is its place in the run's stream, so a browser that comes back says by itself what it has seen
(Last-Event-ID). Each listener asks anew a few times in a second: a read that waited would hold a thread and a connection,
for as many as listen.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from crewq import errors
from crewq.events import Event, Token
from crewq.pages.facts import run_of
from crewq.pages.handler import Data
from crewq.producer import Producer

PAUSE: Final = 0.2  # seconds between two looks at a run that goes on
ALIVE_EVERY: Final = 15.0  # seconds: proxies cut a connection in which nothing is said
AT_ONCE: Final = 500  # events of one look
PLACE: Final = re.compile(r"\d{1,19}-\d{1,19}")
BEGINNING: Final = "0-0"


class Feed(Data):
    """The events of one run; when it has ended, the last one is followed by `end`, or by `gone` if it was forgotten."""

    async def get(self, name: str) -> None:
        """Send what happens until the run has ended, or nobody listens any more."""
        run = await self.desk.ask(run_of, name)
        after = self._seen()
        self.set_header("Content-Type", "text/event-stream; charset=UTF-8")
        self.set_header("X-Accel-Buffering", "no")  # nginx would collect them
        try:
            await self._follow(run, after)
        except StreamClosedError:
            return

    def _seen(self) -> str:
        """The last event that the browser has.

        Raises:
            HTTPError: what it says is no id of an event.
        """
        seen = self.request.headers.get("Last-Event-ID", "") or self.get_query_argument("after", "") or BEGINNING
        if not PLACE.fullmatch(seen):
            raise HTTPError(400, "The id of an event has the form 1234-0.")
        return seen

    async def _follow(self, run: str, after: str) -> None:
        said = time.monotonic()
        while True:
            events, state = await self.desk.ask(look, run, after)
            self.write("".join(map(message, events)))
            after = events[-1].id if events else after
            if not events and (state is None or state in ("completed", "failed", "cancelled")):
                self.write(f"event: {'end' if state else 'gone'}\ndata: {{}}\n\n")
                return
            if not events and time.monotonic() - said > ALIVE_EVERY:
                self.write(": still here\n\n")
            if self._write_buffer:
                said = time.monotonic()
                await self.flush()
            if len(events) < AT_ONCE:
                await asyncio.sleep(PAUSE)


def look(producer: Producer, run: str, after: str) -> tuple[list[Event], str | None]:
    """The next events of a run; and its state, read before them, so that one which has ended has said its last word."""
    state = producer.reader.runs.state(run)
    try:
        events = producer.reader.runs.events(run, after, count=AT_ONCE)
    except errors.RecordBroken:
        events = []  # an id that Redis does not take
    return events, state


def message(event: Event) -> str:
    """An event as it is sent; JSON has no line breaks of its own. A reader of a run that is over needs no pieces of answers."""
    if isinstance(event, Token) and event.tool:
        return ""
    return f"id: {event.id}\ndata: {event.model_dump_json(exclude={'run'}, exclude_none=True)}\n\n"


__all__ = ["Feed", "look", "message"]
