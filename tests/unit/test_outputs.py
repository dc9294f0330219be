"""Outputs: CrewAI's names and meaning, and money."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError

from crewq import errors
from crewq.outputs import CrewOutput, TaskOutput, UsageMetrics


class Answer(BaseModel):
    value: int


RAW = TaskOutput(description="one two three four five six seven eight nine ten eleven", raw="text", agent="R")
JSON = TaskOutput(description="d", raw='{"value": 1}', json_dict={"value": 1}, output_format="json")
TYPED = TaskOutput(
    description="d", raw='{"value": 1}', json_dict={"value": 1}, output_format="pydantic"
).typed(Answer)  # fmt: skip


def test_usage_adds_up() -> None:
    one = UsageMetrics(total_tokens=3, cost=0.5, successful_requests=1)
    two = UsageMetrics(total_tokens=4, cost=0.25, unpriced_requests=1)
    total = one + two
    assert (total.total_tokens, total.cost, total.successful_requests, total.unpriced_requests) == (7, 0.75, 1, 1)
    assert (one.cost_known, total.cost_known) == (True, False)
    assert total.delta_since(one) == two
    one.add_usage_metrics(two)
    assert one == total


def test_an_output_is_its_object_else_its_json_else_its_text() -> None:
    assert [str(output) for output in (RAW, JSON, TYPED)] == ["text", '{"value": 1}', "value=1"]
    assert [output.to_dict() for output in (RAW, JSON, TYPED)] == [{}, {"value": 1}, {"value": 1}]
    assert RAW.summary == "one two three four five six seven eight nine ten..."


def test_json_is_for_json_tasks() -> None:
    assert json.loads(JSON.json or "") == {"value": 1}
    for output in (RAW, TYPED):
        with pytest.raises(ValueError, match="output_json"):
            _ = output.json


def test_a_typed_output_is_the_callers_own_class() -> None:
    assert isinstance(TYPED.pydantic, Answer)
    assert TYPED.json_dict is None
    with pytest.raises(ValidationError):
        TaskOutput(json_dict={"value": "x"}).typed(Answer)


@pytest.mark.parametrize("output", [RAW, JSON, TaskOutput(), TaskOutput(raw="🦀", messages=[{"role": "user"}])])
def test_an_output_comes_back_from_its_json(output: TaskOutput) -> None:
    assert TaskOutput.model_validate_json(output.model_dump_json()) == output
    assert TaskOutput.model_validate_json(output.model_dump_json(exclude_defaults=True)) == output


def crew_output(*outputs: TaskOutput) -> CrewOutput:
    return CrewOutput.of(list(outputs), UsageMetrics(total_tokens=3), "run")


def test_the_crews_output_is_that_of_its_last_task_with_any() -> None:
    skipped = TaskOutput(description="s")
    assert crew_output(RAW, JSON, skipped).raw == JSON.raw
    assert crew_output(skipped, skipped).raw == ""
    assert crew_output(JSON, RAW).json_dict is None
    assert [output.description for output in crew_output(RAW, skipped).tasks_output] == [RAW.description, "s"]


def test_a_crews_output_is_read_by_key() -> None:
    assert crew_output(RAW, TYPED)["value"] == 1
    assert crew_output(RAW, JSON)["value"] == 1
    assert str(crew_output(RAW, TYPED)) == "value=1"
    with pytest.raises(KeyError, match="value"):
        crew_output(JSON)["other"]
    with pytest.raises(KeyError, match="only text"):
        crew_output(RAW)["x"]


def test_a_crews_json_is_that_of_its_last_task() -> None:
    assert json.loads(crew_output(RAW, JSON).json or "") == {"value": 1}
    for output in (crew_output(JSON, RAW), CrewOutput()):
        with pytest.raises(errors.UsageError, match="output_json"):
            _ = output.json


def test_a_crews_output_tells_what_it_used() -> None:
    output = crew_output(RAW)
    assert output.usage_metrics["total_tokens"] == output.token_usage.total_tokens == 3
    assert output.run_id == "run"
    assert CrewOutput.model_validate_json(crew_output(JSON).model_dump_json()) == crew_output(JSON)
