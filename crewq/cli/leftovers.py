"""What in a CrewAI project will not carry over, besides its imports: fields, methods, and entries of YAML."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from crewq.alone import Agent, Task
from crewq.cli.moves import RENAMED, Leftover
from crewq.crew import Crew
from crewq.lacking import OF_A_KICKOFF, SWITCHES
from crewq.language_model import LLM
from crewq.member import Member

KINDS: Final[dict[str, type[Member]]] = {
    "Agent": Agent,
    "Task": Task,
    "ConditionalTask": Task,
    "Crew": Crew,
    "LLM": LLM,
}
ENTRIES: Final[dict[str, type[Member]]] = {"agents": Agent, "tasks": Task}  # by the name of a YAML file
OF_TASKS: Final = {"condition"}  # that a ConditionalTask has besides fields
DEPENDS: Final = re.compile(r"""(?:^|["'])\s*(crewai(?:-tools)?)(?=[\[<>=!~"',;\s]|$)""")
TOOLS: Final = "keep it: crewq brings no such tools, and takes those as they are."
IGNORED: Final = "CrewAI ignores it, and crewq has no such field."


def in_module(tree: ast.Module) -> Iterator[Leftover]:
    """What a module gives to agents, tasks, crews and models that crewq's do not take, and asks of them that they lack."""
    names = _names(tree)
    made = _made(tree, names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if kind := _kind_called(node, names):
                yield from _fields(node, kind)
            if isinstance(node.func, ast.Attribute) and "kickoff" in node.func.attr:
                yield from _arguments(node, node.func.attr)
        elif isinstance(node, ast.Attribute) and (kind := _kind_of(node.value, names, made)):
            yield from _method(node, kind)


def _names(tree: ast.Module) -> dict[str, type[Member]]:
    """What a module calls the classes that it imports from CrewAI."""
    aliases = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("crewai", "crewq")
        for name in node.names
    ]
    imported = {name.asname or name.name: KINDS.get(RENAMED.get(name.name, name.name)) for name in aliases}
    whole = any(name.name == "crewai" for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names)
    return (KINDS if whole else {}) | {name: kind for name, kind in imported.items() if kind}


def _fields(call: ast.Call, kind: type[Member]) -> Iterator[Leftover]:
    for given in call.keywords:
        unset = isinstance(given.value, ast.Constant) and not given.value.value
        made = isinstance(given.value, ast.Call) and given.arg in kind.model_fields
        if given.arg and (advice := (made and SWITCHES.get(given.arg)) or _advice(kind, given.arg, unset=unset)):
            yield Leftover(given.value.lineno, f"{kind.__name__}({given.arg}=...)", advice)


def _advice(kind: type[Member], field: str, *, unset: bool) -> str | None:
    """What to do instead of a field; None where there is nothing to be done."""
    if field in kind.ignores:
        return None if unset else f"it has no effect: {kind.ignores[field]}"
    if field in kind.model_fields or (kind is Task and field in OF_TASKS):
        return None
    if field in kind.lacks:
        return None if unset else kind.lacks[field]
    return IGNORED


def _arguments(call: ast.Call, method: str) -> Iterator[Leftover]:
    for given in call.keywords:
        if given.arg in OF_A_KICKOFF:
            yield Leftover(given.value.lineno, f"{method}({given.arg}=...)", OF_A_KICKOFF[given.arg])


def _method(used: ast.Attribute, kind: type[Member]) -> Iterator[Leftover]:
    if advice := _advice_for_method(kind, used.attr):
        yield Leftover(used.end_lineno or used.lineno, f"{ast.unparse(used.value)}.{used.attr}"[-60:], advice)


def _advice_for_method(kind: type[Member], name: str) -> str | None:
    """What to do instead of something that is looked up in an object; None where it is there."""
    if name in kind.lacks_methods:
        return kind.lacks_methods[name]
    if hasattr(kind, name) or name in kind.model_fields or name.startswith("_"):
        return None
    return kind.lacks.get(name, f"crewq's {kind.__name__} has nothing of that name.")


def _made(tree: ast.Module, names: dict[str, type[Member]]) -> dict[str, type[Member]]:
    """The variables of a module, such as `crew` and `self.crew`, that an agent, a task, a crew or a model is put into."""
    found: dict[str, type[Member]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (kind := _kind_of(node.value, names, {})):
            found |= {ast.unparse(target): kind for target in node.targets}
        elif isinstance(node, ast.AnnAssign) and node.value and (kind := _kind_of(node.value, names, {})):
            found[ast.unparse(node.target)] = kind
    return found


def _kind_of(node: ast.expr, names: dict[str, type[Member]], made: dict[str, type[Member]]) -> type[Member] | None:
    """What an expression is: a variable, `Crew(...)`, or `Project().crew()`."""
    if not isinstance(node, ast.Call):
        return made.get(written := ast.unparse(node)) or names.get(written)
    is_project = isinstance(node.func, ast.Attribute) and node.func.attr == "crew"
    return Crew if is_project else _kind_called(node, names)


def _kind_called(call: ast.Call, names: dict[str, type[Member]]) -> type[Member] | None:
    return names.get(ast.unparse(call.func).rpartition(".")[2])


def in_entries(file: Path, text: str) -> Iterator[Leftover]:
    """The fields of a `agents.yaml` or `tasks.yaml` that crewq's agents and tasks do not have."""
    kind = ENTRIES[file.stem]
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        yield Leftover(line, "the whole file", f"it is not valid YAML: {error.problem}.")
        return
    for name, entry in root.value if isinstance(root, yaml.MappingNode) else []:
        for key, value in entry.value if isinstance(entry, yaml.MappingNode) else []:
            unset = value.value in ("", "false", "False", "null", [])
            if advice := _advice(kind, str(key.value), unset=unset):
                yield Leftover(key.start_mark.line + 1, f"{name.value}: {key.value}", advice)


def in_requirements(text: str) -> Iterator[Leftover]:
    """The lines by which a project depends on CrewAI."""
    for at, line in enumerate(text.splitlines(), 1):
        if found := DEPENDS.search(line):
            advice = "depend on crewq instead." if found[1] == "crewai" else TOOLS
            yield Leftover(at, f"depends on {found[1]}", advice)


__all__ = ["ENTRIES", "in_entries", "in_module", "in_requirements"]
