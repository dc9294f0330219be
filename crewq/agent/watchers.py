"""litellm's callbacks: who is told of each call to a provider, such as Langfuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crewq import errors
from crewq.references import Imports

VARIABLE = "CREWQ_LITELLM_CALLBACKS"


def add_watchers(litellm: Any, names: Sequence[str], imports: Imports) -> None:
    """Have litellm tell these of its calls, beside those that are told already. litellm calls them after the answer and
    reports one that fails, so that no call waits for them or fails with them.

    Args:
        litellm: the module.
        names: names of litellm's own callbacks, or `module:name` of a `CustomLogger` or a function.
        imports: what this worker may load.

    Raises:
        SettingInvalid: litellm has no callback of that name, or the object cannot be had.
    """
    for name in names:
        watcher = _found(name, imports) if ":" in name else _known(litellm, name)
        if watcher not in litellm.callbacks:
            litellm.callbacks.append(watcher)


def _known(litellm: Any, name: str) -> str:
    if name not in litellm._known_custom_logger_compatible_callbacks:
        reason = f"litellm has no callback {name!r}; one of your own is module:name."
        raise errors.SettingInvalid(variable=VARIABLE, value=name, reason=reason)
    return name


def _found(name: str, imports: Imports) -> Any:
    try:
        return imports.resolve(name, _can_watch, "a function, nor an object of a class of litellm's CustomLogger")
    except errors.ReferenceRefused as error:
        raise errors.SettingInvalid(variable=VARIABLE, value=name, reason=str(error)) from error


def _can_watch(thing: Any) -> bool:
    return not isinstance(thing, type) and (callable(thing) or hasattr(thing, "async_log_success_event"))


__all__ = ["add_watchers"]
