"""The file of a recording: JSON, laid out to be read and reviewed, and safe to write for any number of processes at once.

{
 "crewq_recording": 1,
 "recorded": "2026-11-21T08:50:00+00:00",       when it was begun
 "models": {"openai/gpt-4.1-mini": {...}},       what each model can do
 "calls": [
  {"model": ..., "messages": [...], ...,         the request; a text of several lines is a list of lines
   "answer": {"text": ..., "usage": {...}}}      or "error": what the provider refused it with
 ]
}
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from crewq import errors
from crewq.model import Features, Message, ModelAnswer
from crewq.recording.asked import Asked
from crewq.recording.difference import difference, nearest

VERSION: Final = 1


@dataclass(frozen=True)
class Heard:
    """What came of a request: an answer, or the provider's refusal."""

    answer: ModelAnswer | None = None
    error: errors.CrewqError | None = None


@dataclass(frozen=True)
class Content:
    """What a file holds."""

    recorded: str
    models: dict[str, Features] = field(default_factory=dict)
    calls: tuple[tuple[Asked, Heard], ...] = ()

    @cached_property
    def heard(self) -> dict[str, Heard]:
        """What came of each request, by its digest; of the same request twice, the first counts."""
        return {asked.digest: heard for asked, heard in reversed(self.calls)}


class Recording:
    """A file of recorded calls. Whatever is written goes into it at once, and whole; the first answer to a request stands.

    Args:
        file: where it is.
        ignore: regular expressions of what is not compared in requests.
        take: which recording is wanted: what the file holds of an earlier one does not count; empty: what is there.
    """

    def __init__(self, file: Path, ignore: Sequence[str] = (), take: str = "") -> None:
        self.file = file
        self._ignore = ignore
        self._take = take
        self._known: tuple[Any, Content] | None = None
        self._lock = threading.Lock()

    def features(self, model: str) -> Features | None:
        """What a model can do, if it was recorded.

        Raises:
            RecordingUnusable: the file cannot be read.
        """
        return self._content(model).models.get(model)

    def find(self, asked: Asked) -> Heard | None:
        """What came of a request, if it was recorded.

        Raises:
            RecordingUnusable: the file cannot be read.
        """
        return self._content(asked.model).heard.get(asked.digest)

    def add(self, asked: Asked, heard: Heard, features: Features) -> Heard:
        """Write down what came of a request, unless another process has: what stands now.

        Raises:
            RecordingUnusable: the file cannot be read or written.
        """
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with _alone_in(self.file.parent):
                content = self._content(asked.model)
                if known := content.heard.get(asked.digest):
                    return known
                models = {**content.models, asked.model: features}
                self._write(Content(content.recorded, models, (*content.calls, (asked, heard))))
        except OSError as error:
            advice = "Give it a place that may be written, or run without CREWQ_RECORD."
            raise self._unusable(asked.model, f"{error.strerror}.", advice) from error
        return heard

    def missing(self, asked: Asked) -> errors.ModelError:
        """The error for a request that was not recorded: tells what is different from the one most like it."""
        recorded = [one for one, _ in self._content(asked.model).calls]
        if not recorded:
            return self.absent(asked.model)
        near = nearest(asked, recorded)
        changes = difference(recorded[near], asked)
        said = f"Number {near + 1} in it is most like it (-), and what is asked now (+) differs:\n{changes}"
        return errors.NotRecorded(file=self.file, model=asked.model, difference=said)

    def absent(self, model: str) -> errors.RecordingUnusable:
        """The error where nothing was recorded of a model."""
        reason = "there is nothing of it there." if self.file.exists() else "it is not there."
        advice = (
            "Record it, where the provider's key is set: CREWQ_RECORD=new in front of the command that asked for it."
        )
        return self._unusable(model, reason, advice)

    # -- the file ------------------------------------------------------------------------------------------

    def _content(self, model: str) -> Content:
        """What the file holds now, read again only if it has changed."""
        with self._lock:
            try:
                about = self.file.stat()
            except OSError:
                return self._empty()
            seen = (about.st_ino, about.st_mtime_ns, about.st_size)
            if self._known is None or self._known[0] != seen:
                self._known = seen, self._read(model)
            content = self._known[1]
        return content if self._take in ("", content.recorded) else self._empty()

    def _empty(self) -> Content:
        return Content(self._take or begun_now())

    def _read(self, model: str) -> Content:
        advice = "Mend it by hand, or delete it and record anew: CREWQ_RECORD=new."
        try:
            raw = json.loads(self.file.read_text(encoding="utf-8"))
            if raw["crewq_recording"] > VERSION:
                raise self._unusable(model, "a newer crewq wrote it.", "Upgrade crewq here.")
            calls = tuple((Asked(_joined(call), self._ignore), _heard(call)) for call in raw["calls"])
            models = {name: Features.model_validate(known) for name, known in raw["models"].items()}
            return Content(str(raw["recorded"]), models, calls)
        except json.JSONDecodeError as error:
            reason = f"line {error.lineno} is not JSON: {error.msg}."
            raise self._unusable(model, reason, advice) from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._unusable(model, f"it is no recording of crewq's ({errors.explain(error)}).", advice) from error

    def _write(self, content: Content) -> None:
        raw = {
            "crewq_recording": VERSION,
            "recorded": content.recorded,
            "models": {name: known.model_dump() for name, known in content.models.items()},
            "calls": [_split(asked.parts) | _written(heard) for asked, heard in content.calls],
        }
        new = self.file.with_name(f".{self.file.name}.new")
        new.write_text(json.dumps(raw, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        new.replace(self.file)

    def _unusable(self, model: str, reason: str, advice: str) -> errors.RecordingUnusable:
        return errors.RecordingUnusable(file=self.file, model=model, reason=reason, advice=advice)


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, against threads and processes alike, without leaving a file for it."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def begun_now() -> str:
    """The name of a recording that begins now."""
    return datetime.now(UTC).isoformat()


# -- calls as they stand there ---------------------------------------------------------------------------------


def _heard(call: dict[str, Any]) -> Heard:
    if "error" in call:
        return Heard(error=errors.CrewqError.from_record(call["error"]))
    answer = call["answer"]
    return Heard(answer=ModelAnswer.model_validate({**answer, "text": _text(answer.get("text", ""))}))


def _written(heard: Heard) -> dict[str, Any]:
    if heard.error:
        return {"error": heard.error.record()}
    assert heard.answer is not None
    answer = heard.answer.model_dump(mode="json", exclude_defaults=True)
    return {"answer": {**answer, "text": _lines(heard.answer.text)}}


def _joined(call: dict[str, Any]) -> dict[str, Any]:
    parts = {name: part for name, part in call.items() if name not in ("answer", "error")}
    parts["messages"] = [_with_content(message, _text) for message in parts["messages"]]
    return parts


def _split(parts: dict[str, Any]) -> dict[str, Any]:
    return {**parts, "messages": [_with_content(message, _lines) for message in parts["messages"]]}


def _with_content(message: Message, form: Callable[[Any], Any]) -> Message:
    return {**message, "content": form(message["content"])} if "content" in message else message


def _lines(text: Any) -> Any:
    return text.split("\n") if isinstance(text, str) and "\n" in text else text


def _text(lines: Any) -> Any:
    of_text = isinstance(lines, list) and lines and all(isinstance(line, str) for line in lines)
    return "\n".join(lines) if of_text else lines


__all__ = ["Content", "Heard", "Recording", "begun_now"]
