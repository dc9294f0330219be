"""A worker's log as JSON: what is in a line, and what is not."""

from __future__ import annotations

import json
import logging
import sys
import uuid
from typing import Any

import pytest

from crewq.hidden import Hidden
from crewq.logs import JsonFormatter, at_rest, working_on
from crewq.plan import task_id
from crewq.store import Job

SECRET = 'a"secret\\key'
JOB = Job(str(uuid.uuid4()), 1)


def line(text: str, *arguments: Any, **more: Any) -> dict[str, Any]:
    record = logging.LogRecord("crewq.test", logging.WARNING, "file.py", 1, text, arguments, more.pop("exc_info", None))
    record.__dict__.update(more)
    formatted = JsonFormatter(Hidden({"MY_API_KEY": SECRET})).format(record)
    assert "\n" not in formatted
    found: dict[str, Any] = json.loads(formatted)
    return found


@pytest.fixture(autouse=True)
def rested() -> None:
    at_rest()


def test_a_line_has_a_time_a_level_a_logger_and_its_message() -> None:
    found = line("%s of\n%s", "two", "lines")
    assert found.pop("time").endswith("+00:00")
    assert found == {"level": "WARNING", "logger": "crewq.test", "message": "two of\nlines"}


def test_a_line_names_the_task_that_is_worked_on() -> None:
    working_on(JOB)
    ids = {"run": JOB.run, "task": task_id(JOB.run, 1)}
    assert {name: line("x").get(name) for name in ("run", "task", "attempt", "crew")} == {
        **ids,
        "attempt": None,
        "crew": None,
    }
    working_on(JOB, 2, "books")
    found = line("x", data={"id": "another", "args": "a prompt"})
    assert {name: found[name] for name in ("run", "task", "attempt", "crew")} == ids | {"attempt": 2, "crew": "books"}
    at_rest()
    assert "run" not in line("x")


def test_of_what_celery_tells_of_a_job_only_its_id_is_told() -> None:
    found = line("Task received", data={"id": "1-2-3", "args": "a prompt", "return_value": "an answer"})
    assert found["task"] == "1-2-3"
    assert "prompt" not in str(found)
    assert "answer" not in str(found)


def test_secrets_are_hidden_before_they_are_quoted() -> None:
    try:
        raise ValueError(f"it was {SECRET}")
    except ValueError:
        found = line("refused: %s", SECRET, exc_info=sys.exc_info())
    assert found["message"] == "refused: ***"
    assert found["error"] == "ValueError"
    assert "it was ***" in found["traceback"]
    assert SECRET not in found["traceback"]
