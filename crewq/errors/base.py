"""What all errors of crewq have in common: the docstring is the message, and the facts fill its blanks."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any, ClassVar


class CrewqError(Exception):
    """Something went wrong in crewq: {reason}"""

    retryable: ClassVar[bool] = False

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        super().__init__(cleandoc(type(self).__doc__ or "").format(**facts))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.facts)

    def record(self) -> dict[str, Any]:
        """What is kept of this error in the store: its name, its message and its facts, all JSON."""
        return {"error": type(self).__name__, "message": str(self), "facts": _plain(self.facts)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> CrewqError:
        """The error that `record` was made from; one that this version does not know becomes a JobBroken."""
        kinds = _named(CrewqError)
        try:
            return kinds[record["error"]](**record["facts"])
        except (LookupError, TypeError, ValueError):  # another version's: unknown, or with other facts
            return kinds["JobBroken"](reason=record["message"])


def _rebuild(kind: type[CrewqError], facts: dict[str, Any]) -> CrewqError:
    return kind(**facts)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _named(root: type[CrewqError]) -> dict[str, type[CrewqError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _named(child)
    return found


def explain(error: BaseException) -> str:
    """One line for a person: the message of a crewq error, or the type and text of a foreign one."""
    if isinstance(error, CrewqError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


__all__ = ["CrewqError", "explain"]
