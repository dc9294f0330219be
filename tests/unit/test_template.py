"""Interpolation: CrewAI's rules, less its defects."""

from __future__ import annotations

from collections import OrderedDict
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewq import errors
from crewq.template import checked_inputs, interpolate, names_in, require

VALUES: dict[str, Any] = {"x": "V", "_a-b2": 1, "n": None, "t": True, "l": [25, 30], "d": {"k": "v"}, "f": 0.1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{x}", "V"),
        ("a {x} b {x}", "a V b V"),
        ("{x}{x}", "VV"),
        ("{_a-b2}", "1"),
        ("{n} {t} {f}", "None True 0.1"),
        ("{l}", "[25, 30]"),
        ("{d}", "{'k': 'v'}"),
        ("{{x}}", "{V}"),
        ("{{{x}}}", "{{V}}"),
        ("{ x }", "{ x }"),
        ("{1x}", "{1x}"),
        ("{x.y}", "{x.y}"),
        ("{x[0]}", "{x[0]}"),
        ("{x!r:>5}", "{x!r:>5}"),
        ("{-x}", "{-x}"),
        ("{}", "{}"),
        ("{", "{"),
        ("}{", "}{"),
        ("{ä}", "{ä}"),
        ("{x\n}", "{x\n}"),
        ('{"x": {"y": 1}}', '{"x": {"y": 1}}'),
        ('{"x": {x}}', '{"x": V}'),
        ("", ""),
        (r"\1 \g<0> {x}", r"\1 \g<0> V"),
    ],
)
def test_what_is_a_placeholder_and_what_is_text(text: str, expected: str) -> None:
    assert interpolate(text, VALUES) == expected


def test_an_inserted_value_is_never_expanded() -> None:
    assert interpolate("{a} {b}", {"a": "{b}", "b": "{a}"}) == "{b} {a}"
    assert interpolate("{a}x}", {"a": "{", "x": "no"}) == "{x}"
    assert interpolate("{a}", {"a": r"\1{a}"}) == r"\1{a}"


def test_without_inputs_the_braces_stay() -> None:
    assert interpolate("{x}", {}) == "{x}"
    require("demo", iter([("here", "{x}")]), {})


@given(st.text(alphabet="{}ab1 -_\n", max_size=30), st.text(alphabet="{}ab", max_size=5))
def test_text_without_placeholders_of_ours_never_changes(text: str, value: str) -> None:
    inputs = dict.fromkeys(names_in(text), value)
    filled = interpolate(text, inputs)
    assert len(filled) == len(text) + sum(
        (len(value) - len(name) - 2) * text.count(f"{{{name}}}") for name in names_in(text)
    )


def test_names_are_told_once_and_in_order() -> None:
    assert names_in("{b} {a} {b} { c } {{d}}") == ["b", "a", "d"]


def test_all_that_is_missing_is_named_at_once_with_where_it_is_used() -> None:
    texts = [("goal of A", "{topic} {year}"), ("task 1", "{year}{year}"), ("task 2", "{x}")]
    with pytest.raises(errors.MissingInputs) as caught:
        require("demo", iter(texts), {"x": 1})
    assert caught.value.facts == {
        "crew": "demo",
        "names": "topic, year",
        "places": "{topic} in goal of A; {year} in goal of A, task 1",
        "unused": "",
        "example": '"topic": ..., "year": ...',
    }
    assert 'inputs={"topic": ..., "year": ...}' in str(caught.value)


def test_nothing_is_missing_when_all_is_there() -> None:
    require("demo", iter([("here", "{x} {n}")]), VALUES)


def test_inputs_are_a_copy() -> None:
    given = {"a": {"b": [1]}}
    checked = checked_inputs(given)
    assert checked == given
    given["a"]["b"].append(2)
    assert checked == {"a": {"b": [1]}}


@pytest.mark.parametrize("mapping", [None, {}, MappingProxyType({}), OrderedDict()])
def test_any_mapping_will_do(mapping: Any) -> None:
    assert checked_inputs(mapping) == {}


@pytest.mark.parametrize(("value", "kind"), [([], "list"), ("x", "str"), (3, "int"), ({1}, "set")])
def test_inputs_that_are_no_mapping_are_refused(value: Any, kind: str) -> None:
    with pytest.raises(errors.InputsNotMapping, match=kind) as caught:
        checked_inputs(value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        ((1, 2), "inputs['k']", "tuple"),
        ({1}, "inputs['k']", "set"),
        (date(2025, 1, 1), "inputs['k']", "date"),
        (Decimal(1), "inputs['k']", "Decimal"),
        (b"x", "inputs['k']", "bytes"),
        (object(), "inputs['k']", "object"),
        (float("nan"), "inputs['k']", "float (nan)"),
        ([1, float("-inf")], "inputs['k'][1]", "float (-inf)"),
        ([1, [2, (3,)]], "inputs['k'][1][0]".replace("[0]", "[1]"), "tuple"),
        ({"a": {"b": {1}}}, "inputs['k']['a']['b']", "set"),
        ({"a": {1: "b"}}, "inputs['k']['a'] key 1", "int"),
        ("\ud800", "inputs['k']", "str that is no Unicode text"),
        ({"\udfff": 1}, "inputs['k'] key '\\udfff'", "str that is no Unicode text"),
    ],
)
def test_a_value_that_cannot_travel_is_named_by_its_path(value: Any, path: str, kind: str) -> None:
    with pytest.raises(errors.UnsupportedInput) as caught:
        checked_inputs({"fine": 1, "k": value})
    assert caught.value.facts == {"path": path, "type": kind}


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(errors.UnsupportedInput, match="inputs key 1"):
        checked_inputs({1: "x"})


def test_a_slip_of_the_pen_is_named_next_to_what_it_leaves_missing() -> None:
    with pytest.raises(errors.MissingInputs) as caught:
        require("c", iter([("the task", "about {topic} in {year}")]), {"topicc": 1, "year": 2})
    assert "needs inputs that were not given: topic." in str(caught.value)
    assert "Given, and not used: 'topicc'." in str(caught.value)


def test_an_input_that_nothing_asks_for_is_no_error_by_itself() -> None:
    require("c", iter([("the task", "about {topic}")]), {"topic": 1, "current_year": 2})
