"""The crew as it travels: one text for one crew, and no guess about a text that is not one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from crewq import errors
from crewq.spec import SPEC_VERSION, AgentSpec, CrewSpec, LLMSpec, Process, TaskSpec
from crewq.tool_spec import ToolSpec

LLM = LLMSpec(model="m", options={"b": 1, "a": [1, {"z": None}]})
AGENT = AgentSpec(role="R", goal="G", backstory="Zürich 🦀", llm=LLM, tools=(ToolSpec(name="t", reference="m:t"),))
TASK = TaskSpec(key="k", description="D", agent=0)
CREW = CrewSpec(name="demo", agents=(AGENT,), tasks=(TASK, TaskSpec(key="l", description="E", agent=0, after=(0,))))


def test_a_spec_comes_back_from_its_json() -> None:
    text = CREW.to_json()
    assert CrewSpec.from_json(text, "here") == CREW
    assert CrewSpec.from_json(text.encode(), "here") == CREW
    assert CrewSpec.from_json(text, "here").to_json() == text
    assert "Zürich 🦀" in text


def test_the_json_is_small_and_says_its_version() -> None:
    raw = json.loads(CREW.to_json())
    assert raw["version"] == SPEC_VERSION == 1
    assert raw["tasks"][0] == {"key": "k", "description": "D", "agent": 0}


def test_the_digest_is_that_of_the_content() -> None:
    reordered = LLMSpec(model="m", options={"a": [1, {"z": None}], "b": 1})
    same = CREW.model_copy(update={"agents": (AGENT.model_copy(update={"llm": reordered}),)})
    assert same.digest() == CREW.digest()
    spelled_out = CREW.model_copy(update={"process": Process.sequential, "cache": False})
    assert spelled_out.digest() == CREW.digest()
    assert CREW.model_copy(update={"name": "other"}).digest() != CREW.digest()
    assert len(CREW.digest()) == 32


def test_the_digest_is_the_same_in_every_version_of_crewq() -> None:
    """Runs of older versions are found by it; if this fails, raise SPEC_VERSION and think of them."""
    assert CREW.digest() == "3ff43fd967c1442256e43b41402d8e1c"


def test_a_spec_does_not_change() -> None:
    with pytest.raises(ValidationError):
        CREW.name = "x"  # type: ignore[misc]


@pytest.mark.parametrize("version", [2, 99])
def test_a_newer_spec_is_said_to_be_newer(version: int) -> None:
    text = json.dumps(json.loads(CREW.to_json()) | {"version": version, "unheard_of": 1})
    with pytest.raises(errors.SpecTooNew, match=str(version)):
        CrewSpec.from_json(text, "here")


def broken(**changes: Any) -> str:
    return json.dumps(json.loads(CREW.to_json()) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"x"',
        "{}",
        b"\xff\xfe",
        broken(version=0),
        broken(version="1.0"),
        broken(unheard_of=1),
        broken(tasks="x"),
        broken(agents=[{}]),
    ],
)
def test_what_is_no_spec_is_broken_and_says_where(text: Any) -> None:
    with pytest.raises(errors.RecordBroken, match="spec:abc"):
        CrewSpec.from_json(text, "spec:abc")


def test_a_task_is_called_by_its_name_or_its_first_words() -> None:
    assert TASK.label == "D"
    assert TASK.model_copy(update={"name": "n"}).label == "n"
    assert TASK.model_copy(update={"description": "one two\nthree four five six seven"}).label == (
        "one two three four five six"
    )
