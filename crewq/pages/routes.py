"""Which path leads where. Flower puts its URL prefix before each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from tornado.routing import URLSpec
from tornado.web import HTTPError, StaticFileHandler, url

from crewq.handle import find
from crewq.pages.actions import DEEDS, Act
from crewq.pages.compare import comparison
from crewq.pages.desk import Desk
from crewq.pages.facts import run_page
from crewq.pages.feed import Feed
from crewq.pages.handler import HEADERS, Data, Handler
from crewq.pages.lists import Filter, page_of_batch, page_of_batches, page_of_runs, state_called, totals
from crewq.pages.scrape import Scrape
from crewq.pages.tally import batch_page
from crewq.producer import Producer
from crewq.store import Span

STATIC: Final = Path(__file__).parent / "static"
NAME: Final = "([0-9a-fA-F-]{1,36})"  # an id, or the beginning of one
MOST: Final = 200  # runs of one page
FAR: Final = 10**15


class Page(Handler):
    """The frame of a page; a script fills it."""

    def initialize(self, desk: Desk, page: str = "", title: str = "") -> None:
        """What Tornado gives it with each request."""
        super().initialize(desk)
        self._page, self._title = page, title

    def get(self, name: str = "") -> None:
        """Send it."""
        if self._finished:
            return
        options = self.flower_options
        self.render(
            "crewq/page.html",
            page=self._page,
            title=self._title,
            name=name,
            base=self.base,
            read_only=options.read_only,
        )


class Assets(StaticFileHandler):
    """Scripts and styles, asked for anew each time and sent again only if they have changed."""

    def set_extra_headers(self, path: str) -> None:
        """As those of a page, but that they may be kept."""
        for name, value in {**HEADERS, "Cache-Control": "no-cache"}.items():
            self.set_header(name, value)


class RunsData(Data):
    """Runs that fit a filter."""

    async def get(self) -> None:
        """A page of them."""
        after = self.get_query_argument("after", "")
        if after and not after.partition(".")[0].isdecimal():
            raise HTTPError(400, "after must be what the page before answered as next.")
        self.answer(await self.desk.ask(page_of_runs, self.wanted(), max(1, self.number("limit", 50, MOST)), after))

    def wanted(self) -> Filter:
        """What was asked for.

        Raises:
            HTTPError: there is no such state, or a time is none.
        """
        state = self.get_query_argument("state", "")
        try:
            known = state_called(state)
        except ValueError as error:
            raise HTTPError(400, "There is no such state.") from error
        until = self.number("until", 0, FAR)
        span = Span(known, self.number("since", 0, FAR), until or None)
        return Filter(span, self.get_query_argument("crew", ""), self.get_query_argument("text", ""))


class TotalsData(RunsData):
    """What runs that fit a filter have cost together."""

    async def get(self) -> None:
        """Their sums."""
        self.answer(await self.desk.ask(totals, self.wanted()))


class BatchesData(Data):
    """All batches."""

    async def get(self) -> None:
        """A page of them."""
        count = max(1, self.number("limit", 50, MOST))
        self.answer(await self.desk.ask(page_of_batches, count, self.number("offset", 0, FAR)))


class RunData(Data):
    """One run."""

    async def get(self, name: str) -> None:
        """All of it."""
        self.answer(await self.desk.ask(run_page, name))


class BatchData(Data):
    """One batch."""

    async def get(self, name: str) -> None:
        """All of it."""
        self.answer(await self.desk.ask(_batch, name))


class BatchRunsData(Data):
    """The runs of one batch."""

    async def get(self, name: str) -> None:
        """A page of them."""
        count = max(1, self.number("limit", 50, MOST))
        self.answer(await self.desk.ask(_batch_runs, name, count, self.number("offset", 0, FAR)))


class CompareData(Data):
    """Two runs."""

    async def get(self) -> None:
        """What is alike in them, and what is not."""
        names = self.get_query_argument("a", ""), self.get_query_argument("b", "")
        if not all(names):
            raise HTTPError(400, "Say which two runs: ?a=ID&b=ID.")
        self.answer(await self.desk.ask(comparison, *names))


class Nothing(Data):
    """Any other path of ours."""

    def get(self) -> None:
        """There is nothing."""
        raise HTTPError(404)


def _batch(producer: Producer, name: str) -> dict[str, Any]:
    return batch_page(producer, find(producer, name, "batch"), int(time.time() * 1000))


def _batch_runs(producer: Producer, name: str, count: int, offset: int) -> dict[str, Any]:
    return page_of_batch(producer, find(producer, name, "batch"), count, offset)


def routes(desk: Desk) -> list[URLSpec]:
    """Every path of crewq's pages, with what answers it."""

    def page(pattern: str, page: str, title: str) -> URLSpec:
        return url(f"/crewq{pattern}", Page, {"desk": desk, "page": page, "title": title}, name=f"crewq-{page}")

    def data(pattern: str, handler: type[Data]) -> URLSpec:
        return url(f"/crewq/api{pattern}", handler, {"desk": desk})

    actions = "|".join(sorted({action for _, action in DEEDS}))
    return [
        page("/runs", "runs", "Runs"),
        page(f"/runs/{NAME}", "run", "Run"),
        page(f"/batches/{NAME}", "batch", "Batch"),
        page("/compare", "compare", "Compare"),
        data("/runs", RunsData),
        data("/totals", TotalsData),
        data("/batches", BatchesData),
        data(f"/runs/{NAME}", RunData),
        data(f"/runs/{NAME}/events", Feed),
        data(f"/batches/{NAME}", BatchData),
        data(f"/batches/{NAME}/runs", BatchRunsData),
        data("/compare", CompareData),
        data(f"/(runs|batches)/{NAME}/({actions})", Act),
        url("/crewq/metrics", Scrape, {"desk": desk}),
        url(r"/crewq/static/(.*)", Assets, {"path": str(STATIC)}),
        url(r"/crewq(?:/.*)?", Nothing, {"desk": desk}),
    ]


__all__ = [
    "Assets",
    "BatchData",
    "BatchRunsData",
    "BatchesData",
    "CompareData",
    "Nothing",
    "Page",
    "RunData",
    "RunsData",
    "TotalsData",
    "routes",
]
