"""Encryption of what lies in Redis, and proof of who wrote it: AES-256-GCM, with a key of its own for each place.

Who has no key can neither read a text, nor write one that is taken for crewq's, nor move one to another place: what is
encrypted for one place can be decrypted for that place only. Names that are made of a content (digests) are made with a key
too, so that nobody can tell by them what he has guessed rightly.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Any

from crewq import errors
from crewq.keyring import PLAIN, Key

NONCE = 12  # bytes, as the standard has it
NAME = 32  # letters of a name that is made of a content


class Cipher:
    """What a process can encrypt and decrypt.

    Args:
        keys: the first encrypts; without any, nothing is encrypted and nothing can be decrypted.

    Raises:
        EncryptionMissing: the package that does it is not installed.
    """

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self._keys = {key.id: key for key in keys if key.id != PLAIN}
        self.first = keys[0].id if keys else PLAIN
        self.takes_plain = not keys or any(key.id == PLAIN for key in keys)
        self._aead: Any = None
        self._refusal: type[Exception] = ValueError
        if self._keys:
            self._aead, self._refusal = _aesgcm()

    @property
    def encrypts(self) -> bool:
        """Whether what is written now is encrypted."""
        return self.first != PLAIN

    def encrypt(self, place: str, content: bytes, key: str = "") -> bytes:
        """A content that is to lie in a place, under a key: the first, unless another is named."""
        nonce = os.urandom(NONCE)
        kept: bytes = self._aead(self._derived(key or self.first, place)).encrypt(nonce, content, place.encode())
        return nonce + kept

    def decrypt(self, place: str, key: str, kept: bytes) -> bytes | None:
        """The content that lies in a place; None: it was not encrypted for that place with that key.

        Raises:
            EncryptionKeyUnknown: this process does not have the key.
        """
        cipher = self._derived(key, place)
        try:
            content: bytes = self._aead(cipher).decrypt(kept[:NONCE], kept[NONCE:], place.encode())
        except (self._refusal, ValueError):  # the latter: it is too short to be anything
            return None
        return content

    def tag(self, place: str, about: str, key: str) -> str:
        """What proves that a text, which anybody may read, was written in a place."""
        return hmac.digest(self._derived(key, f"tag {place}"), about.encode(), "sha256").hex()[:NAME]

    def is_tag(self, place: str, about: str, key: str, tag: str) -> bool:
        """Whether it is the proof.

        Raises:
            EncryptionKeyUnknown: this process does not have the key.
        """
        return hmac.compare_digest(self.tag(place, about, key), tag)

    def name(self, content: str, key: str = "") -> str:
        """What to call a content where names are made of digests; itself, where nothing is encrypted.

        Raises:
            EncryptionKeyUnknown: this process does not have the key.
        """
        key = key or self.first
        if key == PLAIN:
            return content
        return hmac.digest(self._derived(key, "name"), content.encode(), "sha256").hex()[:NAME]

    def names(self, content: str) -> set[str]:
        """All that a content may be called, whichever of the keys was the first."""
        return {self.name(content, key) for key in self._keys} | ({content} if self.takes_plain else set())

    def digest(self, content: bytes) -> str:
        """What a blob of that content is called."""
        if not self.encrypts:
            return hashlib.sha256(content).hexdigest()
        return hmac.digest(self._derived(self.first, "blob"), content, "sha256").hex()

    def _derived(self, key: str, purpose: str) -> bytes:
        """A key for one purpose."""
        if key not in self._keys:
            known = ", ".join(self._keys) or "none"
            raise errors.EncryptionKeyUnknown(where=purpose.removeprefix("tag "), key=key, known=known)
        return self._keys[key].derived(purpose)


def _aesgcm() -> tuple[Any, type[Exception]]:
    """What encrypts, and the error of what was not encrypted so. They are of a package that most do without."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise errors.EncryptionMissing from error
    return AESGCM, InvalidTag


__all__ = ["Cipher"]
