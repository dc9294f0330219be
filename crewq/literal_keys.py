"""Literal keys: what looks like one, and therefore must not leave the process that has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

# What a field, header or variable is called whose text is a secret.
SENSITIVE: Final = (
    "api_?key|access_?key(_id)?|secret_?key|private_?key|subscription_?key|auth(orization)?|secret|token|password|passwd"
    "|passphrase|credentials?|cookie"
)
SECRET_NAME: Final = re.compile(rf"(^|_)({SENSITIVE})$")
KEY_NAME: Final = re.compile(r"(^|_)key$")  # of a header or a variable of the environment, but not of just any field

# How the keys of providers begin, or what they are made of.
SECRET_SHAPE: Final = re.compile(
    r"\b(sk-(?=[\w-]*\d)[\w-]{16,}|[srp]k_(live|test)_\w{16,}|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}"
    r"|xox[abeoprs]-[\w-]{10,}|(AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,}|hf_[A-Za-z0-9]{20,}|gsk_\w{20,}"
    r"|xai-\w{20,}|pplx-\w{20,}|tvly-[\w-]{16,}|r8_\w{20,}|npm_\w{30,}|pypi-[\w-]{30,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+)|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
BEARER: Final = re.compile(r"\b(bearer|basic|token)\s+(?!\$\{)\S{6,}", re.IGNORECASE)  # the value of a header
REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")  # to a variable of the environment: ${NAME}


def literal_keys(value: Any, name: str = "", *, strict: bool = False) -> Iterator[str]:
    """Where in a value, as JSON has it, a literal key seems to stand.

    Args:
        value: a text, or a list or dict of what may hold one.
        name: what the value is called.
        strict: whether anything called a key is one, as among headers and variables of the environment.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            for found in literal_keys(item, str(key), strict=strict):
                yield f"{name}.{found}" if name else found
    elif isinstance(value, (list, tuple)):
        yield from literal_keys(_named(value), name, strict=strict)
    elif isinstance(value, str) and _is_literal(value, name, strict):
        yield name


def _named(items: list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    """The items by their position, but a text that follows an option of a command line, or its =, by that option."""
    named: dict[str, Any] = {}
    for at, item in enumerate(items):
        option = items[at - 1] if at else ""
        if isinstance(item, str) and item.startswith("-") and "=" in item:
            option, _, item = item.partition("=")  # noqa: PLW2901 - two items in one text
        is_option = isinstance(option, str) and option.startswith("-") and not str(item).startswith("-")
        named[f"{at} ({option})" if is_option else str(at)] = item
    return named


def _is_literal(text: str, name: str, strict: bool) -> bool:
    if SECRET_SHAPE.search(text) or _in_url(text) or (strict and BEARER.search(text)):
        return True
    return bool(text) and not REFERENCE.search(text) and is_secret_name(name, strict)


def is_secret_name(name: str, strict: bool) -> bool:
    """Whether something of that name is a secret. Args: see `literal_keys`."""
    called = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    called = re.sub(r"[^a-z0-9]+", "_", called.lower()).strip("_")
    return bool(SECRET_NAME.search(called) or (strict and KEY_NAME.search(called)))


def _in_url(text: str) -> bool:
    if "://" not in text:
        return False
    try:
        parts = urlsplit(text)
        password, query = parts.password, parse_qsl(parts.query)
    except ValueError:
        return False
    if password and not REFERENCE.search(password):
        return True
    return any(is_secret_name(name, strict=True) and not REFERENCE.search(value) for name, value in query)


__all__ = ["REFERENCE", "is_secret_name", "literal_keys"]
