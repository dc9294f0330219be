"""How a tool travels to a worker: by name, never as code."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from crewq import errors
from crewq.foreign_tools import ForeignTool, adapted, is_foreign_class, is_foreign_tool
from crewq.references import Imports, fields_of, reference_of, standing_name
from crewq.tools import BaseTool, FunctionTool

# Of a tool of another framework's: what it makes of itself anew, and what it counts.
NOT_TO_GIVE: Final = {
    "args_schema", "cache_function", "callbacks", "coroutine", "current_usage_count", "description_updated", "func",
    "result_schema",
}  # fmt: skip


class ToolSpec(BaseModel):
    """How a tool travels: the reference of a tool, or of a class together with its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    reference: str
    fields: dict[str, Any] | None = None

    @classmethod
    def of(cls, thing: BaseTool) -> ToolSpec:
        """The spec of `thing`: the name of its function; else its class with its fields; else, if those do not say all of
        it, the name under which it stands at the top level of a module.

        Raises:
            NotPortable: no name leads to it, or a field of it holds a secret or cannot be written as JSON.
        """
        try:
            return _by_foreign(thing) if isinstance(thing, ForeignTool) else _by_definition(thing)
        except errors.NotPortable:
            name = standing_name(thing.original if isinstance(thing, ForeignTool) else thing)
            if name is None:
                raise
            return cls(name=thing.public_name, reference=name)

    def build(self, imports: Imports) -> BaseTool:
        """The tool, in a worker.

        Raises:
            ReferenceRefused: this worker may not load it, or it is not a tool.
            ToolBroken: its class does not accept the fields that it had.
        """
        built: BaseTool = adapted(self._found(imports) if self.fields is None else self._made(imports, self.fields))
        built._source = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return built

    def _found(self, imports: Imports) -> Any:
        return imports.resolve(
            self.reference, lambda thing: isinstance(thing, BaseTool) or is_foreign_tool(thing), "a tool"
        )

    def _made(self, imports: Imports, fields: dict[str, Any]) -> Any:
        kind = imports.resolve(self.reference, _is_class, "a tool class")
        try:
            return kind(**fields)
        except Exception as error:  # its own constructor may raise anything
            raise errors.ToolBroken(tool=self.name, reason=errors.explain(error)) from error


def _is_class(thing: Any) -> bool:
    return (isinstance(thing, type) and issubclass(thing, BaseTool)) or is_foreign_class(thing)


def _by_definition(thing: BaseTool) -> ToolSpec:
    what = f"The tool {thing.name!r}"
    if isinstance(thing, FunctionTool):
        return ToolSpec(name=thing.public_name, reference=reference_of(thing, what, defined_as=thing.func))
    reference = reference_of(type(thing), what)
    own = "args_schema" if thing.has_own_schema else "cache_function" if _has_own_cache_function(thing) else None
    if own:
        raise errors.NotPortable(
            what=what,
            reason=f"its {own} is that of this one object, and only the class and plain fields travel.",
            advice="Set it in the class, or make the tool at the top level of a module, under a name of its own.",
        )
    return ToolSpec(name=thing.public_name, reference=reference, fields=fields_of(thing, what))


def _has_own_cache_function(thing: BaseTool) -> bool:
    return thing.cache_function is not type(thing).model_fields["cache_function"].default


def _by_foreign(thing: ForeignTool) -> ToolSpec:
    what, original = f"The tool {thing.name!r}", thing.original
    function = getattr(original, "func", None) or getattr(original, "coroutine", None)
    if function is not None:
        return ToolSpec(name=thing.public_name, reference=reference_of(original, what, defined_as=function))
    if standing := standing_name(original):
        return ToolSpec(name=thing.public_name, reference=standing)
    if not isinstance(original, BaseModel):
        raise errors.NotPortable(
            what=what,
            reason=f"it is an object of the class {type(original).__name__}, which no other process can find.",
            advice="Make it at the top level of a module, under a name of its own.",
        )
    known = type(original).model_fields
    wanted = {*known} - NOT_TO_GIVE
    fields = {name: value for name, value in fields_of(original, what).items() if name in wanted}
    if fields.pop("description", None) and thing.description != known["description"].default:
        fields["description"] = thing.description
    return ToolSpec(name=thing.public_name, reference=reference_of(type(original), what), fields=fields)


__all__ = ["ToolSpec"]
