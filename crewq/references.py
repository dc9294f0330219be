"""Objects by name: how a tool, callback or model class travels to a worker and is found there.

A reference is `module:qualified.name`. It is made only of an object that the name really leads back to, and it is
resolved only if the worker may load the module *and* the object is of the kind expected: a forged message can name
`os:system`, and gets an error.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from crewq import errors
from crewq.literal_keys import literal_keys

# crewq's own demo crew and test doubles run on any worker without being named in CREWQ_IMPORTS.
BUILT_IN = ("crewq.demo", "crewq.testing")
MAIN_MARK = ".main-"  # in the name of a queue of what is defined in the script that was started


def reference_of(thing: Any, what: str, *, defined_as: Any = None) -> str:
    """The reference that leads to `thing`.

    Args:
        thing: a function, a class, or an object that stands under the name of `defined_as`.
        what: what it is called in an error.
        defined_as: the function or class whose name `thing` has taken, as a decorator's result does.

    Raises:
        NotPortable: no name leads to it (a lambda, a closure, something defined inside a function).
    """
    named = thing if defined_as is None else defined_as
    module = getattr(named, "__module__", None)
    name = getattr(named, "__qualname__", None)
    if not module or not name:
        raise errors.NotPortable(
            what=what, reason="it has no name of its own.", advice="Define it at the top level of a module."
        )
    if "<" in name:
        kind = "a lambda" if "<lambda>" in name else "defined inside a function"
        raise errors.NotPortable(
            what=what,
            reason=f"it is {kind} ({module}:{name}), which no other process can find.",
            advice="Define it with `def` or `class` at the top level of a module.",
        )
    found = _walk(sys.modules.get(module), name)
    if found is not thing:
        raise errors.NotPortable(
            what=what,
            reason=f"the name {module}:{name} leads to something else.",
            advice="Keep it under its own name at the top level of its module.",
        )
    return f"{module}:{name}"


def fields_of(thing: BaseModel, what: str) -> dict[str, Any]:
    """The fields of `thing` that differ from its class's, as JSON has them: they travel with a reference to the class.

    Raises:
        NotPortable: a field holds a secret or what looks like a key, or cannot be written as JSON.
    """
    _refuse_secrets({name: getattr(thing, name) for name in type(thing).model_fields}, what)
    return _plain(lambda: thing.model_dump(mode="json", exclude_defaults=True, exclude=_made_anew(thing)), what)


def arguments_of(thing: BaseModel, given: Mapping[str, Any], changed: set[str], what: str) -> dict[str, Any]:
    """What the constructor of its own that the class of `thing` has makes an equal object of, as JSON has it.

    Args:
        thing: the object.
        given: what the constructor was given when it made the object, by name.
        changed: what was set anew after that.
        what: what it is called in an error.

    Raises:
        NotPortable: as for the fields; or one was changed that the constructor does not take.
    """
    named = inspect.signature(type(thing).__init__).parameters
    is_open = any(one.kind is one.VAR_KEYWORD for one in named.values())
    if (lost := sorted(changed - {*named})) and not is_open:
        raise errors.NotPortable(
            what=what,
            reason=f"its field {lost[0]!r} was changed, and its class makes it anew in the worker, where it is not.",
            advice=f"Have the constructor of {type(thing).__name__} take it: def __init__(self, ..., {lost[0]}).",
        )
    fields = {*type(thing).model_fields} & {*named, *given, *changed}
    others = {name: getattr(thing, name) if name in changed else given[name] for name in given if name not in fields}
    _refuse_secrets({name: getattr(thing, name) for name in fields} | others, what)
    return _plain(lambda: thing.model_dump(mode="json", include=fields) | json.loads(json.dumps(others)), what)


def _refuse_secrets(values: Mapping[str, Any], what: str) -> None:
    for name, value in values.items():
        if isinstance(value, (Secret, SecretBytes, SecretStr)):
            raise _secret(what, f"its field {name!r} holds a secret")


def _plain(dump: Callable[[], dict[str, Any]], what: str) -> dict[str, Any]:
    try:
        values = dump()
    except (ValueError, TypeError) as error:
        raise errors.NotPortable(
            what=what,
            reason=f"its fields cannot be written as JSON ({str(error).splitlines()[0]}).",
            advice="Keep only plain values in its fields, and make the rest where it is used.",
        ) from error
    for where in literal_keys(values):
        raise _secret(what, f"its field {where!r} holds what looks like a key")
    return values


def _secret(what: str, reason: str) -> errors.NotPortable:
    return errors.NotPortable(
        what=what,
        reason=f"{reason}, and secrets stay in the process that has them.",
        advice="Read it from the environment where it is used, on the worker.",
    )


def _made_anew(thing: BaseModel) -> set[str]:
    """The fields that hold a text that their class would give them by itself, such as a key from the environment."""
    return {
        name
        for name, field in type(thing).model_fields.items()
        if field.default_factory and not field.default_factory_takes_validated_data
        if isinstance(text := getattr(thing, name), str) and text == field.get_default(call_default_factory=True)
    }


def standing_name(thing: Any) -> str | None:
    """The reference of the name that an object was given at the top level of a module, once and for all; None: it has none.

    A variable of a loop or one that is set again leads to another object in another process, and an import to where the
    object was made.
    """
    for module, held in list(sys.modules.items()):
        if getattr(held, "__name__", None) == module:  # not an alias, as that of multiprocessing for __main__
            names = [name for name, value in list(getattr(held, "__dict__", {}).items()) if value is thing]
            if found := next((name for name in names if _is_given_once(held, name)), None):
                return f"{module}:{found}"
    return None


def _is_given_once(module: ModuleType, name: str) -> bool:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return False
    given = [node for node in _of_module(tree) if name in _names_given(node)]
    return len(given) == 1 and any(
        given[0] in (node, *ast.iter_child_nodes(node)) for node in tree.body if _gives(node)
    )


def _of_module(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below one that belong to the same scope."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield from _of_module(child)


def _names_given(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname or alias.name.partition(".")[0] for alias in names]
    return []


def _gives(statement: ast.stmt) -> bool:
    """Whether a statement is `name = ...`, or a function whose decorator makes the object."""
    return isinstance(statement, (ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.AsyncFunctionDef))


def _walk(root: Any, name: str) -> Any:
    """What a name leads to, never by way of another module."""
    for part in name.split("."):
        root = getattr(root, part, None)
        if isinstance(root, ModuleType):
            return None
    return root


@dataclass(frozen=True)
class Imports:
    """What a process may load by reference: the modules named, and those below them."""

    allowed: tuple[str, ...] = ()
    local: Callable[[str], bool] | None = None  # embedded mode: is this module part of the user's own program?

    def allows(self, module: str) -> bool:
        """Whether `module` may be loaded."""
        named = any(module == name or module.startswith(f"{name}.") for name in (*self.allowed, *BUILT_IN))
        return named or bool(self.local and self.local(module))

    def also(self, modules: Iterable[str]) -> Imports:
        """These imports and `modules`."""
        return Imports(tuple(dict.fromkeys((*self.allowed, *modules))), self.local)

    def resolve(self, reference: str, kind: Callable[[Any], bool], wanted: str) -> Any:
        """The object that `reference` names.

        Args:
            reference: `module:qualified.name`.
            kind: whether the object is of the kind expected.
            wanted: that kind in words, for the error.

        Raises:
            ReferenceRefused: the module may not be loaded or cannot be, the name is not of it, or it is of another kind.
        """
        module_name, _, name = reference.partition(":")
        if not is_module_name(module_name) or not name or any(part.startswith("__") for part in name.split(".")):
            raise errors.ReferenceRefused(
                reference=reference, reason="it is not of the form module:name.", advice="Start the run again."
            )
        if not self.allows(module_name):
            raise errors.ReferenceRefused(
                reference=reference,
                reason=f"its module {module_name!r} is not among those that CREWQ_IMPORTS allows.",
                advice=f"Start the worker with CREWQ_IMPORTS={module_name} (a list with commas), if it is yours.",
            )
        found = _walk(_load(module_name, reference), name)
        if found is None:
            reason = "the module has no such name."
        elif isinstance(found, (FunctionType, type)) and found.__module__ != module_name:
            reason = f"it belongs to another module, {found.__module__}."
        elif not kind(found):
            reason = f"it is not {wanted}."
        else:
            return found
        raise errors.ReferenceRefused(
            reference=reference,
            reason=reason,
            advice="Deploy the code that started the run to this worker, or start the run again.",
        )


def is_module_name(text: str) -> bool:
    """Whether a module may be called that: names with dots between; Python itself breaks on others."""
    return text.isprintable() and all(text.split("."))


def _load(module: str, reference: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise errors.ReferenceRefused(
            reference=reference,
            reason=f"its module cannot be imported here: {error}.",
            advice="Install it where the worker runs, or start the worker in the folder that holds it.",
        ) from error


def main_queue(queue: str) -> str:
    """The queue, beside `queue`, of what is defined in the script that was started and that no other can load."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    name = str(Path(script).resolve()) if script else f"process {os.getpid()}"
    return f"{queue}{MAIN_MARK}{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def is_function(thing: Any) -> bool:
    """Whether `thing` is a plain Python function: the only kind of callback that travels."""
    return isinstance(thing, FunctionType)


def arity(function: Callable[..., Any]) -> int:
    """How many arguments a function wants, those with a default aside."""
    return sum(one.default is one.empty for one in inspect.signature(function).parameters.values())


def is_model_class(thing: Any) -> bool:
    """Whether `thing` is a class of pydantic's models."""
    return isinstance(thing, type) and issubclass(thing, BaseModel)


__all__ = [
    "BUILT_IN",
    "MAIN_MARK",
    "Imports",
    "arguments_of",
    "arity",
    "fields_of",
    "is_function",
    "is_model_class",
    "is_module_name",
    "main_queue",
    "reference_of",
    "standing_name",
]
