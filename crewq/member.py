"""What every part of a crew that a person writes has in common: it says what is wrong with a field."""

from __future__ import annotations

import difflib
import hashlib
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from crewq import errors
from crewq.lacking import SWITCHES

P = ParamSpec("P")
Result = TypeVar("Result")


class Member(BaseModel):
    """A part of a crew: knows its own fields, those of CrewAI's that it lacks, and tells them from a slip of the pen."""

    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        validate_assignment=True,
        hide_input_in_errors=True,  # it may be a key
        defer_build=True,  # when one is made, and not when crewq is imported
    )
    lacks: ClassVar[Mapping[str, str]] = {}  # CrewAI's fields that are not here yet, and what to do instead
    lacks_methods: ClassVar[Mapping[str, str]] = {}  # and its methods and properties
    ignores: ClassVar[Mapping[str, str]] = {}  # its fields that are here, and have no effect

    def __init__(self, **given: Any) -> None:
        kind = type(self).__name__
        if "config" in type(self).model_fields:
            given = _with_config(kind, given)
        for name in [name for name in given if name not in type(self).model_fields]:
            if name not in self.lacks:
                raise _unknown(kind, name, type(self).model_fields)
            _refuse(kind, name, given.pop(name), self.lacks[name])
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise _invalid(kind, error) from error
        for name in [name for name in self.ignores if given.get(name)]:
            told = f"{kind}({name}=...) is CrewAI's, and has no effect in crewq: {self.ignores[name]}"
            warnings.warn(told, errors.FieldIgnored, stacklevel=2)

    @classmethod
    def lacking(cls, method: str) -> errors.UnsupportedMethod:
        """The error for a method of CrewAI's, or a field that is looked up, that is not here."""
        advice = cls.lacks_methods.get(method) or cls.lacks[method]
        return errors.UnsupportedMethod(owner=cls.__name__, method=method, advice=advice)

    def copy(self, **_: Any) -> Self:  # CrewAI's name; pydantic's own `copy()` is deprecated
        """Another one like it, whose fields and lists can be changed without changing this one's."""
        copied = self.model_copy()
        for name, value in self:
            if isinstance(value, list):
                vars(copied)[name] = list(value)
        return copied

    if not TYPE_CHECKING:  # a type checker would take any name for one that is there

        def __getattr__(self, name: str) -> Any:
            if name in self.lacks_methods or name in self.lacks:
                raise self.lacking(name)
            return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.lacks:
            return _refuse(type(self).__name__, name, value, self.lacks[name])
        if not name.startswith("_") and name not in type(self).model_fields:
            raise _unknown(type(self).__name__, name, type(self).model_fields)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise _invalid(type(self).__name__, error) from error


def _refuse(kind: str, name: str, value: Any, advice: str) -> None:
    if value:
        raise errors.UnsupportedField(owner=kind, field=f"{name}={value!r}"[:80], advice=advice)


def on_or_off(kind: type[Member], field: str, given: Any) -> bool | None:
    """A field that is switched on or off here, and may be an object in CrewAI.

    Args:
        kind: whose field it is.
        field: its name.
        given: what it was given.

    Raises:
        UnsupportedField: it is an object.
    """
    if given is None or isinstance(given, bool):
        return given
    shown = f"{field}={type(given).__name__}(...)"
    raise errors.UnsupportedField(owner=kind.__name__, field=shown, advice=SWITCHES[field])


def without(lacks: Mapping[str, str]) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """For a method that CrewAI's has further arguments of: they are accepted where they ask for nothing.

    Args:
        lacks: their names, in the order in which CrewAI's has them after its own, and what to do instead.
    """

    def taught(method: Callable[P, Result]) -> Callable[P, Result]:
        positional = [one for one in signature(method).parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]

        @wraps(method)
        def called(*args: P.args, **kwargs: P.kwargs) -> Result:
            own, more = args[: len(positional)], args[len(positional) :]
            asked: dict[str, Any] = dict(zip(lacks, more, strict=False))
            asked |= {name: kwargs.pop(name) for name in [name for name in kwargs if name in lacks]}
            for name in [name for name, value in asked.items() if value]:
                owner = f"{type(args[0]).__name__}.{method.__name__}"
                raise errors.UnsupportedField(owner=owner, field=f"{name}=...", advice=lacks[name])
            plain: Any = method
            result: Result = plain(*own, *more[len(lacks) :], **kwargs)
            return result

        return called

    return taught


def digest_of(*texts: str) -> str:
    """What CrewAI's `key` of texts is: the MD5 of them, with bars between."""
    return hashlib.md5("|".join(texts).encode(), usedforsecurity=False).hexdigest()


def _with_config(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """`given` and the entries of its `config`, which stand where nothing was given or None."""
    config = given.get("config") or {}
    if not isinstance(config, Mapping):
        reason = f"it must be a dict, such as self.{kind.lower()}s_config['name'] in a class under @CrewBase."
        raise errors.InvalidField(owner=kind, field="config=...", reason=reason)
    return given | {name: value for name, value in config.items() if given.get(name) is None}


def _invalid(kind: str, error: ValidationError) -> errors.UsageError:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, errors.UsageError):
        return cause  # of a part, which has said itself what is wrong with it
    where = f"{'.'.join(str(part) for part in first['loc'])}=..." if first["loc"] else "..."
    return errors.InvalidField(owner=kind, field=where, reason=f"{cause or first['msg']}.")


def _unknown(kind: str, name: str, fields: Any) -> errors.UnknownField:
    near = difflib.get_close_matches(name, fields, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return errors.UnknownField(owner=kind, field=name, hint=hint, known=", ".join(fields))


__all__ = ["Member", "digest_of", "on_or_off", "without"]
