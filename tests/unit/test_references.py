"""References: only what a name leads back to is named, and only what is allowed and of its kind is found."""

from __future__ import annotations

import functools
import sys
from typing import Any

import pytest

from crewq import errors
from crewq.references import Imports, is_function, reference_of
from crewq.tools import BaseTool
from tests.unit import parts
from tests.unit.parts import HERE, IMPORTS


def is_tool(thing: Any) -> bool:
    return isinstance(thing, BaseTool)


def anything(thing: Any) -> bool:
    return True


# -- to a reference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "name"),
    [(parts.told, "told"), (parts.Multiply, "Multiply"), (parts.Nested.Multiply, "Nested.Multiply")],
)
def test_what_has_a_name_is_called_by_it(thing: Any, name: str) -> None:
    assert reference_of(thing, "It") == f"{HERE}:{name}"
    assert IMPORTS.resolve(f"{HERE}:{name}", anything, "it") is thing


def test_a_tool_is_called_by_the_name_of_its_function() -> None:
    assert reference_of(parts.search, "It", defined_as=parts.search.func) == f"{HERE}:search"


def local() -> Any:
    def inner() -> None: ...

    return inner


@functools.wraps(parts.told)
def wrapper(output: Any) -> None: ...


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (lambda: None, "a lambda"),
        (local(), "defined inside a function"),
        (functools.partial(parts.told), "no name"),
        (parts.Listener(), "no name"),
        (parts.Listener().method, "leads to something else"),
        (wrapper, "leads to something else"),
        (3, "no name"),
    ],
)
def test_what_no_name_leads_to_cannot_travel(thing: Any, reason: str) -> None:
    with pytest.raises(errors.NotPortable, match=reason) as caught:
        reference_of(thing, "The callback of X")
    assert str(caught.value).startswith("The callback of X cannot travel")


def test_what_was_replaced_under_its_name_cannot_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    old = parts.told
    monkeypatch.setattr(parts, "told", lambda output: None)
    with pytest.raises(errors.NotPortable, match="something else"):
        reference_of(old, "It")
    monkeypatch.delattr(parts, "told")
    with pytest.raises(errors.NotPortable, match="something else"):
        reference_of(old, "It")


# -- from a reference --------------------------------------------------------------------------------------


def refused(reference: str, kind: Any = anything, imports: Imports = IMPORTS) -> str:
    with pytest.raises(errors.ReferenceRefused) as caught:
        imports.resolve(reference, kind, "a tool")
    assert repr(reference) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "reference", ["os:system", "subprocess:run", "builtins:eval", "shutil:rmtree", "tests.unit:parts"]
)
def test_a_module_that_is_not_allowed_is_not_loaded(reference: str) -> None:
    assert "CREWQ_IMPORTS" in refused(reference)


def test_a_module_that_is_not_allowed_is_not_even_imported() -> None:
    assert "antigravity" not in sys.modules
    refused("antigravity:webbrowser")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "reference",
    ["", ":", "os", "os:", ":system", f"{HERE}:__builtins__", f"{HERE}:Multiply.__init__", f"{HERE}:told.__globals__"],
)
def test_what_is_no_name_is_refused(reference: str) -> None:
    assert "not of the form" in refused(reference)


@pytest.mark.parametrize(
    "reference",
    [
        f"{HERE}:os.popen",
        f"{HERE}:os.path.join",
        f"{HERE}:os",
        f"{HERE}:popen",
        f"{HERE}:TaskOutput",
        "crewq.testing:asyncio.to_thread",
        "crewq.testing:json.dumps",
    ],
)
def test_no_way_leads_through_an_allowed_module_into_another(reference: str) -> None:
    assert refused(reference)


def test_a_name_that_is_not_there_is_refused() -> None:
    assert "no such name" in refused(f"{HERE}:nothing")
    assert "no such name" in refused(f"{HERE}:Multiply.nothing.more")
    assert "cannot be imported" in refused(f"{HERE}.nowhere:x")


def test_a_thing_of_another_kind_is_refused() -> None:
    assert "not a tool" in refused(f"{HERE}:told", is_tool)
    assert "not a tool" in refused(f"{HERE}:Multiply", is_tool)
    assert "not a tool" in refused(f"{HERE}:search", is_function)
    assert "not a tool" in refused(f"{HERE}:IMPORTS", is_function)


def test_what_is_allowed() -> None:
    imports = Imports(("shop", "a.b")).also(["more", "shop"])
    assert imports.allowed == ("shop", "a.b", "more")
    for module in ("shop", "shop.tools", "a.b", "a.b.c", "more", "crewq.testing", "crewq.demo"):
        assert imports.allows(module), module
    for module in ("shopping", "a", "a.bc", "os", "", "crewq", "crewq.store", "crewq.testing2"):
        assert not imports.allows(module), module


def test_the_users_own_program_is_allowed_in_embedded_mode() -> None:
    imports = Imports(local=lambda module: module == "mine")
    assert imports.allows("mine")
    assert not imports.allows("os")
    assert imports.also(["x"]).allows("mine")


def test_only_plain_functions_are_functions() -> None:
    assert is_function(parts.told)
    assert is_function(parts.told_later)
    for thing in (print, parts.Listener(), parts.Listener().method, parts.Multiply, parts.search, None):
        assert not is_function(thing)
