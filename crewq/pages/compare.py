"""Two runs side by side: what went in, what it took, and what came out, with the difference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from crewq.pages.facts import output_of, read, run_facts, task_facts
from crewq.producer import Producer

BY_WORDS = 2_000  # pieces at most of which a text is compared by words; a longer one by lines
COMPARED = 5_000  # pieces at most that are compared at all

Piece = tuple[str, str]  # "same", "gone" or "new", and the text


def comparison(producer: Producer, a: str, b: str) -> dict[str, Any]:
    """Two runs, task by task.

    Raises:
        UnknownId, AmbiguousId: no run is, or several are, called that.
    """
    pair = [read(producer, name) for name in (a, b)]
    sides = [
        [task_facts(record, producer.reader.runs.spec(record.spec), task) for task in record.tasks] for record in pair
    ]
    outputs = [output_of(record) for record in pair]
    return {
        "a": run_facts(pair[0]),
        "b": run_facts(pair[1]),
        "output": difference(outputs[0] or "", outputs[1] or ""),
        "tasks": list(_pairs(*sides)),
    }


def _pairs(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The tasks of both, those of the same key or else of the same name beside each other."""
    rest = list(right)
    for task in left:
        match = next((other for other in rest if other["key"] == task["key"]), None)
        match = match or next((other for other in rest if other["name"] == task["name"]), None)
        if match:
            rest.remove(match)
        yield _pair(task, match)
    yield from (_pair(None, task) for task in rest)


def _pair(a: dict[str, Any] | None, b: dict[str, Any] | None) -> dict[str, Any]:
    shown = ("id", "name", "state", "agent", "attempts", "usage", "started", "ended", "kept", "edited", "error")
    sides = [side and {name: side[name] for name in shown} for side in (a, b)]
    texts = [(side or {}).get("output") or "" for side in (a, b)]
    asked = [(side or {}).get("description") or "" for side in (a, b)]
    return {"a": sides[0], "b": sides[1], "output": difference(*texts), "description": difference(*asked)}


def difference(a: str, b: str) -> list[Piece]:
    """What makes text `b` of text `a`: by words, or by lines where there are too many."""
    if a == b:
        return [("same", a)] if a else []
    before, after = _pieces(a), _pieces(b)
    if max(len(before), len(after)) > COMPARED:
        return [("gone", a), ("new", b)]
    found: list[Piece] = []
    for word, from_a, to_a, from_b, to_b in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if word == "equal":
            found.append(("same", "".join(before[from_a:to_a])))
            continue
        found += [("gone", "".join(before[from_a:to_a]))] if to_a > from_a else []
        found += [("new", "".join(after[from_b:to_b]))] if to_b > from_b else []
    return found


def _pieces(text: str) -> list[str]:
    words = re.findall(r"\S+\s*|\s+", text)
    return words if len(words) <= BY_WORDS else text.splitlines(keepends=True)


__all__ = ["comparison", "difference"]
