"""Interpolation of `{name}` in what a person wrote, as CrewAI does it, less its defects.

A placeholder is a brace, a name (letters, digits, `_` and `-`, not starting with a digit), a brace; any other use of
braces is text. All missing names are reported at once, and a value that was inserted is never expanded again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from crewq import errors

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")
MOST_BITS: Final = 14_000  # a little less than the 4,300 digits beyond which Python reads and writes no number


def names_in(text: str) -> list[str]:
    """The names that `text` asks for, in order of first use."""
    return list(dict.fromkeys(PLACEHOLDER.findall(text)))


def interpolate(text: str, inputs: Mapping[str, Any]) -> str:
    """Replace each placeholder of `text` by `str()` of its input.

    With no inputs at all the braces stay as they are, as in CrewAI.

    Raises:
        KeyError: a name is not in `inputs` (kickoff has checked all of them before).
    """
    if not inputs:
        return text
    return PLACEHOLDER.sub(lambda match: str(inputs[match[1]]), text)


def checked_inputs(inputs: Any) -> dict[str, Any]:
    """A copy of `inputs` in which every value is known to survive JSON.

    Raises:
        InputsNotMapping: `inputs` is not a mapping.
        UnsupportedInput: a value, at any depth, is not str, int, float, bool, None, list or dict, or it holds itself; names
            its path.
    """
    if inputs is None:
        return {}
    if not isinstance(inputs, Mapping):
        raise errors.InputsNotMapping(
            argument="inputs", wanted="a dict, such as {'topic': 'AI'}", type=type(inputs).__name__
        )
    return {_checked_key(key, "inputs"): _shallow(value, f"inputs[{key!r}]") for key, value in inputs.items()}


def _shallow(value: Any, path: str) -> Any:
    try:
        return _checked(value, path)
    except RecursionError:
        raise errors.UnsupportedInput(path=path, type=f"{type(value).__name__}, nested without end") from None


def _checked(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            raise errors.UnsupportedInput(path=path, type="int, and of more digits than JSON's readers take")
        return value
    if isinstance(value, str):
        return _checked_text(value, path)
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise errors.UnsupportedInput(path=path, type=f"float ({value})")
        return value
    if isinstance(value, list):
        return [_checked(item, f"{path}[{at}]") for at, item in enumerate(value)]
    if isinstance(value, dict):
        return {_checked_key(key, path): _checked(item, f"{path}[{key!r}]") for key, item in value.items()}
    raise errors.UnsupportedInput(path=path, type=type(value).__name__)


def _checked_key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise errors.UnsupportedInput(path=f"{path} key {key!r}", type=type(key).__name__)
    return _checked_text(key, f"{path} key {key!r}")


def _checked_text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a pair, as some decoders leave behind
        raise errors.UnsupportedInput(path=path, type=f"{type(text).__name__} that is no Unicode text") from error
    return text


def require(crew: str, texts: Iterator[tuple[str, str]], inputs: Mapping[str, Any]) -> None:
    """See that every placeholder of `texts`, pairs of (where, text), has an input. No inputs at all asks for nothing.

    An input that nothing asks for is no error by itself, as in CrewAI, whose projects pass more than they use; next to one
    that is missing it is named, as it may be the same one in another spelling.

    Raises:
        MissingInputs: naming all that are missing, where they are used, and all that were given and are not used.
    """
    if not inputs:
        return
    used: set[str] = set()
    missing: dict[str, list[str]] = {}
    for where, text in texts:
        for name in names_in(text):
            used.add(name)
            if name not in inputs:
                missing.setdefault(name, []).append(where)
    if missing:
        raise errors.MissingInputs(
            crew=crew,
            names=", ".join(missing),
            places="; ".join(f"{{{name}}} in {', '.join(dict.fromkeys(where))}" for name, where in missing.items()),
            unused="".join(f" Given, and not used: {name!r}." for name in inputs if name not in used),
            example=", ".join(f'"{name}": ...' for name in missing),
        )


__all__ = ["PLACEHOLDER", "checked_inputs", "interpolate", "names_in", "require"]
