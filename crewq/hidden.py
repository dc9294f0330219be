"""Secrets of this process's environment, taken out of what errors and log lines say.

Nobody means to tell them: a tool's HTTP client names the address that failed, with the key in it, and a provider repeats the
key that it refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from crewq import errors
from crewq.literal_keys import is_secret_name

MASK: Final = "***"
SHORTEST: Final = 8  # letters: what is shorter is no key, and may be a word that is meant


class Hidden:
    """Hides the secrets of an environment: the values of variables that are called keys, tokens, passwords and the like, and
    the passwords of addresses.

    Args:
        environ: the environment.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        found = {secret for name, value in environ.items() for secret in _secrets(name, value.strip())}
        self._secrets = sorted((one for one in found if len(one) >= SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """`text` with `***` in place of each secret."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def error(self, error: errors.CrewqError) -> errors.CrewqError:
        """`error` with its secrets hidden; the same one, if it tells none."""
        record = error.record()
        hidden = self._in(record)
        return error if hidden == record else errors.CrewqError.from_record(hidden)

    def _in(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._in(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._in(item) for item in value]
        return self(value) if isinstance(value, str) else value


def _secrets(name: str, value: str) -> Iterator[str]:
    if is_secret_name(name, strict=True):
        yield value
        yield quote(value, safe="")  # as it stands in an address
    if "://" in value:
        try:
            parts = urlsplit(value)
        except ValueError:
            return
        yield parts.password or ""
        yield from (text for option, text in parse_qsl(parts.query) if is_secret_name(option, strict=True))


class HidingFormatter(logging.Formatter):
    """Formats as another formatter does, tracebacks included, with the secrets hidden.

    Args:
        formatter: the other one.
        hide: hides them.
    """

    def __init__(self, formatter: logging.Formatter | None, hide: Hidden) -> None:
        super().__init__()
        self._formatter = formatter or logging.Formatter()
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return self._hide(self._formatter.format(record))


__all__ = ["MASK", "Hidden", "HidingFormatter"]
