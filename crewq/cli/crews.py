"""From `module:crew` on the command line to a crew."""

from __future__ import annotations

import importlib
import inspect
import traceback
from typing import Any

from crewq import errors
from crewq.crew import Crew
from crewq.project.marks import PROJECT, crew, is_marked, marked
from crewq.references import is_module_name

EXAMPLE = "Write it as module:name, for example: crewq run my_project.crews:analysis_crew"


def load_crew(name: str) -> Crew:
    """The crew that `module:name` leads to: a `Crew`, a function that returns one, or a class or object with `.crew()`.

    Raises:
        CrewUnloadable: it does not lead to one; says why not.
    """
    module, _, attribute = name.partition(":")
    if not is_module_name(module) or not attribute:
        raise errors.CrewUnloadable(name=name, reason="it is not of the form module:name.", advice=EXAMPLE)
    if "/" in module or module.endswith(".py"):
        raise errors.CrewUnloadable(name=name, reason="it names a file, and not a module.", advice=EXAMPLE)
    found = _attribute(name, _module(name, module), attribute)
    crew = _crew_of(name, found)
    if not isinstance(crew, Crew):
        raise errors.CrewUnloadable(
            name=name,
            reason=f"it leads to an object of type {type(crew).__name__}.",
            advice="Name a Crew, a function without arguments that returns one, or a class with a method `crew`.",
        )
    return crew


def _module(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            reason = f"there is no module {error.name!r} in this directory or among what is installed."
            raise errors.CrewUnloadable(name=name, reason=reason, advice=EXAMPLE) from error
        reason = f"its module imports {error.name!r}, which is not installed."
        advice = "Install it into the environment that crewq runs in."
        raise errors.CrewUnloadable(name=name, reason=reason, advice=advice) from error
    except errors.CrewqError:
        raise
    except Exception as error:  # the module is the user's, and may raise anything
        advice = f"Mend the module; `python -c 'import {module}'` shows the whole error."
        reason = f"its module cannot be imported: {errors.explain(error)}{_place(error)}."
        raise errors.CrewUnloadable(name=name, reason=reason, advice=advice) from error


def _place(error: Exception) -> str:
    """Where a module was when it broke; an error of syntax says that itself."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"


def _attribute(name: str, module: Any, attribute: str) -> Any:
    found = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None or found is crew:  # a project's module has the decorator itself under that name
        crews = ", ".join(other for other, value in vars(module).items() if _is_crew(value))
        advice = f"It has these crews: {crews}." if crews else "It has no crew at its top level."
        raise errors.CrewUnloadable(name=name, reason=f"the module has no {attribute!r}.", advice=advice)
    return found


def _is_crew(value: Any) -> bool:
    return isinstance(value, Crew) or (isinstance(value, type) and is_marked(value, PROJECT))


def _crew_of(name: str, found: Any) -> Any:
    if isinstance(found, type):
        found = _called(name, found)
    if callable(method := _crew_method(found)):
        return _called(name, method)
    return _called(name, found) if callable(found) else found


def _crew_method(found: Any) -> Any:
    """The method under `@crew` of a project, whatever its name, or the method `crew` of another class."""
    if is_marked(type(found), PROJECT):
        return next(iter(marked(found, "crew").values()))
    return getattr(found, "crew", None)


def _called(name: str, function: Any) -> Any:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError) as error:
        reason = f"{getattr(function, '__qualname__', function)} cannot be called without arguments ({error})."
        advice = "Name a function or class that needs none, or a Crew at the top level of the module."
        raise errors.CrewUnloadable(name=name, reason=reason, advice=advice) from error
    return function()


__all__ = ["load_crew"]
