"""Limits of a provider that a whole fleet keeps to together: calls and tokens per minute, and calls under way at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase

from crewq.amounts import LARGEST, read_rules, whole


@dataclass(frozen=True)
class Limit:
    """What a model may be asked, over all workers together. None: as much as anybody likes.

    Fields:
        rpm: calls in any one minute.
        tpm: tokens, of questions and answers, in any one minute.
        max_concurrency: calls under way at once.
    """

    rpm: int | None = None
    tpm: int | None = None
    max_concurrency: int | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) is not None for one in fields(self))


@dataclass(frozen=True)
class ModelLimit:
    """A limit for the models whose names fit `models`, in which `*` stands for anything."""

    models: str
    limit: Limit


NAMES = tuple(one.name for one in fields(Limit))


def tightest(limits: Iterable[Limit]) -> Limit:
    """The limit that keeps to all of these."""
    given = list(limits)
    return Limit(**{name: _least(getattr(one, name) for one in given) for name in NAMES})


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)


def limit_of(model: str, limits: Iterable[ModelLimit]) -> Limit:
    """What these say of a model, by its name as litellm takes it."""
    return tightest(one.limit for one in limits if fnmatchcase(model, one.models))


def read_limits(text: str, variable: str) -> tuple[ModelLimit, ...]:
    """Read `openai/* rpm=500 tpm=200000; ollama/* max_concurrency=2`.

    Args:
        text: models and what they may be asked, with semicolons between.
        variable: where it stands, for the error.

    Raises:
        SettingInvalid: it cannot be read.
    """
    known = ", ".join(f"{one}=NUMBER" for one in NAMES)
    rules = read_rules(
        text,
        variable,
        dict.fromkeys(NAMES, whole),
        entries=f"none of {known}, with a whole number from 1 to {LARGEST:g}",
        parts="a model and its limits, such as openai/* rpm=500",
    )
    return tuple(ModelLimit(models, Limit(**found)) for models, found in rules)


__all__ = ["Limit", "ModelLimit", "limit_of", "read_limits", "tightest"]
