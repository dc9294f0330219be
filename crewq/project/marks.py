"""The decorators for what a project is made of. A marked method is called once for each instance, and its result kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

from pydantic import BaseModel

from crewq import errors
from crewq.crew import Crew
from crewq.members import Agent, Task

P = ParamSpec("P")
R = TypeVar("R")
AnswerClass = TypeVar("AnswerClass", bound=type[BaseModel])

MARK: Final = "__crewq_mark__"  # the attribute that tells what a method or class is in its project
PROJECT: Final = "CrewBase"  # the mark of the project's own class
_UNDER_WAY: Final = object()


def marked(project: Any, mark: str) -> dict[str, Any]:
    """What stands under `mark` in a project, by name, in the order of definition, that of its base classes first."""
    kind = type(project)
    names = dict.fromkeys(name for base in reversed(kind.__mro__) for name in vars(base))
    return {name: getattr(project, name) for name in names if is_marked(getattr(kind, name, None), mark)}


def is_marked(thing: Any, mark: str) -> bool:
    """Whether a class or method stands under `mark`."""
    return getattr(thing, MARK, None) == mark


# -- what makes the members ------------------------------------------------------------------------------------


def agent(method: Callable[P, R]) -> Callable[P, R]:
    """The method makes an agent of the crew."""
    return _made_once(method, "agent", Agent)


def task(method: Callable[P, R]) -> Callable[P, R]:
    """The method makes a task of the crew, which is called like the method unless it has a name."""

    @wraps(method)
    def named(*args: P.args, **kwargs: P.kwargs) -> R:
        made = method(*args, **kwargs)
        if isinstance(made, Task) and not made.name:
            made.name = method.__name__
        return made

    return _made_once(named, "task", Task)


def crew(method: Callable[P, R]) -> Callable[P, R]:
    """The method puts the crew together. Before it is called, all tasks and agents are made, in the order of their
    definition, as `self.tasks` and `self.agents`. The crew is called like the class unless it has a name."""

    @wraps(method)
    def assembled(*args: P.args, **kwargs: P.kwargs) -> R:
        project: Any = args[0]
        project.tasks = [make() for make in marked(project, "task").values()]
        project.agents = [make() for make in marked(project, "agent").values()]
        made = method(*args, **kwargs)
        if isinstance(made, Crew):
            _complete(made, project)
        return made

    return _made_once(assembled, "crew", Crew)


def _complete(made: Crew, project: Any) -> None:
    if "name" not in made.model_fields_set:
        made.name = type(project).__name__
    for mark in ("before_kickoff", "after_kickoff"):
        callbacks = getattr(made, f"{mark}_callbacks")
        callbacks += [method for method in marked(project, mark).values() if method not in callbacks]


def tool(method: Callable[P, R]) -> Callable[P, R]:
    """The method returns a tool, which YAML can name. (A function becomes a tool under `crewq.tool`.)"""
    return _made_once(method, "tool", object)


def llm(method: Callable[P, R]) -> Callable[P, R]:
    """The method returns a model, which YAML can name: a string, an `LLM`, or one of your own."""
    return _made_once(method, "llm", object)


def callback(method: Callable[P, R]) -> Callable[P, R]:
    """The method returns a callback, which YAML can name: a function at the top level of a module, as workers call it."""
    return _made_once(method, "callback", object)


def cache_handler(method: Callable[..., Any]) -> NoReturn:
    """CrewAI's decorator for a cache of one's own, which crewq has no place for.

    Raises:
        UnsupportedField: always; says what to do instead.
    """
    advice = "set Crew(cache=True) and leave the method out; a tool's cache_function says which results are kept."
    raise errors.UnsupportedField(owner="CrewBase", field=f"@cache_handler {method.__name__}", advice=advice)


# -- what is called at a kickoff, and what an answer must fit --------------------------------------------------


def before_kickoff(method: Callable[P, R]) -> Callable[P, R]:
    """The method is called with the inputs of each kickoff, in the caller's process, and may return changed ones."""
    setattr(method, MARK, "before_kickoff")
    return method


def after_kickoff(method: Callable[P, R]) -> Callable[P, R]:
    """The method is called with the output of each kickoff, in the caller's process, and may return another."""
    setattr(method, MARK, "after_kickoff")
    return method


def output_json(kind: AnswerClass) -> AnswerClass:
    """A class in the project's class that YAML can name as a task's `output_json`."""
    setattr(kind, MARK, "output_json")
    return kind


def output_pydantic(kind: AnswerClass) -> AnswerClass:
    """A class in the project's class that YAML can name as a task's `output_pydantic`."""
    setattr(kind, MARK, "output_pydantic")
    return kind


# -- once for each instance ------------------------------------------------------------------------------------


def _made_once(method: Callable[P, R], mark: str, wanted: type) -> Callable[P, R]:
    @wraps(method)
    def once(*args: P.args, **kwargs: P.kwargs) -> R:
        project, *given = args
        where = f"{type(project).__name__}.{method.__name__}"
        if not is_marked(type(project), PROJECT):
            raise errors.NotAProject(method=where, decorator=mark)
        made: dict[Any, Any] = vars(project).setdefault("_made", {})
        key = (once, *given, *sorted(kwargs.items()))
        if key not in made:
            made[key] = _UNDER_WAY
            try:
                made[key] = _checked(_located(where, method, *args, **kwargs), where, mark, wanted)
            finally:
                if made[key] is _UNDER_WAY:
                    del made[key]
        if made[key] is _UNDER_WAY:
            raise errors.NeedsItself(method=where)
        result: R = made[key]
        return result

    setattr(once, MARK, mark)
    return once


def _located(where: str, method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a method; an error about a field of what it makes says where that is."""
    try:
        return method(*args, **kwargs)
    except errors.FieldError as error:
        owner = str(error.facts["owner"])
        if ":" in owner:  # it says so already
            raise
        raise type(error)(**error.facts | {"owner": f"{where}: {owner}"}) from error


def _checked(made: R, where: str, mark: str, wanted: type) -> R:
    if made is None or not isinstance(made, wanted):
        name = "something" if wanted is object else f"an object of the class {wanted.__name__}"
        raise errors.WrongResult(method=where, decorator=mark, wanted=name, type=_said(made))
    return made


def _said(made: Any) -> str:
    return "nothing" if made is None else f"one of the class {type(made).__name__}"


__all__ = [
    "MARK",
    "PROJECT",
    "after_kickoff",
    "agent",
    "before_kickoff",
    "cache_handler",
    "callback",
    "crew",
    "is_marked",
    "llm",
    "marked",
    "output_json",
    "output_pydantic",
    "task",
    "tool",
]
