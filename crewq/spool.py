"""Paid answers on disk: what Redis cannot take now is kept here too, so that even the worker's death then loses nothing.

Every answer is a file of its own, written before anything waits for Redis and removed once the journal has it. The files
of a worker that died are taken over by any other with the same data directory: by one that runs within a second, else by the
next one that starts.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from crewq import errors
from crewq.store import Call, Job, Journal

log = logging.getLogger("crewq.spool")

PLACE = "spool"


@dataclass(frozen=True)
class Answer:
    """A call's answer as the journal is to have it."""

    call: Call
    answer: str
    usage: str
    seconds: float

    def write(self, journal: Journal) -> str:
        """Have it in the journal; answers the answer that stands."""
        return journal.finish(self.call, self.answer, usage=self.usage, seconds=self.seconds)

    def to_json(self) -> str:
        """As a file."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Answer:
        """What a file holds."""
        raw = json.loads(text)
        call = raw.pop("call")
        return cls(Call(**{**call, "job": Job(**call["job"])}), **raw)


def _as_it_is(where: str, text: str) -> str:  # noqa: ARG001 - nothing is sealed where there are no keys
    return text


class Spool:
    """The answers of one worker process that are not in Redis yet.

    Args:
        directory: where; made with the first answer, readable by its owner only.
        seal: what is written in the stead of a text, which may be a secret; and
        unseal: the text again. Both are told the place.
    """

    def __init__(
        self,
        directory: Path,
        seal: Callable[[str, str], str] = _as_it_is,
        unseal: Callable[[str, str], str] = _as_it_is,
    ) -> None:
        self._directory = directory
        self._seal = seal
        self._unseal = unseal
        self._own: Path | None = None
        self._lock = -1
        self._making = threading.Lock()
        self._left: set[Path] = set()

    @contextmanager
    def holding(self, answer: Answer) -> Iterator[None]:
        """Keep an answer on disk for as long as the block runs."""
        path = self._folder() / f"{uuid.uuid4().hex}.json"
        path.touch(mode=0o600)
        with path.open("w", encoding="utf-8") as file:
            file.write(self._seal(PLACE, answer.to_json()))
            file.flush()
            os.fsync(file.fileno())
        yield  # left behind on purpose if this does not end well
        path.unlink()

    def adopt(self, journal: Journal) -> int:
        """Write down what workers that died have left here; answers how many answers."""
        adopted = 0
        for folder in sorted(self._directory.glob("*")) if self._directory.is_dir() else ():
            if folder != self._own and (lock := _lock(folder)) >= 0:
                try:
                    adopted += self._empty(folder, journal)
                finally:
                    os.close(lock)
        return adopted

    def _empty(self, folder: Path, journal: Journal) -> int:
        adopted = 0
        for path in sorted(folder.glob("*.json")):
            try:
                answer = self._read(path)
            except errors.RecordBroken as error:
                self._leave(path, error)
                continue
            except (ValueError, TypeError, KeyError) as error:
                log.warning("%s is half-written, so its worker died while the answer came: %s", path, error)
            else:
                answer.write(journal)
            path.unlink()
            adopted += 1
        if not any(folder.glob("*.json")):
            _remove(folder)
        return adopted

    def _leave(self, path: Path, error: errors.RecordBroken) -> None:
        """It is paid for, and another may have the key. Somebody looks every second, and says so once."""
        if path not in self._left:
            log.warning("%s is left where it is: %s", path, error)
            self._left.add(path)

    def _read(self, path: Path) -> Answer:
        """What a file holds. One from before there were keys is trusted as they are: nobody else can write to this disk."""
        text = path.read_text(encoding="utf-8")
        return Answer.from_json(text if text.startswith("{") else self._unseal(PLACE, text))

    def close(self) -> None:
        """Remove the own folder; what is still in it is left to the next worker."""
        if self._own:
            if not any(self._own.glob("*.json")):
                _remove(self._own)
            os.close(self._lock)
            self._own = None

    def _folder(self) -> Path:
        with self._making:
            while self._own is None:
                own = self._directory / uuid.uuid4().hex
                own.mkdir(parents=True, mode=0o700)
                if (lock := _lock(own)) >= 0:  # else another has taken it for one that was left behind
                    self._lock, self._own = lock, own
            return self._own


def _lock(folder: Path) -> int:
    """A lock on a folder that the kernel drops when this process dies; -1 while another process has it."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1  # removed meanwhile
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return -1
    if not _is_there(folder / "lock", lock):
        os.close(lock)
        return -1
    return lock


def _is_there(path: Path, file: int) -> bool:
    """Whether an open file is still the one at `path`, which may have been removed and even made anew meanwhile."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def _remove(folder: Path) -> None:
    (folder / "lock").unlink(missing_ok=True)
    with suppress(OSError):  # another looks into it just now, and removes it in its turn
        folder.rmdir()


__all__ = ["Answer", "Spool"]
