"""Numbers that somebody wrote down: what counts as one, how large one may be, and rules that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from crewq import errors

Number = TypeVar("Number", int, float)

LARGEST: Final = 10**15  # Redis's scripts, JSON's readers and Python's floats all have whole numbers up to here exactly
MOST_DIGITS: Final = 32  # of a number that is looked at: Python takes minutes over millions, and refuses thousands


def whole(text: str) -> int | None:
    """The whole number from 1 to `LARGEST` that a text is; None: it is none."""
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        return None
    number = int(text)
    return number if 1 <= number <= LARGEST else None


def amount(text: str) -> float | None:
    """The number above 0 and up to `LARGEST`, such as 0.50, that a text is; None: it is none."""
    if not text.replace(".", "", 1).isdecimal():
        return None
    number = float(text)
    return number if 0 < number <= LARGEST else None


def read_rules(
    text: str, variable: str, readers: Mapping[str, Callable[[str], Number | None]], *, entries: str, parts: str
) -> Iterator[tuple[str, dict[str, Number]]]:
    """Read what is written as `PATTERN NAME=NUMBER NAME=NUMBER; PATTERN NAME=NUMBER`.

    Args:
        text: patterns and what goes for each, with semicolons between.
        variable: where it stands, for the error.
        readers: what reads the number of each name; None: it is none.
        entries: what the error says of one that cannot be meant: "'x=1' is ...".
        parts: what each must be, for the error: "each part must be ...".

    Yields:
        A pattern and its numbers by name, of which there is at least one.

    Raises:
        SettingInvalid: it cannot be read.
    """
    for pattern, *words in (part.split() for part in text.split(";") if part.strip()):
        found: dict[str, Number] = {}
        for word in words:
            name, _, written = word.partition("=")
            number = readers[name](written) if name in readers else None
            if number is None:
                raise errors.SettingInvalid(variable=variable, value=text, reason=f"{word!r} is {entries}.")
            found[name] = number
        if not found or "=" in pattern:
            reason = f"each part must be {parts}; semicolons stand between them."
            raise errors.SettingInvalid(variable=variable, value=text, reason=reason)
        yield pattern, found


__all__ = ["LARGEST", "amount", "read_rules", "whole"]
