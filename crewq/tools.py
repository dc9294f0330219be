"""Tools: what an agent can do besides answer. `BaseTool` and `@tool` with CrewAI's names.

A tool's JSON schema comes from the signature of its `_run` (or of the function under `@tool`). A tool travels to a worker
as a reference, never as code: a function under `@tool` by its own name, a `BaseTool` by its class and its fields.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, create_model

from crewq import errors
from crewq.lacking import METHODS_OF_A_TOOL
from crewq.outputs import ToolFailure

NAME_LIMIT = 64  # what providers accept as the name of a function


def tool_name(name: str) -> str:
    """`name` as providers accept it: a-z, 0-9 and _, at most 64 characters (CrewAI's rule)."""
    cleaned = re.sub(r"[^a-z0-9_]+", "_", name.strip().lower()).strip("_")
    return cleaned[:NAME_LIMIT] or "tool"


class BaseTool(BaseModel, ABC):
    """A tool as a class: give it a `name`, a `description` and a `_run`.

    Fields:
        name: shown to the model, reduced to a-z, 0-9 and _.
        description: tells the model when to use it.
        args_schema: a pydantic model of its arguments; default: made from the signature of `_run`.
        result_as_answer: its result ends the task, as its output.
        max_usage_count: how often one task may call it; None: no limit.
        cache_function: `(arguments, result) -> bool`, whether a result may be reused within a crew that has `cache=True`.
        idempotent: whether a call may simply be made again: one that was under way when a worker died is, and where it may
            not be, no result is reused either.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    name: str
    description: str
    args_schema: type[BaseModel] | None = Field(default=None, exclude=True)
    result_as_answer: bool = False
    max_usage_count: int | None = Field(default=None, ge=1)
    cache_function: Callable[..., bool] | None = Field(default=None, exclude=True)
    idempotent: bool = True

    _source: str = PrivateAttr("")  # what it was built of in a worker: equal tools there have equal results

    def model_post_init(self, context: Any) -> None:
        """Derive the arguments' schema from `_run` where the class gives none."""
        if self.args_schema is None:
            self.args_schema = arguments_model(self.implementation, self.name)

    @abstractmethod
    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work; what it returns is shown to the model as text."""

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        """The work as a coroutine; a tool that overrides this runs on the event loop and not in a thread."""
        raise NotImplementedError(f"The tool {self.name!r} has no _arun.")

    @property
    def has_own_schema(self) -> bool:
        """Whether its `args_schema` was given to this one object, and not by its class or the signature of `_run`."""
        of_class = type(self).model_fields["args_schema"].default
        given = self.args_schema
        return given is not None and given is not of_class and not issubclass(given, _Derived)

    @property
    def implementation(self) -> Callable[..., Any]:
        """What its signature is read from: `_arun` if the class has one of its own, else `_run`."""
        return self._arun if self.is_async else self._run

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return type(self)._arun is not BaseTool._arun

    @property
    def public_name(self) -> str:
        """Its name as the model sees it."""
        return tool_name(self.name)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call it directly, as in a test."""
        return self._run(*args, **kwargs)

    async def arun(self, *args: Any, **kwargs: Any) -> Any:
        """Call an async tool directly."""
        return await self._arun(*args, **kwargs)

    def parse(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """`arguments` validated and converted by its schema, ready for `_run(**...)`.

        Raises:
            pydantic.ValidationError: they do not fit.
        """
        assert self.args_schema is not None
        parsed = self.args_schema.model_validate(dict(arguments))
        fields = type(parsed).model_fields.items()
        derived = isinstance(parsed, _Derived)
        return {(derived and field.alias) or name: getattr(parsed, name) for name, field in fields}

    @classmethod
    def from_langchain(cls, tool: Any) -> NoReturn:
        """CrewAI's; crewq takes LangChain's tools as they are."""
        raise _lacking("from_langchain")

    if not TYPE_CHECKING:  # a type checker would take any name for one that is there

        def __getattr__(self, name: str) -> Any:
            if name in METHODS_OF_A_TOOL:
                raise _lacking(name)
            return super().__getattr__(name)

    def schema_for_model(self) -> dict[str, Any]:
        """Its description in the form of OpenAI's function calling."""
        parameters = self._parameters()
        parameters.pop("title", None)
        parameters.setdefault("properties", {})
        return {
            "type": "function",
            "function": {"name": self.public_name, "description": self.description, "parameters": parameters},
        }

    def _parameters(self) -> dict[str, Any]:
        assert self.args_schema is not None
        return self.args_schema.model_json_schema()


def _lacking(name: str) -> errors.UnsupportedMethod:
    return errors.UnsupportedMethod(owner="BaseTool", method=name, advice=METHODS_OF_A_TOOL[name])


class FunctionTool(BaseTool):
    """A function under `@tool`."""

    func: Callable[..., Any] = Field(exclude=True)

    @property
    def implementation(self) -> Callable[..., Any]:
        return self.func

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.func)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        return await self.func(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)


class _Derived(BaseModel):
    """Arguments read off a signature; those whose names pydantic keeps for itself stand under an alias."""


def arguments_model(function: Callable[..., Any], name: str) -> type[BaseModel]:
    """A pydantic model of the arguments that `function` takes by name."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls") or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        hint = hints.get(parameter.name, Any)
        if parameter.name.startswith("_") or hasattr(_Derived, parameter.name):
            fields[f"argument{parameter.name}"] = (hint, Field(default, alias=parameter.name))
        else:
            fields[parameter.name] = (hint, default)
    model: type[BaseModel] = create_model(f"{tool_name(name)}_arguments", __base__=_Derived, **fields)
    return model


@overload
def tool(first: Callable[..., Any], /) -> FunctionTool: ...
@overload
def tool(
    first: str | None = None,
    /,
    *,
    result_as_answer: bool = False,
    max_usage_count: int | None = None,
    idempotent: bool = True,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...
def tool(first: Any = None, /, **options: Any) -> Any:
    """Make a tool of a function: `@tool`, `@tool("name")` or `@tool(max_usage_count=3)`.

    The docstring tells the model when to use it, and the annotations what to pass.

    Raises:
        InvalidField: the function has no docstring.
    """
    if callable(first):
        return _function_tool(first, first.__name__, {})
    return lambda function: _function_tool(function, first or function.__name__, options)


def _function_tool(function: Callable[..., Any], name: str, options: dict[str, Any]) -> FunctionTool:
    if not function.__doc__:
        raise errors.InvalidField(
            owner="@tool", field=function.__name__, reason="it needs a docstring, which tells the model when to use it."
        )
    return FunctionTool(name=name, description=inspect.cleandoc(function.__doc__), func=function, **options)


__all__ = ["BaseTool", "FunctionTool", "ToolFailure", "arguments_model", "tool", "tool_name"]
