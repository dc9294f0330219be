"""A request as a recording keeps and compares it: what the model was asked, and nothing of how it was reached.

Whatever could be a secret is left out or crossed out here, before a request is compared or written, so a recording made
with a key fits a replay without one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crewq.model import DEADLINES, ModelRequest

# How a model is reached, and as whom: no part of what it is asked.
WAY: Final = frozenset(
    {
        "api_base", "api_key", "api_version", "base_url", "client", "default_headers", "extra_headers", "headers",
        "max_retries", "num_retries", "organization", "project", "stream", "stream_options", *DEADLINES,
    }
)  # fmt: skip
SECRET_NAME = re.compile(r"(^|_)(key|token|secret|password|passwd|credentials?|authorization)$", re.IGNORECASE)
SHORTEST_SECRET = 8  # letters: a shorter value is a word that may stand anywhere
# Keys of well-known providers, wherever they come from.
SECRET_FORMS = re.compile(
    r"\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,})|\bBearer [\w.~+/-]{16,}=*"
)
IGNORED = "…"  # stands for what is not compared


class Censor:
    """Crosses secrets out: values of variables whose names tell that they hold one, and what looks like a key.

    Args:
        environ: the environment of this process.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        found = {
            value: name for name, value in environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET
        }
        self._secrets = sorted(found.items(), key=lambda item: -len(item[0]))

    def clean(self, value: Any) -> Any:
        """`value`, which is plain JSON, without secrets."""
        if isinstance(value, dict):
            return {
                name: f"<{name}>" if SECRET_NAME.search(name) and isinstance(item, str) else self.clean(item)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        for secret, name in self._secrets:
            text = text.replace(secret, f"<{name}>")
        return SECRET_FORMS.sub("<secret>", text)


@dataclass(frozen=True)
class Asked:
    """A request as it is compared.

    Fields:
        parts: it, as plain JSON without secrets: model, options, messages, tools, answer_schema.
        ignore: regular expressions of what is not compared.
    """

    parts: dict[str, Any]
    ignore: Sequence[str] = ()

    @classmethod
    def of(cls, request: ModelRequest, censor: Censor, ignore: Sequence[str] = ()) -> Asked:
        """`request`, cleaned."""
        options = {name: value for name, value in request.options.items() if name not in WAY}
        parts = {**request.model_dump(), "options": options}
        plain = json.loads(json.dumps({name: part for name, part in parts.items() if part}, default=str))
        return cls(censor.clean(plain), ignore)

    @property
    def model(self) -> str:
        """The model that is asked."""
        return str(self.parts["model"])

    @property
    def digest(self) -> str:
        """The same for requests that are the same, but for what is not compared."""
        text = json.dumps(_without(self.parts, self.ignore), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def lines(self) -> list[tuple[str, str]]:
        """It as lines, each with the part that it is of, for a person to compare."""
        told = [("the model", self.model)]
        for name, value in sorted(self.parts.get("options", {}).items()):
            told.append((f"the option {name}", json.dumps(value, ensure_ascii=False)))
        for tool in self.parts.get("tools", ()):
            told += _told(f"the tool {tool.get('function', {}).get('name', '')}", tool)
        if schema := self.parts.get("answer_schema"):
            told += _told("the schema of the answer", schema)
        for at, message in enumerate(self.parts["messages"], start=1):
            where = f"message {at} ({message['role']})"
            rest = {name: value for name, value in message.items() if name not in ("role", "content") and value}
            told += [line for part in (message.get("content"), rest) if part for line in _told(where, part)]
        return [(where, _without(line, self.ignore)) for where, line in told]


def _told(where: str, value: Any) -> list[tuple[str, str]]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    return [(where, line) for line in text.splitlines()]


def _without(value: Any, ignore: Sequence[str]) -> Any:
    """`value` with what is not compared left out of its texts."""
    if isinstance(value, dict):
        return {name: _without(item, ignore) for name, item in value.items()}
    if isinstance(value, list):
        return [_without(item, ignore) for item in value]
    if isinstance(value, str):
        for pattern in ignore:
            value = re.sub(pattern, IGNORED, value)
    return value


__all__ = ["Asked", "Censor"]
