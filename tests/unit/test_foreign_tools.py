"""Tools of other frameworks: told from what is none, called as theirs are, and their way to a worker and back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import Field, ValidationError

from crewq import Agent, Task, errors
from crewq.foreign_tools import ForeignTool, adapted, is_foreign_class
from crewq.references import Imports, standing_name
from crewq.tool_spec import ToolSpec
from crewq.tools import BaseTool
from tests.unit import foreign, parts
from tests.unit.foreign import ByJson, Greeter, Plain, Scraper
from tests.unit.parts import Multiply

HERE = "tests.unit.foreign"
THERE = Imports((HERE,))


def use(made: BaseTool, **arguments: Any) -> Any:
    parsed = made.parse(arguments)
    return asyncio.run(made.arun(**parsed)) if made.is_async else made.run(**parsed)


@pytest.mark.parametrize(
    ("thing", "is_async", "result"),
    [
        (foreign.repeat, False, "xx"),
        (foreign.later, True, "xx"),
        (foreign.one_off, False, "xx"),
        (Greeter(), False, "Hello, xHello, x"),
        (ByJson(), False, "Hello, xHello, x"),
        (Scraper(site="a.org"), False, "a.org x 2"),
    ],
    ids=lambda thing: getattr(thing, "name", None),
)
def test_it_is_called_as_its_framework_calls_it(thing: Any, is_async: bool, result: str) -> None:
    made = adapted(thing)
    assert isinstance(made, ForeignTool)
    assert made.is_async is is_async
    assert use(made, text="x", times=2) == result


def test_what_has_only_a_function_is_described_by_it() -> None:
    described = adapted(foreign.plain).schema_for_model()["function"]
    assert described["parameters"]["required"] == ["text"]
    assert use(adapted(foreign.plain), text="x") == "x"


def test_what_takes_one_text_is_given_one() -> None:
    made = adapted(foreign.one_text)
    described = made.schema_for_model()["function"]["parameters"]
    assert (described["properties"], described["required"]) == ({"tool_input": {"type": "string"}}, ["tool_input"])
    assert use(made, tool_input="x") == "xx"


def test_its_fields_are_taken_over() -> None:
    def never(*about: Any) -> bool:
        return False

    made = adapted(Scraper(result_as_answer=True, max_usage_count=2, cache_function=never))
    assert (made.public_name, made.description) == ("scrape_it", "Reads a page.")
    assert (made.result_as_answer, made.max_usage_count, made.cache_function) == (True, 2, never)
    assert adapted(Greeter(return_direct=True)).result_as_answer


def test_its_schema_is_what_the_model_sees() -> None:
    parameters = adapted(foreign.repeat).schema_for_model()["function"]["parameters"]
    assert list(parameters["properties"]) == ["text", "times"]
    with pytest.raises(ValidationError):
        adapted(foreign.repeat).parse({"times": 1})
    by_json = adapted(ByJson())
    assert by_json.schema_for_model()["function"]["parameters"] == {
        "type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"],
    }  # fmt: skip
    assert by_json.parse({"anything": 1}) == {"anything": 1}


def test_members_take_them() -> None:
    who = Agent(role="r", goal="g", backstory="b", tools=[foreign.repeat, parts.search])
    assert [tool.public_name for tool in who.tools] == ["repeat", "search"]
    assert [tool.name for tool in Task(description="d", tools=[Scraper()]).tools or ()] == ["Scrape It"]


@pytest.mark.parametrize("thing", [print, "search", parts.Report(title="x"), Greeter, Multiply, None, 3])
def test_what_is_no_tool_is_refused(thing: Any) -> None:
    with pytest.raises(errors.InvalidField, match=r"Agent\(tools"):
        Agent(role="r", goal="g", backstory="b", tools=[thing])


# -- to a worker and back ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "spec"),
    [
        (foreign.repeat, ToolSpec(name="repeat", reference=f"{HERE}:repeat")),
        (foreign.later, ToolSpec(name="later", reference=f"{HERE}:later")),
        (foreign.one_off, ToolSpec(name="one_off", reference=f"{HERE}:one_off")),
        (foreign.plain, ToolSpec(name="plain", reference=f"{HERE}:plain")),
        (Greeter(greeting="Hi"), ToolSpec(name="greeter", reference=f"{HERE}:Greeter", fields={"greeting": "Hi"})),
        (
            Scraper(site="a.org", max_usage_count=2),
            ToolSpec(
                name="scrape_it",
                reference=f"{HERE}:Scraper",
                fields={"site": "a.org", "description": "Reads a.org.", "max_usage_count": 2},
            ),
        ),
    ],
    ids=lambda thing: getattr(thing, "name", None),
)  # fmt: skip
def test_it_travels_by_name_or_by_its_class(thing: Any, spec: ToolSpec) -> None:
    made = adapted(thing)
    assert ToolSpec.of(made) == spec
    built = ToolSpec.model_validate_json(spec.model_dump_json()).build(THERE)
    assert built.schema_for_model() == made.schema_for_model()
    assert use(built, text="x") == use(made, text="x")
    assert (built.max_usage_count, built.is_async) == (made.max_usage_count, made.is_async)


def test_a_key_of_the_environment_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRAPER_API_KEY", "hunter2")
    spec = ToolSpec.of(adapted(Scraper()))
    assert spec.fields == {}
    monkeypatch.setenv("SCRAPER_API_KEY", "the worker's")
    built = spec.build(THERE)
    assert isinstance(built, ForeignTool)
    assert built.original.api_key == "the worker's"
    with pytest.raises(errors.NotPortable, match="'api_key' holds what looks like a key") as caught:
        ToolSpec.of(adapted(Scraper(api_key="hunter2")))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "thing",
    [
        Plain(),
        foreign.Structured(name="x", description="d", args_schema=foreign.Words, func=lambda text: text),
        foreign.Structured(name="x", description="d", args_schema=foreign.Words, func=foreign.Words),
    ],
)
def test_what_stands_nowhere_does_not_travel(thing: Any) -> None:
    with pytest.raises(errors.NotPortable, match=r"top level of a module|its own name"):
        ToolSpec.of(adapted(thing))


@pytest.mark.parametrize("reference", [f"{HERE}:structured", f"{HERE}:Words", f"{HERE}:os", "os:system"])
@pytest.mark.parametrize("fields", [None, {}])
def test_a_worker_builds_only_tools(reference: str, fields: dict[str, Any] | None) -> None:
    with pytest.raises(errors.ReferenceRefused):
        ToolSpec(name="x", reference=reference, fields=fields).build(THERE)


def test_a_class_that_cannot_be_made_is_broken() -> None:
    with pytest.raises(errors.ToolBroken, match="x"):
        ToolSpec(name="x", reference=f"{HERE}:ChainTool", fields={}).build(THERE)
    assert not is_foreign_class(foreign.Words)


# -- what a class does not say of a tool -------------------------------------------------------------------


def test_a_tool_of_ones_own_that_its_class_does_not_describe_travels_by_its_name() -> None:
    spec = ToolSpec.of(foreign.limited)
    assert spec == ToolSpec(name="multiply", reference=f"{HERE}:limited")
    with pytest.raises(ValidationError):
        spec.build(THERE).parse({"number": 11})


def kept(arguments: Any, result: Any) -> bool:
    return True


@pytest.mark.parametrize(("field", "value"), [("args_schema", foreign.Limits), ("cache_function", kept)])
def test_without_a_name_it_does_not_travel(field: str, value: Any) -> None:
    with pytest.raises(errors.NotPortable, match=f"its {field} is that of this one object.*\n.*top level of a module"):
        ToolSpec.of(Multiply(**{field: value}))


class Described(Multiply):
    args_schema: Any = foreign.Limits
    cache_function: Any = kept


def test_what_the_class_says_travels_with_it() -> None:
    assert ToolSpec.of(Described()).fields == {}


class Texted(Multiply):
    token: str = ""
    note: str = ""
    headers: dict[str, str] = Field(default_factory=dict)


@pytest.mark.parametrize(
    "fields",
    [
        {"token": "hunter2"},
        {"note": "sk-proj-hunter2hunter2hunter2"},
        {"headers": {"Authorization": "Bearer hunter2"}},
    ],
)
def test_what_looks_like_a_key_does_not_travel(fields: dict[str, Any]) -> None:
    with pytest.raises(errors.NotPortable, match="looks like a key") as caught:
        ToolSpec.of(Texted(**fields))
    assert "hunter2" not in str(caught.value)


def test_what_does_not_look_like_one_does() -> None:
    fields = {"note": "a token of thanks: https://x.org/?page=2", "headers": {"Accept": "text/html"}}
    assert ToolSpec.of(Texted(**fields)).fields == fields


for looped in [Plain()]:
    assert looped.run("x") == "x"
twice = Plain()
held = twice
twice = Plain()
given: Any = Plain()


def test_a_thing_is_found_under_a_name_that_it_keeps() -> None:
    assert standing_name(given) == f"{__name__}:given"
    assert standing_name(foreign.repeat) == f"{HERE}:repeat"
    assert standing_name(looped) is None
    assert standing_name(twice) is None
    assert standing_name(held) == f"{__name__}:held"
    assert standing_name(Plain()) is None
    assert standing_name(foreign.plain) == f"{HERE}:plain"
