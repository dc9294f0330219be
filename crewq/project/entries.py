"""The YAML files of a project: their entries, with every name in them led to what it names."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from crewq import errors
from crewq.project.marks import marked

# What the names under a key lead to. A name of a model that no method makes is the model's own.
LEADS_TO: Final = {
    "agent": "agent",
    "context": "task",
    "tools": "tool",
    "llm": "llm",
    "step_callback": "callback",
    "callback": "callback",
    "callbacks": "callback",
    "output_json": "output_json",
    "output_pydantic": "output_pydantic",
}
CLASSES: Final = ("output_json", "output_pydantic")
QUOTES: Final = ' A text that begins with { or holds ": " must be in quotes, or begin on the line after a >.'


class Entries(Mapping[str, dict[str, Any]]):
    """The entries of one file. An entry is a dict of fields for `Agent(config=...)` or `Task(config=...)`.

    Args:
        project: the instance whose methods make what is named.
        field: the attribute of the project that holds the entries.
        path: of the file, relative to the module of the project's class.

    Raises:
        ConfigMissing, ConfigBroken: the file is not there, or is not what it must be.
    """

    def __init__(self, project: Any, field: str, path: str | Path) -> None:
        self._project = project
        self._field = field
        self._file = Path(_folder(type(project)), path)
        self._raw = read_entries(self._file, project=type(project).__name__, field=field)

    def __getitem__(self, name: str) -> dict[str, Any]:
        if name not in self._raw:
            raise errors.EntryMissing(file=self._file, entry=name, **_nearest(name, self._raw))
        return {key: self._led(name, key, value) for key, value in self._raw[name].items()}

    def __contains__(self, name: object) -> bool:
        return name in self._raw  # without making what it names

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def _led(self, entry: str, key: str, value: Any) -> Any:
        """A value of an entry, with the names in it led to what they name."""
        if key not in LEADS_TO:
            return value
        if isinstance(value, list):
            return [self._named(entry, key, one) if isinstance(one, str) else one for one in value]
        return self._named(entry, key, value) if isinstance(value, str) else value

    def _named(self, entry: str, key: str, name: str) -> Any:
        mark = LEADS_TO[key]
        there = marked(self._project, mark)
        if name in there:
            return there[name] if mark in CLASSES else there[name]()
        if key == "llm":
            return name
        raise errors.NameUnknown(
            file=self._file,
            entry=entry,
            key=key,
            name=name,
            project=type(self._project).__name__,
            decorator=mark,
            **_nearest(name, there),
        )


def _folder(project: type) -> Path:
    """Where the module of a project's class is; the working directory for one that was typed in."""
    file = getattr(sys.modules.get(project.__module__), "__file__", None)
    return Path(file).parent if file else Path()


def _nearest(name: str, known: Iterable[str]) -> dict[str, str]:
    """Two facts of an error about a name that is not there: a hint at what was meant, and what there is."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return {"hint": f" Did you mean {near[0]!r}?" if near else "", "known": ", ".join(known) or "nothing"}


# -- reading -----------------------------------------------------------------------------------------------


def read_entries(file: Path, *, project: str, field: str) -> dict[str, dict[str, Any]]:
    """The entries of a YAML file, without what was left empty, and texts without the line's end that YAML leaves on them.

    Raises:
        ConfigMissing, ConfigBroken: the file is not there, or is not what it must be.
    """
    try:
        found = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # it is a SafeLoader
    except OSError as error:
        raise errors.ConfigMissing(
            project=project, field=field, file=file, reason=f"{error.strerror or error}."
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise errors.ConfigBroken(file=file, where=where, reason=f"{error.problem}.{QUOTES}") from error
    except RecursionError as error:
        raise errors.ConfigBroken(file=file, where="somewhere", reason="it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:  # the latter: it is not UTF-8, or the name cannot be one of a file
        raise errors.ConfigBroken(file=file, where="somewhere", reason=f"{errors.explain(error)}.") from error
    if not isinstance(found or {}, dict):
        reason = "it must hold entries, each a name, a colon, and fields below it."
        raise errors.ConfigBroken(file=file, where="line 1", reason=reason)
    return {str(name): _entry(file, str(name), fields) for name, fields in (found or {}).items()}


def _entry(file: Path, name: str, fields: Any) -> dict[str, Any]:
    where = f"entry {name!r}"
    if not isinstance(fields or {}, dict):
        raise errors.ConfigBroken(file=file, where=where, reason="it must have fields below it.")
    for key, value in (fields or {}).items():
        if isinstance(value, dict) and value and all(inner is None for inner in value.values()):
            raise errors.ConfigBroken(file=file, where=where, reason=f"{key} is not taken for a text.{QUOTES}")
    # No context, unlike no entry for it, means that there is none.
    given = {str(key): value for key, value in (fields or {}).items() if value is not None or key == "context"}
    return {key: value.strip() if isinstance(value, str) else value for key, value in given.items()}


class _Loader(yaml.SafeLoader):
    """Safe, and takes a name that stands twice for the slip that it is, and what looks like a date and is none too."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"this is no {kind}, though it is written like one"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in names:
                    problem = f"{key.value!r} is there twice"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
                names.add(key.value)
        return node


__all__ = ["CLASSES", "LEADS_TO", "Entries", "read_entries"]
