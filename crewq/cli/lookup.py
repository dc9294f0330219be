"""What the beginning of an id on the command line stands for."""

from __future__ import annotations

from crewq.handle import find
from crewq.producer import Producer
from crewq.store import Job


def look_up(producer: Producer, beginning: str, *kinds: str) -> tuple[str, str, Job | None]:
    """The whole id, its kind, and the job if it is a task.

    Raises:
        UnknownId, AmbiguousId: no id of these kinds begins so, or several do.
    """
    name = find(producer, beginning, *kinds)
    return producer.store.runs.find(name, kinds)[0]


__all__ = ["look_up"]
