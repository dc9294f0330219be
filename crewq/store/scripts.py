"""Lua scripts as typed Python functions.

A verb is declared once as a method without a body; its script is the file of the same name in `lua/`. The names of its
arguments stand in the script's `-- args:` line and are checked against the method's when the module is imported, so a
script and its callers cannot drift apart.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any, Protocol, TypeVar

from crewq.states import RUN_MOVES, TASK_MOVES
from crewq.store.meters import BOUNDS

Declared = TypeVar("Declared", bound=Callable[..., Any])
ARGS = re.compile(r"^-- args:(.*)$", re.MULTILINE)
USES = re.compile(r"^-- uses: (\w+)$", re.MULTILINE)


class Caller(Protocol):
    """Whoever can run a script: the store."""

    def run_script(self, name: str, arguments: list[Any]) -> Any:
        """Run the script `name` with its arguments in order."""
        ...


def verb(declared: Declared) -> Declared:
    """Make a declared method call the script of its name.

    Raises:
        TypeError: the script's `-- args:` line names other arguments.
    """
    name = declared.__name__
    wanted = [parameter for parameter in inspect.signature(declared).parameters if parameter != "self"]
    written = arguments_of(name)
    if wanted != written:
        raise TypeError(f"The verb {name} takes {wanted}, and lua/{name}.lua takes {written}.")

    def call(self: Caller, **arguments: Any) -> Any:
        return self.run_script(name, [arguments[parameter] for parameter in wanted])

    call.__name__, call.__doc__ = name, declared.__doc__
    return call  # type: ignore[return-value]


@cache
def source_of(name: str) -> str:
    """The text of a script."""
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def arguments_of(name: str) -> list[str]:
    """The arguments that a script names, in order."""
    found = ARGS.search(source_of(name))
    return found[1].split() if found else []


def assemble(name: str, config: Mapping[str, int]) -> str:
    """The whole script: the tables that the prelude goes by, the prelude, what it stands on and the lines that it lets runs go
    from, what the verb uses, the arguments, the verb."""
    arguments = "\n".join(f"local {argument} = ARGV[{at}]" for at, argument in enumerate(arguments_of(name), start=2))
    tables = "\n".join(
        (
            _lua_table("CONFIG", {key: str(value) for key, value in config.items()}),
            _lua_table("LAWFUL_RUN", _moves(RUN_MOVES)),
            _lua_table("LAWFUL_TASK", _moves(TASK_MOVES)),
            "local BOUNDS = {" + ", ".join(str(round(bound * 1000)) for bound in BOUNDS) + "}",
        )
    )
    used = (source_of(part) for part in USES.findall(source_of(name)))
    shared = (source_of(part) for part in ("_metrics", "_blobs", "_memory", "_prelude", "_lines"))
    return "\n".join((tables, *shared, *used, arguments, source_of(name)))


def _moves(table: Mapping[Any, frozenset[Any]]) -> dict[str, str]:
    return {f"{start}>{end}": "true" for start in table for end in sorted(table[start])}


def _lua_table(name: str, entries: Mapping[str, str]) -> str:
    return f"local {name} = {{" + ", ".join(f"['{key}'] = {value}" for key, value in entries.items()) + "}"


__all__ = ["Caller", "arguments_of", "assemble", "source_of", "verb"]
