"""Numbers that somebody wrote down: what counts as one, and how large one may be."""

from __future__ import annotations

from typing import Final

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


__all__ = ["LARGEST", "amount", "whole"]
