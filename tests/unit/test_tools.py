"""Tools: their names, their schemas, and their way to a worker and back."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretBytes, ValidationError

from crewq import errors
from crewq.lacking import METHODS_OF_A_TOOL
from crewq.references import Imports
from crewq.tool_spec import ToolSpec
from crewq.tools import BaseTool, FunctionTool, arguments_model, tool, tool_name
from tests.unit import parts
from tests.unit.parts import HERE, IMPORTS, Multiply


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("search", "search"),
        ("Search the Web!", "search_the_web"),
        ("  a--b  ", "a_b"),
        ("Größe", "gr_e"),
        ("日本", "tool"),
        ("", "tool"),
        ("x" * 100, "x" * 64),
    ],
)
def test_names_are_what_providers_accept(name: str, public: str) -> None:
    assert tool_name(name) == public


def test_a_function_becomes_a_tool() -> None:
    assert (parts.search.name, parts.search.description) == ("search", "Search the web.")
    assert (parts.other.name, parts.other.public_name) == ("Search, the Other", "search_the_other")
    assert parts.search.schema_for_model()["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "title": "Query"},
            "limit": {"type": "integer", "title": "Limit", "default": 5},
        },
        "required": ["query"],
    }
    assert parts.search.parse({"query": "x", "limit": "3"}) == {"query": "x", "limit": 3}
    assert parts.search("x") == parts.search.run(query="x") == "5 results for x"


def test_options_of_the_decorator() -> None:
    @tool("named", result_as_answer=True, max_usage_count=2, idempotent=False)
    def f() -> str:
        """F."""
        return ""

    @tool()
    def g() -> str:
        """G."""
        return ""

    assert (f.name, f.result_as_answer, f.max_usage_count, f.idempotent) == ("named", True, 2, False)
    assert (g.name, g.max_usage_count, g.idempotent) == ("g", None, True)


def test_a_tool_without_a_docstring_is_refused() -> None:
    def nameless(x: int) -> int:
        return x

    with pytest.raises(errors.InvalidField, match=r"@tool\(nameless\).*docstring"):
        tool(nameless)


def test_a_schema_of_every_kind_of_argument() -> None:
    class Point(BaseModel):
        x: int

    def f(
        a: str,
        point: Point,
        kind: Literal["p", "q"] = "p",
        note: Annotated[str | None, Field(description="why")] = None,
        untyped=1,
        *rest: int,
        only: bool = False,
        **more: int,
    ) -> None: ...

    # Given as objects, since the names are local to this test.
    f.__annotations__ = {
        "a": str,
        "point": Point,
        "kind": Literal["p", "q"],
        "note": Annotated[str | None, Field(description="why")],
        "only": bool,
    }
    model = arguments_model(f, "f")
    assert list(model.model_fields) == ["a", "point", "kind", "note", "untyped", "only"]
    parsed = model.model_validate({"a": "x", "point": {"x": "1"}})
    assert parsed.model_dump() == {
        "a": "x", "point": {"x": 1}, "kind": "p", "note": None, "untyped": 1, "only": False,
    }  # fmt: skip
    assert model.model_json_schema()["properties"]["note"]["description"] == "why"


@pytest.mark.parametrize("name", ["json", "schema", "copy", "model_config", "model_name", "_private", "validate"])
def test_an_argument_may_be_called_anything(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f'def f({name}: str, n: int = 1) -> str:\n    """F."""\n    return {name} * n', namespace)
    made: FunctionTool = tool(namespace["f"])
    parameters = made.schema_for_model()["function"]["parameters"]
    assert (list(parameters["properties"]), parameters["required"]) == ([name, "n"], [name])
    assert made.run(**made.parse({name: "x", "n": "2"})) == "xx"


def test_a_class_is_read_by_its_run() -> None:
    assert Multiply().parse({"number": "4"}) == {"number": 4}
    assert Multiply(factor=3).run(number=4) == 12
    with pytest.raises(ValidationError):
        Multiply().parse({"number": "four"})
    assert not Multiply().is_async


def test_a_class_with_a_coroutine_is_read_by_that() -> None:
    class Later(BaseTool):
        name: str = "later"
        description: str = "Later."

        def _run(self, a: int) -> int:
            return a

        async def _arun(self, b: int) -> int:
            return b

    assert Later().is_async
    assert Later().parse({"b": 1}) == {"b": 1}
    assert asyncio.run(Later().arun(b=2)) == 2


def test_an_async_function_is_an_async_tool() -> None:
    @tool
    async def later(a: int) -> int:
        """Later."""
        return a

    assert later.is_async
    assert asyncio.run(later.arun(a=2)) == 2


def test_a_class_without_a_coroutine_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Multiply"):
        asyncio.run(Multiply().arun())


def test_a_schema_of_ones_own_is_used() -> None:
    class Arguments(BaseModel):
        number: int = Field(description="what to multiply")

    schema = Multiply(args_schema=Arguments).schema_for_model()
    assert schema["function"]["parameters"]["properties"]["number"]["description"] == "what to multiply"


# -- to a worker and back ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "thing",
    [
        parts.search,
        parts.other,
        Multiply(),
        Multiply(factor=7, labels=["a"], max_usage_count=3),
        parts.Nested.Multiply(),
    ],
)
def test_a_tool_comes_out_of_its_spec_as_it_went_in(thing: BaseTool) -> None:
    spec = ToolSpec.model_validate_json(ToolSpec.of(thing).model_dump_json())
    assert spec == ToolSpec.of(thing)
    built = spec.build(IMPORTS)
    assert type(built) is type(thing)
    assert built.model_dump() == thing.model_dump()
    assert built.schema_for_model() == thing.schema_for_model()


def test_a_spec_says_what_differs_from_the_class_and_no_more() -> None:
    assert ToolSpec.of(Multiply(factor=7)).fields == {"factor": 7}
    assert ToolSpec.of(parts.search) == ToolSpec(name="search", reference=f"{HERE}:search")


class Bytes(Multiply):
    secret: SecretBytes


@pytest.mark.parametrize("thing", [parts.Keyed(token="hunter2"), Bytes(secret=b"hunter2")])
def test_a_tool_with_a_secret_does_not_travel(thing: BaseTool) -> None:
    with pytest.raises(errors.NotPortable, match="secret") as caught:
        ToolSpec.of(thing)
    assert "hunter2" not in str(caught.value)


def test_a_tool_with_fields_that_are_no_data_does_not_travel() -> None:
    with pytest.raises(errors.NotPortable, match="JSON"):
        ToolSpec.of(parts.Holding(thing=object()))


def test_a_tool_from_inside_a_function_does_not_travel() -> None:
    class Inner(Multiply):
        pass

    @tool
    def inner() -> str:
        """I."""
        return ""

    for thing in (Inner(), inner, tool(parts.told)):
        with pytest.raises(errors.NotPortable):
            ToolSpec.of(thing)


def test_a_worker_builds_only_tools() -> None:
    for spec in (
        ToolSpec(name="x", reference=f"{HERE}:told"),
        ToolSpec(name="x", reference=f"{HERE}:Report", fields={}),
        ToolSpec(name="x", reference=f"{HERE}:search", fields={}),
        ToolSpec(name="x", reference=f"{HERE}:Multiply"),
        ToolSpec(name="x", reference="os:system"),
        ToolSpec(name="x", reference="subprocess:Popen", fields={"args": "true"}),
    ):
        with pytest.raises(errors.ReferenceRefused):
            spec.build(IMPORTS)


def test_a_tool_whose_class_has_changed_is_broken() -> None:
    with pytest.raises(errors.ToolBroken, match="multiply"):
        ToolSpec(name="multiply", reference=f"{HERE}:Multiply", fields={"gone": 1}).build(Imports((HERE,)))


def test_a_class_that_cannot_be_made_is_broken() -> None:
    with pytest.raises(errors.ToolBroken, match="abstract"):
        ToolSpec(name="x", reference="tests.unit.test_tools:Abstract", fields={}).build(Imports(("tests",)))


class Abstract(BaseTool):
    """Has no `_run`."""


@pytest.mark.parametrize("name", METHODS_OF_A_TOOL)
def test_what_crewais_tools_have_besides_is_an_error_with_advice(name: str) -> None:
    @tool
    def look() -> str:
        """Look."""
        return ""

    with pytest.raises(errors.UnsupportedMethod) as caught:
        getattr(look, name)("anything")
    assert METHODS_OF_A_TOOL[name] in str(caught.value)
