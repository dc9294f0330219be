"""The keys under which texts are encrypted in Redis, as somebody wrote them down: the first encrypts, all of them decrypt."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from crewq import errors

KEY_BYTES: Final = 32  # of AES-256
PLAIN: Final = "plain"  # in the place of a key: texts that are not encrypted
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}", re.ASCII)


@dataclass(frozen=True)
class Key:
    """A key, and what it is called where something was encrypted with it; `plain` has no secret."""

    id: str
    secret: bytes = field(repr=False)

    def derived(self, purpose: str) -> bytes:
        """A key for one purpose, which tells nothing of those for others."""
        return hmac.digest(self.secret, f"crewq 1 {purpose}".encode(), "sha256")


def read_keys(text: str, variable: str) -> tuple[Key, ...]:
    """Read what is written as `ID:BASE64,ID:BASE64`; `plain` may stand for a key.

    Raises:
        SettingInvalid: it cannot be read. The error shows nothing of it.
    """
    keys = tuple(_read_key(part.strip(), variable) for part in text.split(",") if part.strip())
    if len({key.id for key in keys}) != len(keys):
        raise _invalid(variable, "two keys have the same id.")
    if len(keys) == 1 and keys[0].id == PLAIN:
        raise _invalid(variable, "plain alone encrypts and decrypts nothing: leave the variable empty.")
    return keys


def new_key(name: str) -> str:
    """A key that nobody has seen, as `read_keys` reads it."""
    return f"{name}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def is_key_id(name: str) -> bool:
    """Whether a key can be called that."""
    return name != PLAIN and IDENTIFIER.fullmatch(name) is not None


def _read_key(part: str, variable: str) -> Key:
    if part == PLAIN:
        return Key(PLAIN, b"")
    name, _, encoded = part.partition(":")
    if not is_key_id(name):
        raise _invalid(variable, "each key is written as ID:BASE64, the id in letters, digits and -, _ or a dot.")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except ValueError:  # it is no base64, or not even ASCII
        secret = b""
    if len(secret) != KEY_BYTES:
        raise _invalid(variable, f"the key {name!r} is not {KEY_BYTES} bytes in base64: `crewq key` makes one.")
    return Key(name, secret)


def _invalid(variable: str, reason: str) -> errors.SettingInvalid:
    return errors.SettingInvalid(variable=variable, value="...", reason=reason)


__all__ = ["PLAIN", "Key", "is_key_id", "new_key", "read_keys"]
