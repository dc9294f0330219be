"""What test_fuzz.py found, each by its name: texts and numbers that once broke a reader, and the error that they are now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from crewq import errors
from crewq.agent.toolbox import Toolbox, as_text, invoke_directly
from crewq.budgets import read_budgets
from crewq.cli import main
from crewq.cli.crews import load_crew
from crewq.cli.inputs import read_inputs, read_pairs
from crewq.limits import read_limits
from crewq.model import ModelAnswer, ToolCall
from crewq.outputs import TaskOutput
from crewq.project.entries import read_entries
from crewq.references import Imports
from crewq.settings import Settings
from crewq.spec import CrewSpec
from crewq.store import BatchRecord, Claim, Job, RunRecord, ScheduleRecord, Store
from crewq.template import checked_inputs
from crewq.terms import Terms, check_timeout
from crewq.timing import Timing, read_timing
from tests.store.world import PAIR
from tests.unit.parts import search

DIGITS = "9" * 5000  # more than Python makes a number of
DEEP = "[" * 100_000
RUN = {"state": "failed", "crew": "c", "spec": "s", "inputs": "{}", "created": "1700000000000"}
TASK = {"state": "failed", "id": "i", "name": "n", "key": "k", "attempt": "1"}
BATCH = {"crew": "c", "created": "1700000000000", "total": "1"}
SCHEDULE = {"id": "i", "crew": "c", "spec": "{}", "inputs": "{}", "timing": "{}", "created": "1", "last": "1"}


def _short(value: Any) -> str:
    """For the name of a test: Python writes down no number of any length, and nobody reads thousands of brackets."""
    return "huge" if isinstance(value, int) and abs(value) > 10**15 else ascii(value)[:30]


each = partial(pytest.mark.parametrize, ids=_short)

# -- what Redis holds --------------------------------------------------------------------------------------------------


@each("text", [DEEP, f'{{"version": {DIGITS}}}', '{"version": 1e400}', b"\xff", '"\\ud800"'])
def test_a_crew_that_is_none(text: str | bytes) -> None:
    with pytest.raises(errors.RecordBroken, match="under spec:x cannot be read"):
        CrewSpec.from_json(text, where="spec:x")


@each(
    ("fields", "told"),
    [
        ({"agent": 7}, "task 2 names an agent that is not there"),
        ({"agent": -1}, "task 2 names an agent that is not there"),
        ({"coworkers": [1]}, "task 2 names an agent that is not there"),
        ({"after": [2]}, "task 2 names a task that does not come before it"),
        ({"context": [-1]}, "task 2 names a task that does not come before it"),
        ({"after": [], "condition": "a:b"}, "task 2 has a condition and comes after none"),
        ({"wings": 2}, "tasks.2.wings: Extra inputs are not permitted"),
    ],
)
def test_a_crew_whose_positions_lead_nowhere(fields: dict[str, Any], told: str) -> None:
    changed = json.loads(PAIR.to_json())
    changed["tasks"][2] |= fields
    with pytest.raises(errors.RecordBroken, match=told):
        CrewSpec.from_json(json.dumps(changed), where="spec:x")


@each(
    "fields",
    [
        {"inputs": "[]"},
        {"inputs": DEEP},
        {"edited": "7"},
        {"error": "null"},
        {"error": '{"error": "RunFailed"}'},
        {"created": "9" * 400},
        {"usage.total_tokens": "inf"},
        {"max_cost": "-1"},
    ],
)
def test_a_run_that_is_none(fields: dict[str, str]) -> None:
    with pytest.raises(errors.RecordBroken, match="under run:id cannot be read"):
        RunRecord.read("id", [RUN | fields, TASK])


def test_a_task_a_batch_and_a_schedule_that_are_none() -> None:
    with pytest.raises(errors.RecordBroken, match="run:id"):
        RunRecord.read("id", [RUN, TASK | {"output": DEEP}])
    for fields in ({"total": "many"}, {"ended": "9" * 400}, {"tenant": "/"}):
        with pytest.raises(errors.RecordBroken, match="batch:id"):
            BatchRecord.read("id", BATCH | fields)
    with pytest.raises(errors.RecordBroken, match="schedule:name"):
        ScheduleRecord.read("name", SCHEDULE | {"inputs": "[1]"})


@each("text", ["{}", "[]", DEEP, '{"every": "x"}', '{"cron": 7}', '{"cron": "* * * * *", "tz": []}'])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(errors.RecordBroken, match="schedule:x cannot be read"):
        Timing.from_json(text, "schedule:x")


def test_what_a_task_stands_on_is_read_when_the_task_can_fail_for_it() -> None:
    claim = Claim("yours", inputs_text="[", outputs={0: "["}, run="id")
    with pytest.raises(errors.RecordBroken, match="run:id"):
        _ = claim.inputs
    with pytest.raises(errors.RecordBroken, match="run:id"):
        _ = claim.context


@each(
    ("arguments", "named"),
    [
        ((), {}),
        (("r",), {}),
        (("r", "0"), {}),
        (("r", -1), {}),
        (("r", 10**30), {}),
        (("\ud800", 0), {}),
        (("r", 0), {"x": 1}),
    ],
)
def test_a_message_that_names_no_job(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(errors.RecordBroken, match="a job's message"):
        Job.told(arguments, named)
    assert Job.told(["r", 0], {}) == Job("r", 0)


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with closing(Store(Settings(redis_url=redis_url))) as found:
        yield found


def test_bytes_in_redis_that_are_no_text(store: Store, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.hset("{crewq}:run:x", mapping={"state": b"\xff", "tasks": 1})
    with pytest.raises(errors.RecordBroken, match="it holds bytes that are not UTF-8"):
        store.runs.state("x")
    assert store.runs.state("y") is None  # the connection is as good as ever


def test_an_id_that_is_no_text(store: Store, redis_url: str) -> None:
    with pytest.raises(errors.UsageError, match=r"'\\udcff' is no Unicode text"):
        store.runs.find("\udcff")
    done = CliRunner(env={"CREWQ_REDIS_URL": redis_url}).invoke(main, ["show", "\udcff"])
    assert (done.exit_code, done.exception.__class__) == (2, SystemExit)


# -- what a person writes ----------------------------------------------------------------------------------------------


@each("number", [10**5000, -(10**5000)])
def test_an_input_of_thousands_of_digits(number: int) -> None:
    with pytest.raises(errors.UnsupportedInput, match=r"inputs\['x'\]\['y'\] is of type int, and of more digits"):
        checked_inputs({"x": {"y": number}})
    assert checked_inputs({"x": 10**4000})


@each("content", [DEEP, f'{{"x": {DIGITS}}}'])
@each("name", ["inputs.json", "inputs.jsonl"])
def test_a_file_of_inputs_without_measure(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(
        errors.InputFileBroken, match=r"line 1: it (is nested too deeply|cannot be read: Exceeds the limit)"
    ):
        read_inputs((), tmp_path / name)


def test_an_input_on_the_command_line_that_is_no_json_is_text() -> None:
    assert read_pairs([f"x={DEEP}", f"y={DIGITS}", "z=[1]"]) == {"x": DEEP, "y": DIGITS, "z": [1]}


@each("seconds", [float("nan"), float("inf"), 0, -1, 10**400, "1", True])
def test_a_timeout_that_cannot_be_meant(seconds: Any) -> None:
    with pytest.raises(
        errors.InvalidField, match=r"kickoff\(timeout\) is not valid: it must be a number of seconds above 0"
    ):
        check_timeout(seconds)


@each("seconds", ["nan", "inf"])
def test_a_timeout_on_the_command_line_that_cannot_be_meant(redis_url: str, seconds: str) -> None:
    command = ["run", "tests.integration.crews:greetings", "--input", "who=x", "--timeout", seconds]
    done = CliRunner(env={"CREWQ_REDIS_URL": redis_url}).invoke(main, command)
    assert done.exit_code == 2, done.output
    assert f"above 0 and up to 1e+09, and is {seconds}" in done.output


@each(("field", "value"), [("max_cost", 10**400), ("max_tokens", 10**5000), ("max_cost", float("inf"))])
def test_a_budget_that_cannot_be_meant(field: str, value: Any) -> None:
    with pytest.raises(errors.InvalidField, match=r"up to 1e\+15|from 1 to 1e\+15"):
        Terms(**{field: value})


@each("number", [DIGITS, "9" * 16, "0", "-1", "1.5", "²", ""])
def test_a_limit_that_cannot_be_meant(number: str) -> None:
    with pytest.raises(errors.SettingInvalid, match=r"with a whole number from 1 to 1e\+15"):
        read_limits(f"openai/* rpm={number}", "CREWQ_LIMITS")
    with pytest.raises(errors.SettingInvalid, match=r"above 0 and up to 1e\+15"):
        read_budgets(f"acme max_tokens={number}", "CREWQ_BUDGETS")


@each("number", [DIGITS, "9" * 16, "0", "0.0", ".", "nan", "1e3"])
def test_a_price_that_cannot_be_meant(number: str) -> None:
    with pytest.raises(errors.SettingInvalid, match=r"above 0 and up to 1e\+15"):
        read_budgets(f"acme max_cost={number}", "CREWQ_BUDGETS")


@each("every", [DIGITS, f"{DIGITS}s", f"1h{DIGITS}m", 10**5000, -(10**5000)])
def test_an_interval_that_cannot_be_meant(every: Any) -> None:
    with pytest.raises(errors.ScheduleInvalid, match="the interval is"):
        read_timing("", every, now=0)


@each(
    ("variable", "value", "told"),
    [
        ("CREWQ_REDIS_URL", "redis://me:hunter2@h:99999999/0", "it must be a Redis URL"),
        ("CREWQ_REDIS_URL", "redis://me:hunter2@h:port/0", "it must be a Redis URL"),
        ("CREWQ_REDIS_URL", "redis://me:hunter2@h/0?socket_timeout=x", "Invalid value for 'socket_timeout'"),
        ("CREWQ_REDIS_URL", "redis://me:hunter2@h/0?wings=2", "unexpected keyword argument 'wings'"),
        ("CREWQ_BROKER_URL", "amqp://me:hunter2@h:port//", "it must be the URL of a broker"),
        ("CREWQ_BROKER_URL", "localhost", "it must be the URL of a broker"),
        ("CREWQ_REDIS_PASSWORD", "hunter2\udcff", "it is not UTF-8 text"),
        ("CREWQ_NAMESPACE", "hunter2\udcff", "it is not UTF-8 text"),
        ("CREWQ_REDIS_PASSWORD_FILE", "\0", "it cannot be read"),
    ],
)
def test_a_setting_that_cannot_be_meant(variable: str, value: str, told: str) -> None:
    with pytest.raises(errors.SettingInvalid, match=told) as caught:
        Store(Settings.from_env({"CREWQ_REDIS_URL": "redis://h", variable: value}), patience=0)
    assert str(caught.value).startswith(variable)
    assert "hunter2" not in str(caught.value)


@each(
    ("value", "told"),
    [
        ("2020-13-45", "line 2: this is no timestamp, though it is written like one"),
        (DIGITS, "line 2: this is no int, though"),
        ("!!bool x", "line 2: this is no bool, though"),
        ("!!timestamp x", "line 2: this is no timestamp, though"),
        ('!!int ""', "line 2: this is no int, though"),
        (DEEP, "somewhere: it is nested too deeply"),
    ],
)
def test_a_project_with_a_value_that_yaml_trips_over(tmp_path: Path, value: str, told: str) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text(f"writer:\n  goal: {value}\n")
    with pytest.raises(errors.ConfigBroken, match=told):
        read_entries(file, project="P", field="agents_config")


def test_a_project_with_a_list_in_a_field(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text("writer:\n  llm: {stop: [a, b]}\n")
    assert read_entries(file, project="P", field="agents_config") == {"writer": {"llm": {"stop": ["a", "b"]}}}


@each("module", ["\0", ".x", "x..y", "\ud800", "tests.\0"])
def test_a_module_of_a_name_that_python_breaks_on(module: str) -> None:
    refused: list[tuple[type[Exception], Callable[[str], Any]]] = [
        (errors.CrewUnloadable, load_crew),
        (errors.ReferenceRefused, lambda text: Imports((module, "tests")).resolve(text, callable, "a function")),
    ]
    for kind, read in refused:
        with pytest.raises(kind, match="it is not of the form module:name"):
            read(f"{module}:name")


# -- what a model and a tool say ---------------------------------------------------------------------------------------


def test_half_a_character_in_an_answer_that_was_paid_for() -> None:
    """Its JSON said `\\ud83d`, and nothing could write it down: the model was asked again, and paid again."""
    answer = ModelAnswer(text="so \ud83d", tool_calls=(ToolCall(id="1", name="x", arguments='{"y": "\udfff"}'),))
    assert answer.text == "so \ufffd"
    assert ModelAnswer.model_validate_json(answer.model_dump_json()) == answer
    output = TaskOutput(raw="\ud800ä", json_dict={"a\ud800": ["\udfff", {"b": 1}]})
    assert TaskOutput.model_validate_json(output.model_dump_json()).json_dict == {"a\ufffd": ["\ufffd", {"b": 1}]}


@each("arguments", [DEEP, f'{{"query": {DIGITS}}}', '{"query": "\\ud800"}'])
def test_arguments_of_a_tool_that_a_model_made_up(arguments: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        toolbox = Toolbox([search], invoke_directly(threads))
        told = asyncio.run(toolbox.call(ToolCall(id="1", name="search", arguments=arguments)))
    assert told.text.encode()
    assert told.text.startswith("The tool search was not called. The arguments are not JSON") or told.ok


def test_half_a_character_in_the_result_of_a_tool() -> None:
    assert as_text("a\ud800") == "a\ufffd"
    assert as_text(["a\ud800"]) == '["a\ufffd"]'
