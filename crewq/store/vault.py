"""How texts lie in Redis: a short one as it is; a long one, compressed, in a blob that all runs share which have that text;
and, where there are keys, each encrypted for its place.

What is kept in the stead of a long one is a reference, which the scripts count (`lua/_blobs.lua`) and otherwise take for a text
like any other: a blob lives for as long as a run refers to it. A verb brings the blobs of its texts along each time, so one
that is done again, as Redis has lost its last second, puts them back too.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import redis

from crewq import errors
from crewq.store.cipher import Cipher
from crewq.store.keys import Keys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = 32 * 1024  # bytes from which on a text has a blob of its own
LITERAL = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)  # a string of JSON
MARK = "\x1a"  # begins what stands for a text: ASCII's "substitute", with which no JSON begins
ITSELF = f"{MARK}="  # before a text that begins with the mark
ROW = re.compile(rf"{MARK}row:(?P<digests>[0-9a-f,]*);")  # before what says how a text is put together of blobs
ENCRYPTED = f"{MARK}key:"  # then the id of the key, a colon, and base64
REFERENCE = re.compile(
    rf"{MARK}blob:(?P<digest>[0-9a-f]{{64}}):(?P<size>[0-9]{{1,12}})(:(?P<key>[\w.-]+):(?P<tag>[0-9a-f]+))?", re.ASCII
)
NOT_FOR_HERE = "was not encrypted for that place with the key {key!r}."
NOT_ENCRYPTED = "is not encrypted, as everything is to be by CREWQ_ENCRYPTION_KEYS."


class Blob(NamedTuple):
    """What a reference leads to: the digest of a text, and how many bytes it has; with a key, its id and a proof that the
    reference was written where it is."""

    digest: str
    size: int
    key: str = ""
    tag: str = ""

    @classmethod
    def of(cls, sealed: str) -> Blob | None:
        """The blob that a text of Redis stands for; None: it is no reference."""
        found = REFERENCE.fullmatch(sealed)
        return cls(found["digest"], int(found["size"]), found["key"] or "", found["tag"] or "") if found else None

    @property
    def name(self) -> str:
        """What it is called, and the place that its content is encrypted for."""
        return f"blob:{self.digest}"

    def __str__(self) -> str:
        return f"{MARK}{self.name}:{self.size}" + (f":{self.key}:{self.tag}" if self.key else "")


class Vault:
    """Where the texts of runs are kept.

    Args:
        keys: the names of the blobs.
        do: runs a command of Redis.
        cipher: what encrypts.
    """

    def __init__(self, keys: Keys, do: Callable[[Callable[[redis.Redis], Any]], Any], cipher: Cipher) -> None:
        self._keys = keys
        self._do = do
        self.cipher = cipher

    def parcel(self) -> Parcel:
        """For the texts of one verb."""
        return Parcel(self)

    def seal(self, where: str, text: str, key: str = "") -> str:
        """What is kept in the stead of a text that has no blob.

        Args:
            where: its place.
            text: the text.
            key: the id of the key to encrypt it with; empty: the first.
        """
        if self.cipher.encrypts or key:
            kept = binascii.b2a_base64(
                self.cipher.encrypt(where, text.encode("utf-8", "surrogatepass"), key), newline=False
            ).decode()
            return f"{ENCRYPTED}{key or self.cipher.first}:{kept}"
        return f"{ITSELF}{text}" if text.startswith(MARK) else text

    def open(self, where: str, sealed: str) -> str:
        """The text that something in Redis stands for; see `open_all`."""
        return self.open_all([(where, sealed)])[0]

    def open_all(self, sealed: Sequence[tuple[str, str]]) -> list[str]:
        """The texts that these stand for, each with the place where it was found: one round trip for all, and none where
        all are short.

        Raises:
            RecordBroken: a blob is damaged, or not there.
            NotAuthentic: one was not written in its place with a key.
            EncryptionKeyUnknown: this process lacks the key of one.
        """
        wanted = {digest for _, one in sealed if one.startswith(MARK) for digest in _digests(one)}
        kept = self._fetch(sorted(wanted)) if wanted else {}
        return [self._text(where, one, kept) for where, one in sealed]

    def _fetch(self, digests: Sequence[str]) -> dict[str, bytes | None]:
        def fetch(client: redis.Redis) -> Any:
            pipeline = client.pipeline(transaction=False)
            for digest in digests:
                # All that is answered otherwise is text; this is not, and is taken as it comes.
                command = ("HGET", self._keys.blob(digest), "text")
                pipeline.execute_command(*command, NEVER_DECODE=True)  # type: ignore[no-untyped-call]
            return pipeline.execute()

        return dict(zip(digests, self._do(fetch), strict=True))

    def _text(self, where: str, sealed: str, kept: Mapping[str, bytes | None]) -> str:
        if row := ROW.match(sealed):
            return self._joined(where, sealed[row.end() :], kept)
        if sealed.startswith(ENCRYPTED):
            return self._decrypted(where, sealed)
        blob = Blob.of(sealed) if sealed.startswith(MARK) else None
        if blob and blob.key:
            self._prove(where, blob)
        elif not self.cipher.takes_plain:
            raise errors.NotAuthentic(where=where, reason=NOT_ENCRYPTED)
        if blob:
            return self._long(where, blob, kept.get(blob.digest))
        if sealed.startswith(MARK) and not sealed.startswith(ITSELF):
            raise errors.RecordBroken(where=where, reason="it begins like a reference to a long text, and is none.")
        return sealed.removeprefix(ITSELF)

    def _decrypted(self, where: str, sealed: str) -> str:
        key, _, encoded = sealed.removeprefix(ENCRYPTED).partition(":")
        try:
            content = self.cipher.decrypt(where, key, binascii.a2b_base64(encoded, strict_mode=True))
        except ValueError:  # it is no base64, or not even ASCII
            content = None
        if content is None:
            raise errors.NotAuthentic(where=where, reason=NOT_FOR_HERE.format(key=key))
        return content.decode("utf-8", "surrogatepass")

    def _joined(self, where: str, sealed: str, kept: Mapping[str, bytes | None]) -> str:
        """A text whose long strings have blobs of their own. Which these are is said where the rest is, and proved with it."""
        rest = "" if ROW.match(sealed) else self._text(where, sealed, kept)
        broken = errors.RecordBroken(where=where, reason="it is not put together of texts.")
        try:
            pieces, blobs = json.loads(rest)
            parts = [Blob.of(f"{MARK}blob:{digest}:{size}") for digest, size in blobs]
            sound = all(parts) and all(isinstance(piece, str) for piece in pieces)
        except (ValueError, TypeError, RecursionError) as error:
            raise broken from error
        if not sound:
            raise broken
        found = (blob._replace(key=_key_of(sealed)) for blob in parts if blob)
        texts = [_literal(self._long(where, blob, kept.get(blob.digest))) for blob in found]
        return "".join(map("".join, zip_longest(pieces, texts, fillvalue="")))

    def _prove(self, where: str, blob: Blob) -> None:
        if not self.cipher.is_tag(where, f"{blob.digest}:{blob.size}", blob.key, blob.tag):
            raise errors.NotAuthentic(where=where, reason=NOT_FOR_HERE.format(key=blob.key))

    def _long(self, where: str, blob: Blob, kept: bytes | None) -> str:
        if kept is None:
            raise errors.RecordBroken(where=where, reason=f"the long text that it refers to, {blob.name}, is gone.")
        content = self.cipher.decrypt(blob.name, blob.key, kept) if blob.key else kept
        if content is None:
            raise errors.NotAuthentic(where=f"{where}, {blob.name},", reason=NOT_FOR_HERE.format(key=blob.key))
        try:
            plain = zstd.ZstdDecompressor().decompress(content, max_length=blob.size + 1)
        except zstd.ZstdError:
            plain = b""
        if len(plain) != blob.size or not (blob.key or hashlib.sha256(plain).hexdigest() == blob.digest):
            raise errors.RecordBroken(where=where, reason=f"the long text that it refers to, {blob.name}, is damaged.")
        return plain.decode("utf-8", "surrogatepass")


class Parcel:
    """The texts that one verb is given, as they are to lie in Redis."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._blobs: dict[str, bytes] = {}

    def seal(self, where: str, text: str) -> str:
        """What is kept in the stead of a text, in its place."""
        if not _is_long(text):
            return self._vault.seal(where, text)
        pieces, strings = _taken_apart(text)
        if not strings:
            return self._whole(where, text)
        blobs = [self._put(string) for string in strings]
        rest = json.dumps([pieces, [(blob.digest, blob.size) for blob in blobs]])
        sealed = self._whole(where, rest) if _is_long(rest) else self._vault.seal(where, rest)
        return f"{MARK}row:{','.join(blob.digest for blob in blobs)};{sealed}"

    def _whole(self, where: str, text: str) -> str:
        cipher, blob = self._vault.cipher, self._put(text)
        if cipher.encrypts:
            tag = cipher.tag(where, f"{blob.digest}:{blob.size}", cipher.first)
            blob = blob._replace(key=cipher.first, tag=tag)
        return str(blob)

    def _put(self, text: str) -> Blob:
        cipher, content = self._vault.cipher, text.encode("utf-8", "surrogatepass")
        blob = Blob(cipher.digest(content), len(content))
        if blob.digest not in self._blobs:
            compressed = zstd.compress(content)
            self._blobs[blob.digest] = cipher.encrypt(blob.name, compressed) if cipher.encrypts else compressed
        return blob

    @property
    def blobs(self) -> bytes:
        """The blobs that those texts stand for, as the scripts take them apart."""
        return b"".join(b"%b%010d%b" % (digest.encode(), len(kept), kept) for digest, kept in self._blobs.items())


# -- texts with long strings in them ---------------------------------------------------------------------------------


def _is_long(text: str) -> bool:
    return len(text) * 4 > LONG and len(text.encode("utf-8", "surrogatepass")) > LONG


def _taken_apart(text: str) -> tuple[list[str], list[str]]:
    """The long strings in a JSON text, and what stands around them: the same answer is a string of the journal, of the
    output and of the conversation, each with something else around it. Put together again, it is the same to the letter."""
    pieces: list[str] = []
    strings: list[str] = []
    at = 0
    for found in LITERAL.finditer(text):
        string = _string(found[0]) if _is_long(found[0]) else None
        if string is not None and _is_long(string):
            pieces.append(text[at : found.start()])
            strings.append(string)
            at = found.end()
    return [*pieces, text[at:]], strings


def _string(literal: str) -> str | None:
    """What a string of JSON says; None: it is none, or can be written in another way too."""
    try:
        string = json.loads(literal)
    except ValueError:
        return None
    return string if _literal(string) == literal else None


def _literal(string: str) -> str:
    return json.dumps(string, ensure_ascii=False)


def _digests(sealed: str) -> list[str]:
    """The blobs that a text stands for."""
    row = ROW.match(sealed)
    found = [digest for digest in row["digests"].split(",") if digest] if row else []
    if blob := Blob.of(sealed[row.end() :] if row else sealed):
        found.append(blob.digest)
    return found


def _key_of(sealed: str) -> str:
    """The id of the key that a text is sealed with; empty: with none."""
    if sealed.startswith(ENCRYPTED):
        return sealed.removeprefix(ENCRYPTED).partition(":")[0]
    blob = Blob.of(sealed)
    return blob.key if blob else ""


__all__ = ["LONG", "Blob", "Parcel", "Vault"]
