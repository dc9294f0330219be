"""Which pieces of what there is to be told have most to do with a task: by the words that they share with it (Okapi BM25)."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from typing import Final, NamedTuple

# The usual ones: how soon more of the same word stops to count, and how much less it counts in a longer piece.
SATURATION: Final = 1.5
LENGTH: Final = 0.75
KEPT: Final = 16  # agents' knowledge that is indexed at a time; to index a million characters takes some 0.2 s

_WORD = re.compile(r"\w+")


class Index(NamedTuple):
    """The words of some pieces: how often each is in each, how long each is, and all are on average, and in how many each
    word is."""

    words: tuple[Counter[str], ...]
    lengths: tuple[int, ...]
    mean: float
    pieces_with: Counter[str]


def found(query: str, pieces: tuple[str, ...], most: int, *, lasting: bool = True) -> tuple[str, ...]:
    """The pieces to be told for a task, in their own order; all of them, if there are no more than may be. Of two that have
    as much to do with it, the one that stands before the other.

    Args:
        query: what the task is.
        pieces: of what there is to be told.
        most: how many may be told.
        lasting: whether the same are looked through for other tasks too, as those of an agent's knowledge are.
    """
    if len(pieces) <= most:
        return pieces
    index = _kept_index(pieces) if lasting else _index(pieces)
    wanted = set(_words(query))
    scores = [(_score(wanted, index, at), -at) for at in range(len(pieces))]
    best = sorted(-at for score, at in sorted(scores, reverse=True)[:most] if score > 0)
    return tuple(pieces[at] for at in best)


def _score(query: set[str], index: Index, at: int) -> float:
    words, length = index.words[at], index.lengths[at]
    weight = SATURATION * (1 - LENGTH + LENGTH * length / index.mean) if index.mean else 1.0
    return sum(
        _rarity(word, index) * words[word] * (SATURATION + 1) / (words[word] + weight) for word in query & words.keys()
    )


def _rarity(word: str, index: Index) -> float:
    pieces, with_it = len(index.words), index.pieces_with[word]
    return math.log(1 + (pieces - with_it + 0.5) / (with_it + 0.5))


def _index(pieces: tuple[str, ...]) -> Index:
    words = tuple(Counter(_words(piece)) for piece in pieces)
    lengths = tuple(one.total() for one in words)
    return Index(words, lengths, sum(lengths) / len(lengths), Counter(word for one in words for word in one))


_kept_index = lru_cache(KEPT)(_index)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


__all__ = ["Index", "found"]
