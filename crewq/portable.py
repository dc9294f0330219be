"""What travels to a worker by its name, seen from the caller: its reference, or why it has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crewq import errors
from crewq.references import is_function, reference_of
from crewq.settings import Settings


def portable_function(function: Callable[..., Any], what: str, settings: Settings | None = None) -> str:
    """The reference of a function.

    Args:
        function: a callback, a guardrail and the like.
        what: what it is called in an error.
        settings: those of this process; None: it is not known yet where the workers are.

    Raises:
        NotPortable: it has no name that leads to it there, or is no plain function.
    """
    if not is_function(function):
        raise errors.NotPortable(
            what=what,
            reason=f"it is not a plain function but a {type(function).__name__}.",
            advice="Give a function defined with `def` at the top level of a module.",
        )
    return portable(function, what, settings)


def portable(thing: Any, what: str, settings: Settings | None = None) -> str:
    """The reference of a function or a class; arguments and errors are as above."""
    reference = reference_of(thing, what)
    if settings:
        refuse_main(reference, what, settings)
    return reference


def refuse_main(reference: str, what: str, settings: Settings) -> None:
    """See that a reference leads somewhere in another process: the script that was started is called `__main__` only in its
    own.

    Raises:
        NotPortable: it does not.
    """
    if reference.startswith("__main__:") and not settings.embedded:
        raise errors.NotPortable(
            what=what,
            reason="it is defined in the script that was started, which a worker on another machine cannot import.",
            advice="Move it into a module of its own, and name that module in CREWQ_IMPORTS where the workers run.",
        )


__all__ = ["portable", "portable_function", "refuse_main"]
