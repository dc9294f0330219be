"""Whether everything is forgotten in the end: runs are deleted or their time passes, and then Redis is looked through, key
by key, for what was not there at the beginning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from crewq.settings import DAY, Settings
from crewq.states import RunState
from crewq.store import Store
from crewq.store.keys import UNFINISHED

# What there is once, or once for each crew, lane or worker, however many runs there were.
LASTING = re.compile(
    r"\{\w+\}:(spec:\w+|lanes|watermark|probed|probe:.+|boot|healing|swept|silence|workers|workers:about|slots|weights|ended|metrics|limit:.+|costs|costs:.+|reserved:.+)"
    r"|_kombu\.binding\..+|.+\.pidbox|.+\.reply\.celery\.pidbox"
    # What a worker that died had just taken: Celery gives it back after its visibility timeout, to no effect.
    r"|unacked|unacked_index|unacked_mutex"
)
SIZE = 64 * 1024  # bytes that one of them may take ...
FEED = re.compile(r"\{\w+\}:ended")  # ... but for the feed of ends, which is cut at a number of entries
RESULTS = "celery-task-meta-*"


def holdings(client: Any) -> dict[str, int]:
    """Every key of a database, and how many bytes it takes."""
    return {key: int(client.memory_usage(key) or 0) for key in client.scan_iter(count=1000)}


def bytes_of(*clients: Any) -> int:
    """How many bytes all keys of these databases take."""
    return sum(sum(holdings(client).values()) for client in clients)


def forget(client: Any, settings: Settings, now: float, runs: Sequence[str]) -> None:
    """Delete every other run as a person does, and let the time of the others, of all batches and of Celery's results pass.

    Args:
        client: of the store's database.
        settings: of the store.
        now: its time.
        runs: all of which there are any.
    """
    later = now + UNFINISHED + DAY
    with (
        closing(Store(settings, patience=0.0, client=client)) as store,
        closing(Store(settings, patience=0.0, client=client, clock=lambda: int(later * 1000))) as future,
    ):
        for run in runs[::2]:
            if RunState(store.runs.state(run) or "queued").ended:
                store.runs.delete(run)
        count = -1
        while count != (count := client.zcard(f"{{{settings.namespace}}}:expires")):
            future.runs.sweep(grace=0.0, max_attempts=1)
    for key in client.scan_iter(RESULTS, count=1000):
        if 0 < client.ttl(key) <= DAY:
            client.delete(key)


def remains(client: Any, before: Mapping[str, int], gone: Sequence[str]) -> list[str]:
    """What a database holds that it should not, once everything is forgotten.

    Args:
        client: of the database.
        before: what it held at the beginning.
        gone: the runs of which nothing may be left.
    """
    after = holdings(client)
    found = [
        f"the key {key} of {size} bytes" for key, size in after.items() if not (key in before or LASTING.fullmatch(key))
    ]
    found += [
        f"the key {key}, which grew from {before.get(key, 0)} to {size} bytes"
        for key, size in after.items()
        if LASTING.fullmatch(key) and size > max(SIZE, before.get(key, 0)) and not FEED.fullmatch(key)
    ]
    return found + [f"in {key} the entry {member}" for key, member in _entries(client, after) if _names(member, gone)]


def _entries(client: Any, keys: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(key, member) for key in keys if client.type(key) == "zset" for member in client.zrange(key, 0, -1)]


def _names(text: str, runs: Sequence[str]) -> bool:
    return not set(runs).isdisjoint(re.split(r"[:|]", text))


__all__ = ["bytes_of", "forget", "holdings", "remains"]
