"""Recall: of what earlier runs of a crew put out, what a piece of work is told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from pydantic import TypeAdapter

from crewq.agent import found, remembered
from crewq.calls import Attempt
from crewq.host import Host
from crewq.store import Remembered

MOST: Final = 5  # pieces that are told, as many as CrewAI recalls
LENGTH: Final = 2_000  # characters of a piece: where an output is longer, its pieces are looked through
TASK_LENGTH: Final = 400  # characters that are told of the task that it was put out for
PIECES: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])


async def recalled(host: Host, attempt: Attempt, about: str) -> tuple[str, ...]:
    """The pieces that have most to do with some work, as it is told them, the newest first.

    They are looked for once, and stand in the journal from then on as the answer of a call that cost nothing. So whoever goes
    on with the task after a crash or a pause is told the same, whatever other runs have put out or who has deleted them
    meanwhile: it asks its model the same questions, and finds the answers that are paid for. A replay is another run, with a
    journal of its own: the tasks that it does again recall anew.

    Args:
        host: this worker.
        attempt: whose work it is.
        about: what is to be done.
    """
    digest = hashlib.sha256(f"recall\0{about}".encode()).hexdigest()[:32]
    call = attempt.call("tool", "recall earlier runs", digest)

    def look() -> str:
        return PIECES.dump_json(nearest(host.store.memory.newest(call.job.run), about)).decode()

    async def recall() -> str:
        return await asyncio.get_running_loop().run_in_executor(host.store_threads, look)

    text, _ = await attempt.make(call, recall, write=str)
    return PIECES.validate_json(text)


def nearest(known: Iterable[Remembered], about: str) -> tuple[str, ...]:
    """The pieces of what is known that have most to do with some work, in the order in which it is known.

    Args:
        known: outputs, the newest first. One that was put out several times counts once.
        about: what is to be done.
    """
    answers: dict[tuple[str, str], Remembered] = {}
    for one in known:
        answers.setdefault((one.task, one.text), one)
    pieces = tuple(piece for one in answers.values() for piece in _pieces(one))
    return found(about, pieces, MOST, lasting=False)


def _pieces(one: Remembered) -> Iterator[str]:
    for at in range(0, len(one.text), LENGTH):
        yield remembered(one.ended.date(), one.task[:TASK_LENGTH], one.text[at : at + LENGTH])


__all__ = ["nearest", "recalled"]
