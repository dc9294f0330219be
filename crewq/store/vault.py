"""How texts lie in Redis: a short one as it is; a long one, compressed, in a blob that all runs share which have that text.

What is kept in its stead is a reference, which the scripts count (`lua/_blobs.lua`) and otherwise take for a text like any
other: a blob lives for as long as a run refers to it. A verb brings the blobs of its texts along each time, so one that is done
again, as Redis has lost its last second, puts them back too.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import redis

from crewq import errors
from crewq.store.keys import Keys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = 32 * 1024  # bytes from which on a text has a blob of its own
MARK = "\x1a"  # begins what stands for a text: ASCII's "substitute", with which no JSON begins
ITSELF = f"{MARK}="  # before a text that begins with the mark
REFERENCE = re.compile(rf"{MARK}blob:(?P<digest>[0-9a-f]{{64}}):(?P<size>[0-9]{{1,12}})", re.ASCII)


class Blob(NamedTuple):
    """What a reference leads to: the digest of a text, and how many bytes it has."""

    digest: str
    size: int

    @classmethod
    def of(cls, sealed: str) -> Blob | None:
        """The blob that a text of Redis stands for; None: it is no reference."""
        found = REFERENCE.fullmatch(sealed)
        return cls(found["digest"], int(found["size"])) if found else None

    def __str__(self) -> str:
        return f"{MARK}blob:{self.digest}:{self.size}"


class Parcel:
    """The texts that one verb is given, as they are to lie in Redis."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def seal(self, text: str) -> str:
        """What is kept in the stead of a text."""
        content = text.encode("utf-8", "surrogatepass") if len(text) * 4 > LONG else b""
        if len(content) <= LONG:
            return f"{ITSELF}{text}" if text.startswith(MARK) else text
        blob = Blob(hashlib.sha256(content).hexdigest(), len(content))
        self._blobs.setdefault(blob.digest, zstd.compress(content))
        return str(blob)

    @property
    def blobs(self) -> bytes:
        """The blobs that those texts stand for, as the scripts take them apart."""
        return b"".join(b"%b%010d%b" % (digest.encode(), len(kept), kept) for digest, kept in self._blobs.items())


class Vault:
    """Where the texts of runs are read from.

    Args:
        keys: the names of the blobs.
        do: runs a command of Redis.
    """

    def __init__(self, keys: Keys, do: Callable[[Callable[[redis.Redis], Any]], Any]) -> None:
        self._keys = keys
        self._do = do

    def open(self, where: str, sealed: str) -> str:
        """The text that something in Redis stands for.

        Raises:
            RecordBroken: its blob is damaged, or not there.
        """
        return self.open_all([(where, sealed)])[0]

    def open_all(self, sealed: Sequence[tuple[str, str]]) -> list[str]:
        """The texts that these stand for, each with the place where it was found: one round trip for all, and none where
        all are short.

        Raises:
            RecordBroken: a blob is damaged, or not there.
        """
        wanted = {blob.digest for _, one in sealed if one.startswith(MARK) and (blob := Blob.of(one))}
        kept = self._fetch(sorted(wanted)) if wanted else {}
        return [_text(where, one, kept) if one.startswith(MARK) else one for where, one in sealed]

    def _fetch(self, digests: Sequence[str]) -> dict[str, bytes | None]:
        def fetch(client: redis.Redis) -> Any:
            pipeline = client.pipeline(transaction=False)
            for digest in digests:
                # All that is answered otherwise is text; this is not, and is taken as it comes.
                command = ("HGET", self._keys.blob(digest), "text")
                pipeline.execute_command(*command, NEVER_DECODE=True)  # type: ignore[no-untyped-call]
            return pipeline.execute()

        return dict(zip(digests, self._do(fetch), strict=True))


def _text(where: str, sealed: str, kept: dict[str, bytes | None]) -> str:
    if sealed.startswith(ITSELF):
        return sealed.removeprefix(ITSELF)
    if (blob := Blob.of(sealed)) is None:
        raise errors.RecordBroken(where=where, reason="it begins like a reference to a long text, and is none.")
    content = kept[blob.digest]
    if content is None:
        raise errors.RecordBroken(where=where, reason=f"the long text that it refers to, blob:{blob.digest}, is gone.")
    try:
        plain = zstd.ZstdDecompressor().decompress(content, max_length=blob.size + 1)
    except zstd.ZstdError:
        plain = b""
    if hashlib.sha256(plain).hexdigest() != blob.digest:
        raise errors.RecordBroken(
            where=where, reason=f"the long text that it refers to, blob:{blob.digest}, is damaged."
        )
    return plain.decode("utf-8", "surrogatepass")


__all__ = ["LONG", "Blob", "Parcel", "Vault"]
