"""JSON as models write it: read within bounds, and mended where it is nearly JSON.

A model may write anything, and it is read on the event loop that all tasks of a worker share: so what is without end in its
depth is no JSON here, and what is very long is read, but not mended.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import json_repair

# Deeper than any answer or argument that is meant, and far from what the readers of JSON and of schemas can bear.
DEEPEST: Final = 100
# Mending takes some 20 us for each character, and so at most 2 s.
LONGEST_MENDED: Final = 100_000

_PARTS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


class NotJson(ValueError):
    """A text that is no JSON, or more than is read of it."""


def decoded(text: str) -> Any:
    """The value that `text` is.

    Raises:
        ValueError: it is no JSON, or is nested too deep.
    """
    _check_depth(text)
    return json.loads(text, parse_constant=_refuse)


def first_value(text: str, start: int) -> str:
    """The text of the value that begins at `start`, whatever comes after it.

    Raises:
        ValueError: none does, or it is nested too deep.
    """
    _check_depth(text[start:])
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[start:end]


def mended(text: str) -> Any:
    """The dict or list that `text` was probably meant to be; None: nobody can tell."""
    if len(text) > LONGEST_MENDED:
        return None
    try:
        _check_depth(text)
        value = json_repair.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) else None


def _refuse(constant: str) -> Any:
    raise NotJson(f"{constant} is no value of JSON")


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for part in _PARTS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(part[0], 0)
        if depth > DEEPEST:
            raise NotJson(f"it is nested more than {DEEPEST} deep")


__all__ = ["DEEPEST", "LONGEST_MENDED", "NotJson", "decoded", "first_value", "mended"]
