"""Tools made for LangChain or CrewAI, used as they are. They are known by what they have, so neither has to be installed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel, Field

from crewq.tools import BaseTool, arguments_model

WAYS: Final = ("invoke", "_run", "run", "func")  # to call such a tool, the best first
ASYNC_WAYS: Final = ("ainvoke", "_arun", "arun", "coroutine")
TAKES_ONE: Final = ("invoke", "ainvoke")  # all arguments as one dict; they look at them themselves
DESCRIPTION: Final = "Tool Description: "  # CrewAI writes name and schema before it


def is_foreign_tool(thing: Any) -> bool:
    """Whether `thing` is a tool of another framework's: it has a name, a description, and can be called as one."""
    described = all(isinstance(getattr(thing, name, None), str) for name in ("name", "description"))
    return described and not isinstance(thing, (type, BaseTool)) and _way(thing, (*WAYS, *ASYNC_WAYS)) is not None


def is_foreign_class(thing: Any) -> bool:
    """Whether `thing` is a class of such tools."""
    if not isinstance(thing, type) or issubclass(thing, BaseTool):
        return False
    fields = getattr(thing, "model_fields", {})
    described = all(name in fields or hasattr(thing, name) for name in ("name", "description"))
    return described and _way(thing, (*WAYS, *ASYNC_WAYS)) is not None


class ForeignTool(BaseTool):
    """A tool of another framework's.

    Fields:
        original: the tool.
        schema_: the JSON schema of its arguments, where there is no pydantic class of them.
    """

    original: Any = Field(exclude=True)
    schema_: dict[str, Any] | None = Field(default=None, exclude=True)

    def model_post_init(self, context: Any) -> None:
        """Its arguments are described by its schema, else by the signature of what is called."""
        if self.args_schema is None and self.schema_ is None:
            self.args_schema = arguments_model(self.implementation, self.name)

    @property
    def implementation(self) -> Callable[..., Any]:
        named = ("coroutine", "_arun", "arun", "ainvoke") if self.is_async else ("func", "_run", "run", "invoke")
        return getattr(self.original, _way(self.original, named) or "")  # type: ignore[no-any-return]

    @property
    def is_async(self) -> bool:
        """Whether its own is a coroutine; what LangChain makes of a function for asyncio is only a thread."""
        if _way(self.original, WAYS) is None:
            return True
        if hasattr(self.original, "coroutine"):
            return self.original.coroutine is not None
        if function := getattr(self.original, "func", None):
            return inspect.iscoroutinefunction(function)
        return _nearer(type(self.original), "_arun", "_run")

    def parse(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if self.args_schema is None:
            return dict(arguments)
        parsed = self.args_schema.model_validate(dict(arguments))
        takes_one = _way(self.original, ASYNC_WAYS if self.is_async else WAYS) in TAKES_ONE
        return dict(arguments) if takes_one else parsed.model_dump(by_alias=True)

    def _parameters(self) -> dict[str, Any]:
        if self.schema_ is None:
            return super()._parameters()
        return {"type": "object", **self.schema_}

    def _run(self, **arguments: Any) -> Any:
        return self._called(WAYS, arguments)

    async def _arun(self, **arguments: Any) -> Any:
        return await self._called(ASYNC_WAYS, arguments)

    def _called(self, ways: tuple[str, ...], arguments: dict[str, Any]) -> Any:
        way = _way(self.original, ways)
        assert way is not None
        function = getattr(self.original, way)
        return function(arguments) if way in TAKES_ONE else function(**arguments)


def adapted(thing: Any) -> Any:
    """What `tools=[...]` makes of an entry: a tool of another framework's becomes one of crewq's; all else stays.

    Raises:
        ValueError: it is a function, and no tool yet.
    """
    if not is_foreign_tool(thing):
        return thing
    schema = _schema_of(thing)
    return ForeignTool(
        name=thing.name,
        description=thing.description.rpartition(DESCRIPTION)[2],
        args_schema=schema if isinstance(schema, type) else None,
        schema_=schema if isinstance(schema, dict) else None,
        result_as_answer=bool(getattr(thing, "result_as_answer", False) or getattr(thing, "return_direct", False)),
        max_usage_count=getattr(thing, "max_usage_count", None),
        cache_function=getattr(thing, "cache_function", None),
        original=thing,
    )


def _schema_of(thing: Any) -> type[BaseModel] | dict[str, Any] | None:
    """How a tool describes its arguments. LangChain's `tool_call_schema` leaves out those that no model is to give, and is
    wrong for its `Tool` around a function, which takes one text and says so in `args`."""
    args = getattr(thing, "args", None)
    if getattr(thing, "args_schema", None) is None and hasattr(thing, "func") and isinstance(args, dict):
        return {"type": "object", "properties": args, "required": list(args)}
    for name in ("tool_call_schema", "args_schema"):
        schema = getattr(thing, name, None)
        if isinstance(schema, dict):
            return schema
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            return schema
        if isinstance(schema, type) and callable(described := getattr(schema, "schema", None)):
            return dict(described())  # a class of pydantic's first version
    return None


def _nearer(kind: type, one: str, other: str) -> bool:
    """Whether a class has `one` from a class at least as near as `other`: then that is what its author wrote."""
    has = next((base for base in kind.__mro__ if one in vars(base) or other in vars(base)), None)
    return has is not None and one in vars(has)


def _way(thing: Any, ways: tuple[str, ...]) -> str | None:
    return next((name for name in ways if callable(getattr(thing, name, None))), None)


__all__ = ["ForeignTool", "adapted", "is_foreign_class", "is_foreign_tool"]
