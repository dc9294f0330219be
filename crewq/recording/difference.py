"""What changed: a request against the one in a recording that is most like it, for a person to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import TypeAlias

from crewq.recording.asked import Asked

Line: TypeAlias = tuple[str, str]  # the part of the request that it is of, and its text

AROUND = 40  # characters shown before and after what changed in a line
LONGEST = 240  # characters shown of a line
MOST = 40  # lines shown


def nearest(asked: Asked, recorded: Sequence[Asked]) -> int:
    """The position of the request that is most like `asked`."""
    lines = asked.lines()

    def likeness(at: int) -> float:
        return _likeness(recorded[at].lines(), lines)

    return max(range(len(recorded)), key=likeness)


def _likeness(one: list[Line], other: list[Line]) -> float:
    """How alike two requests are, from 0 to 1: by the characters in lines that both have, and by those in the rest."""
    lines = SequenceMatcher(None, one, other, autojunk=False)
    same = sum(
        len(text) + 1 for block in lines.get_matching_blocks() for _, text in one[block.a : block.a + block.size]
    )
    for tag, a1, a2, b1, b2 in lines.get_opcodes():
        if tag == "replace":
            changed = zip(one[a1:a2], other[b1:b2], strict=False)
            same += sum(_shared(before, after) for (_, before), (_, after) in changed)
    return 2 * same / (sum(len(text) + 1 for _, text in (*one, *other)) or 1)


def _shared(before: str, after: str) -> int:
    """How many characters two lines begin and end with in common."""
    start = _common(before, after)
    return start + _common(before[start:][::-1], after[start:][::-1])


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def difference(recorded: Asked, asked: Asked) -> str:
    """What is in the one and not in the other, under the name of the part where it is."""
    told = list(_told(recorded.lines(), asked.lines()))
    more = [f"… and {len(told) - MOST} lines more"] if len(told) > MOST else []
    return "\n".join([*told[:MOST], *more])


def _told(before: list[Line], after: list[Line]) -> Iterator[str]:
    part = ""
    for tag, a1, a2, b1, b2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for where, sign, text in _pairs(before[a1:a2], after[b1:b2]):
            if where != part:
                yield f"  in {where}:"
                part = where
            yield f"    {sign} {text}"


def _pairs(before: list[Line], after: list[Line]) -> Iterator[tuple[str, str, str]]:
    """The lines of a change: a line and what it became under each other, each cut down to what changed in it."""
    for at in range(max(len(before), len(after))):
        old, new = before[at : at + 1], after[at : at + 1]
        if old and new:
            cut_old, cut_new = _cut(old[0][1], new[0][1])
            yield old[0][0], "-", cut_old
            yield new[0][0], "+", cut_new
        else:
            where, text = (old or new)[0]
            yield where, "-" if old else "+", _shortened(text)


def _cut(before: str, after: str) -> tuple[str, str]:
    """Two lines without what is far from where they differ."""
    same = _common(before, after)
    start = max(0, same - AROUND)
    drop = max(0, _common(before[same:][::-1], after[same:][::-1]) - AROUND)
    lead, trail = "…" if start else "", "…" if drop else ""

    def cut(line: str) -> str:
        return lead + _shortened(line[start : len(line) - drop]) + trail

    return cut(before), cut(after)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


__all__ = ["difference", "nearest"]
