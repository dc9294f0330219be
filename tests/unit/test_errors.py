"""Errors: what travels with them, and what becomes of those that another version wrote."""

from __future__ import annotations

import copy
import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crewq import errors
from crewq.errors import CrewqError, explain

KINDS: list[Any] = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, CrewqError)]


def test_an_error_is_caught_as_what_python_calls_it() -> None:
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.NotFound, LookupError)
    assert issubclass(errors.InputsNotMapping, TypeError)
    assert issubclass(errors.ResultTimeout, TimeoutError)
    assert issubclass(errors.TimeExceeded, TimeoutError)


def test_only_what_may_get_better_by_itself_is_tried_again() -> None:
    assert {kind.__name__ for kind in KINDS if kind.retryable} == {
        "McpUnreachable", "ModelTimeout", "ModelUnavailable", "RateLimited", "SandboxUnavailable", "StoreFull",
        "StoreUnreachable",
    }  # fmt: skip


def test_braces_in_facts_are_no_blanks() -> None:
    error = errors.JobBroken(reason="{x} {0} {{y}}")
    assert str(error) == "{x} {0} {{y}}"
    assert str(CrewqError.from_record(error.record())) == str(error)


def test_facts_that_are_no_json_are_kept_as_text() -> None:
    facts = {
        "reason": "r",
        "path": Path("/x"),
        "many": {1, 2},
        "deep": {3: (Decimal("1.5"), None)},
        "error": ValueError("v"),
    }
    record = json.loads(json.dumps(errors.JobBroken(**facts).record()))
    assert record["facts"] == {
        "reason": "r", "path": "/x", "many": [1, 2], "deep": {"3": ["1.5", None]}, "error": "v",
    }  # fmt: skip


def test_facts_beyond_the_blanks_travel_too() -> None:
    error = errors.RateLimited(model="m", status=429, reason="slow down", retry_after=2.5)
    for again in (pickle.loads(pickle.dumps(error)), CrewqError.from_record(error.record()), copy.copy(error)):
        assert (again.retry_after, again.facts) == (2.5, error.facts)
    assert errors.ModelUnknown(model="m", reason="r").retry_after is None


@pytest.mark.parametrize(
    "record",
    [
        {"error": "OfTomorrow", "message": "it was so", "facts": {"a": 1}},
        {"error": "UnknownId", "message": "it was so", "facts": {"renamed": 1}},
        {"error": "TimeExceeded", "message": "it was so", "facts": {"seconds": "many", "limit": "x"}},
        {"error": "ValueError", "message": "it was so", "facts": {}},
        {"error": "BatchFailed", "message": "it was so", "facts": {}},
        {"error": "JobBroken", "message": "it was so", "facts": None},
    ],
)
def test_an_error_of_another_version_keeps_its_message(record: dict[str, Any]) -> None:
    error = CrewqError.from_record(record)
    assert (type(error), str(error)) == (errors.JobBroken, "it was so")


def test_a_batch_that_failed_has_the_results_with_it_wherever_it_goes() -> None:
    failure = errors.JobBroken(reason="boom")
    error = errors.BatchFailed(batch="b", failed=1, total=2, first="boom", results=["fine", failure])
    assert error.errors == {1: failure}
    again = pickle.loads(pickle.dumps(error))
    assert again.results[0] == "fine"
    assert {at: str(item) for at, item in again.errors.items()} == {1: "boom"}


def test_an_error_is_explained_in_one_line() -> None:
    assert explain(errors.JobBroken(reason="boom")) == "boom"
    assert explain(ValueError("bad")) == "ValueError: bad"
    assert explain(KeyError()) == "KeyError"
