"""The log file of a crew: whose tasks did what, in the form of its name. What goes wrong with it costs no output."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crewq import errors
from crewq.output_log import append, file_of
from crewq.outputs import TaskOutput
from crewq.states import RunState, TaskState
from crewq.store import RunRecord, TaskRecord

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=90)
DONE = TaskRecord(
    index=0,
    id="i",
    name="look",
    key="k",
    state=TaskState.COMPLETED,
    started=NOON,
    ended=LATER,
    output=TaskOutput(description="Look at {it}.", agent="Scholar", raw='"Bees" dance.'),
)
FAILED = replace(
    DONE, name="write", state=TaskState.FAILED, started=LATER, output=None, error=errors.TaskError(reason="Broken.")
)
KEPT = replace(DONE, kept=True)
WAITING = replace(DONE, name="last", state=TaskState.WAITING, started=None, ended=None, output=None)
RUN = RunRecord(
    id="r", state=RunState.FAILED, crew="c", spec="s", inputs={}, created=NOON, tasks=(DONE, FAILED, KEPT, WAITING)
)
WANTED = [
    {"task_name": "look", "task": "Look at {it}.", "agent": "Scholar", "status": "started"},
    {
        "task_name": "look",
        "task": "Look at {it}.",
        "agent": "Scholar",
        "status": "completed",
        "output": '"Bees" dance.',
    },
    {"task_name": "write", "task": "", "agent": "", "status": "started"},
    {"task_name": "write", "task": "", "agent": "", "status": "failed", "error": "Broken."},
]


@pytest.mark.parametrize(
    ("given", "name"), [(True, "logs.txt"), ("a.txt", "a.txt"), ("a.json", "a.json"), ("logs/a", "logs/a.txt")]
)
def test_a_file_is_called_as_in_crewai(given: bool | str, name: str) -> None:
    assert file_of(given) == Path(name)


def test_json_has_an_entry_for_each_begin_and_end(tmp_path: Path) -> None:
    file = tmp_path / "log.json"
    for _ in range(2):
        append(str(file), RUN)
    entries = json.loads(file.read_text())
    moment = f"{NOON.astimezone():%Y-%m-%d %H:%M:%S}"
    assert entries[0].pop("timestamp") == moment
    assert [{name: value for name, value in one.items() if name != "timestamp"} for one in entries] == WANTED * 2


def test_text_has_a_line_for_each(tmp_path: Path) -> None:
    for _ in range(2):
        append(str(tmp_path / "log"), RUN)
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert len(lines) == 8
    assert lines[1].endswith(
        ': task_name="look", task="Look at {it}.", agent="Scholar", status="completed", output=""Bees" dance."'
    )


@pytest.mark.parametrize("held", ["not json", '{"a": 1}', "3"])
def test_what_is_no_log_is_left_as_it_is_and_costs_no_output(
    tmp_path: Path, held: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "log.json"
    file.write_text(held)
    append(str(file), RUN)
    append(str(tmp_path / "no" / "such" / "folder.txt"), RUN)
    assert file.read_text() == held
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
