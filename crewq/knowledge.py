"""Knowledge: texts and files that agents go by. They are read at kickoff, split into pieces, and travel with the crew; for
each task the pieces that have most to do with it are found by their words, and stand in its prompt.

The names are CrewAI's. It finds pieces by embeddings, which cost a model of their own and a store of vectors; here the search
costs no call, and finds what shares words with the task.
"""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import Field

from crewq import errors
from crewq.member import Member

FOLDER: Final = "knowledge"  # of the working directory, where paths given as texts begin, as in CrewAI
NO_STORE: Final = "there is none: knowledge travels with the crew."
MOST: Final = (
    1_000_000  # characters that travel with an agent or a crew: they are stored with it, and held by each worker
)


class KnowledgeConfig(Member):
    """How many pieces a task is told."""

    lacks: ClassVar[Mapping[str, str]] = {
        "score_threshold": "it is one of embeddings, and here pieces are found by their words."
    }

    results_limit: int = Field(default=5, ge=1)


class BaseKnowledgeSource(Member, ABC):
    """Something that agents go by. Subclass it with a `load_content` that gives texts; or, as for CrewAI, with an `add` that
    puts `self._chunk_text(...)` into `self.chunks`.

    Fields:
        chunk_size: characters of a piece.
        chunk_overlap: how many of them are the end of the piece before.
    """

    lacks: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("storage", "collection_name"), "there is none: knowledge travels with the crew."
    )

    chunk_size: int = Field(default=4000, ge=1)
    chunk_overlap: int = Field(default=200, ge=0)
    chunks: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)  # CrewAI's; used by neither

    @abstractmethod
    def load_content(self) -> dict[Any, str]:
        """The texts, each under a name of its own."""

    def add(self) -> None:
        """Put the pieces of all texts into `chunks`."""
        for text in self.load_content().values():
            self.chunks.extend(self._chunk_text(text))
        self._save_documents()

    def pieces(self) -> list[str]:
        """The texts as they are now, in pieces."""
        read = self.model_copy(update={"chunks": []})
        read.add()
        return [piece for piece in read.chunks if piece.strip()]

    def _chunk_text(self, text: str) -> list[str]:
        step = max(1, self.chunk_size - self.chunk_overlap)
        last = max(1, len(text) - self.chunk_overlap)  # what begins there is the end of the piece before, and no more
        return [text[at : at + self.chunk_size] for at in range(0, last, step)]

    def _save_documents(self) -> None:
        """For sources written for CrewAI: there is nowhere to save them."""


class StringKnowledgeSource(BaseKnowledgeSource):
    """A text."""

    content: str

    def load_content(self) -> dict[Any, str]:
        """The text."""
        return {"": self.content}


class BaseFileKnowledgeSource(BaseKnowledgeSource):
    """Files.

    Fields:
        file_paths: one or several; a text is a path below `knowledge` of the working directory, as in CrewAI.
        file_path: the same, by CrewAI's older name.
    """

    file_paths: Path | str | list[Path | str] = Field(default_factory=list)
    file_path: Path | str | list[Path | str] | None = None

    def load_content(self) -> dict[Any, str]:
        """What is in the files.

        Raises:
            InvalidField: one cannot be read.
        """
        given = self.file_paths or self.file_path or []
        paths = given if isinstance(given, list) else [given]
        if not paths:
            raise self._unreadable("...", "no file is named.")
        return {path: self._read(path if isinstance(path, Path) else Path(FOLDER) / path) for path in paths}

    @abstractmethod
    def text_of(self, raw: str) -> str:
        """What is in a file as a text to be read."""

    def _read(self, path: Path) -> str:
        try:
            return self.text_of(path.read_text(encoding="utf-8"))
        except OSError as error:
            reason = f"it cannot be read: {error.strerror}. A text is a path below {FOLDER}/ of the working directory."
            raise self._unreadable(str(path), reason) from error
        except (ValueError, RecursionError, csv.Error) as error:
            raise self._unreadable(str(path), f"it is not what it should be: {error}.") from error

    def _unreadable(self, path: str, reason: str) -> errors.InvalidField:
        return errors.InvalidField(owner=type(self).__name__, field=f"file_paths={path}", reason=reason)


class TextFileKnowledgeSource(BaseFileKnowledgeSource):
    """Files of text."""

    def text_of(self, raw: str) -> str:
        """All of it."""
        return raw


class CSVKnowledgeSource(BaseFileKnowledgeSource):
    """Files of comma-separated values."""

    def text_of(self, raw: str) -> str:
        """A line for each row."""
        return "\n".join(" ".join(row) for row in csv.reader(raw.splitlines()))


class JSONKnowledgeSource(BaseFileKnowledgeSource):
    """Files of JSON."""

    def text_of(self, raw: str) -> str:
        """A line for each value, with its name."""
        return "\n".join(_lines(json.loads(raw), ""))


def _lines(value: Any, name: str) -> Iterable[str]:
    if isinstance(value, dict):
        return [line for key, one in value.items() for line in _lines(one, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list):
        return [line for one in value for line in _lines(one, name)]
    return [f"{name}: {value}" if name else str(value)]


def pieces_of(sources: Iterable[BaseKnowledgeSource] | None, owner: str) -> tuple[str, ...]:
    """The pieces of all sources, each once, as they travel.

    Args:
        sources: of an agent or a crew.
        owner: whose they are, for an error.

    Raises:
        InvalidField: a file cannot be read, or there is too much of it.
    """
    pieces = tuple(dict.fromkeys(piece for source in sources or () for piece in source.pieces()))
    if (length := sum(map(len, pieces))) > MOST:
        reason = f"it has {length:,} characters, and at most {MOST:,} travel with a crew: give the agents a tool that searches."
        raise errors.InvalidField(owner=owner, field="knowledge_sources=...", reason=reason)
    return pieces


__all__ = [
    "BaseFileKnowledgeSource",
    "BaseKnowledgeSource",
    "CSVKnowledgeSource",
    "JSONKnowledgeSource",
    "KnowledgeConfig",
    "StringKnowledgeSource",
    "TextFileKnowledgeSource",
    "pieces_of",
]
