"""The metrics, for a Prometheus that logs in to Flower."""

from __future__ import annotations

from crewq.exporter import exposition
from crewq.pages.handler import Data
from crewq.producer import Producer


class Scrape(Data):
    """All metrics at this moment."""

    async def get(self) -> None:
        """Send them."""
        text, content_type = await self.desk.ask(_metrics, self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        self.finish(text)


def _metrics(producer: Producer, accept: str) -> tuple[bytes, str]:
    return exposition(producer.store, accept)


__all__ = ["Scrape"]
