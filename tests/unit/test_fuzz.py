"""Whatever is read from outside, whoever wrote it: it is read, or one of crewq's errors; never another crash, never a hang.

Texts are those that reach each reader: from Redis and from files any that UTF-8 can say, from a command line and the
environment also what it cannot (half a pair of surrogates, as Python hands on bytes that are no text). What was found this way
is kept in test_bad_text.py, by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crewq import LLM, errors
from crewq.budgets import read_budgets
from crewq.cli import main
from crewq.cli.crews import load_crew
from crewq.cli.inputs import read_inputs, read_pairs, read_texts
from crewq.events import Event, from_stream
from crewq.limits import read_limits
from crewq.literal_keys import literal_keys
from crewq.mcp import as_server
from crewq.members import Agent
from crewq.output_files import write_output
from crewq.outputs import TaskOutput
from crewq.producer import disconnect
from crewq.project.entries import read_entries
from crewq.references import Imports
from crewq.settings import Settings
from crewq.spec import CrewSpec
from crewq.store import BatchRecord, Job, RunRecord, ScheduleRecord, Store
from crewq.template import checked_inputs, interpolate, names_in, require
from crewq.terms import Terms, check_timeout
from crewq.timing import Timing, read_timing
from crewq.weights import read_weights
from tests.store.world import PAIR
from tests.unit.nasty import ANY_TEXT, ANYTHING, JSON, NUMBERS, UNICODE, only

pytestmark = pytest.mark.slow

fuzz = settings(
    max_examples=100,
    deadline=timedelta(seconds=2),  # a reader that hangs over a line is broken too
    derandomize=True,  # the same in each run: what passes today passes tomorrow
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

SPEC = json.loads(PAIR.to_json())


# -- what Redis holds --------------------------------------------------------------------------------------------------


@fuzz
@given(UNICODE | JSON.map(json.dumps) | st.binary(max_size=60))
def test_a_crew_of_any_text(text: str | bytes) -> None:
    with only(errors.RecordBroken, errors.SpecTooNew):
        CrewSpec.from_json(text, where="spec:x")


@fuzz
@given(st.data())
def test_a_crew_in_which_something_was_changed(data: st.DataObject) -> None:
    changed = json.loads(json.dumps(SPEC))
    at = changed
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [
            value for value in (at.values() if isinstance(at, dict) else at) if isinstance(value, dict | list) and value
        ]
        at = data.draw(st.sampled_from(inner)) if inner else at
    key = data.draw(st.sampled_from(list(at))) if isinstance(at, dict) else data.draw(st.integers(0, len(at) - 1))
    at[key] = data.draw(JSON | st.integers(-2, 4) | st.lists(st.integers(-2, 4)))
    with only(errors.RecordBroken, errors.SpecTooNew):
        crew = CrewSpec.from_json(json.dumps(changed), where="spec:x")
        assert CrewSpec.from_json(crew.to_json(), where="spec:y") == crew
        for task in crew.tasks:  # each of its positions leads somewhere
            assert crew.agents[task.agent]
            assert all(crew.tasks[other] for other in task.reads)


KINDS = st.sampled_from(["run_failed", "task_started", "task_requeued", "call_finished", "token", "task_failed", "x"])
FIELDS = st.sampled_from(
    ["task", "attempt", "worker", "error", "usage", "seconds", "reused", "kind", "name", "call", "delay"]
)


@fuzz
@given(KINDS | UNICODE, st.dictionaries(FIELDS | UNICODE, UNICODE, max_size=6))
def test_an_event_of_any_fields(kind: str, fields: dict[str, str]) -> None:
    event = from_stream("run", "1700000000000-0", fields | {"type": kind})
    assert isinstance(event, Event)
    assert event.at.year == 2023


VALUES = UNICODE | JSON.map(json.dumps)
RUN_FIELDS = st.sampled_from(
    ["state", "crew", "inputs", "created", "started", "item", "edited", "error", "usage.cost", "usage.x", "max_cost"]
)
TASK_FIELDS = st.sampled_from(
    ["state", "id", "name", "key", "attempt", "output", "error", "repeated", "draft", "asked_at", "usage.cost"]
)
BATCH_FIELDS = st.sampled_from(["crew", "created", "total", "completed", "tenant", "max_tokens", "usage.cost", "ended"])
SCHEDULE_FIELDS = st.sampled_from(["id", "crew", "spec", "inputs", "timing", "created", "last"])
SOUND_RUN = {"state": "failed", "crew": "c", "spec": "s", "inputs": "{}", "created": "1700000000000"}
SOUND_TASK = {"state": "failed", "id": "i", "name": "n", "key": "k", "attempt": "1"}
SOUND_BATCH = {"crew": "c", "created": "1700000000000", "total": "1"}
SOUND_SCHEDULE = {"id": "i", "crew": "c", "spec": "{}", "inputs": "{}", "timing": "{}", "created": "1", "last": "1"}


@fuzz
@given(st.dictionaries(RUN_FIELDS, VALUES, max_size=2), st.dictionaries(TASK_FIELDS, VALUES, max_size=2))
def test_a_run_of_any_fields(run: dict[str, str], task: dict[str, str]) -> None:
    with only(errors.RecordBroken):
        RunRecord.read("id", [SOUND_RUN | run, SOUND_TASK | task])


@fuzz
@given(st.dictionaries(BATCH_FIELDS, VALUES, max_size=2), st.dictionaries(SCHEDULE_FIELDS, VALUES, max_size=2))
def test_a_batch_and_a_schedule_of_any_fields(batch: dict[str, str], schedule: dict[str, str]) -> None:
    with only(errors.RecordBroken):
        BatchRecord.read("id", SOUND_BATCH | batch)
    with only(errors.RecordBroken):
        ScheduleRecord.read("name", SOUND_SCHEDULE | schedule)


TIMES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("cron", "every", "tz", "catch_up"), JSON | st.integers(0, 99))
)


@fuzz
@given(VALUES | TIMES.map(json.dumps))
def test_the_times_of_a_schedule_of_any_text(text: str) -> None:
    with only(errors.RecordBroken):
        timing = Timing.from_json(text, "schedule:x")
        assert str(timing)
        timing.next(1_700_000_000_000)


@fuzz
@given(VALUES, VALUES | JSON)
def test_a_record_of_an_error_of_any_facts(name: str, facts: Any) -> None:
    record = json.dumps({"error": name, "message": "m", "facts": facts})
    with only(errors.RecordBroken):
        RunRecord.read("id", [SOUND_RUN | {"error": record}])
    for kind in ("RunFailed", "InputError", "BatchFailed", "TimeExceeded", "JobBroken"):
        with only(errors.RecordBroken):
            RunRecord.read("id", [SOUND_RUN | {"error": json.dumps({"error": kind, "message": "m", "facts": facts})}])


@fuzz
@given(st.lists(JSON, max_size=3), st.dictionaries(UNICODE, JSON, max_size=1))
def test_a_message_of_any_arguments(arguments: list[Any], named: dict[str, Any]) -> None:
    with only(errors.RecordBroken):
        job = Job.told(arguments, named)
        assert Job.read(str(job)) == job


# -- templates and references ------------------------------------------------------------------------------------------


@fuzz
@given(UNICODE, st.dictionaries(UNICODE | st.just("x"), UNICODE, max_size=3))
def test_a_template_of_any_text(text: str, inputs: dict[str, str]) -> None:
    with only(errors.MissingInputs):
        require("crew", iter([("here", text)]), inputs)
        filled = interpolate(text, inputs)
        assert filled == text or names_in(text)


@fuzz
@given(st.dictionaries(ANY_TEXT | st.integers(), ANYTHING, max_size=4) | JSON)
def test_inputs_of_any_kind(inputs: Any) -> None:
    with only(errors.InputError):
        json.dumps(checked_inputs(inputs), allow_nan=False).encode()


MODULES = st.sampled_from(["tests.unit.parts", "tests.unit", "crewq.demo", "crewq.testing", "os", ""])
IMPORTS = Imports(("tests.unit.parts",))


@fuzz
@given(
    ANY_TEXT | st.builds("{}{}:{}".format, MODULES, ANY_TEXT, ANY_TEXT) | st.builds("{}:{}".format, MODULES, ANY_TEXT)
)
def test_a_reference_of_any_text(reference: str) -> None:
    with only(errors.ReferenceRefused):
        IMPORTS.resolve(reference, callable, "a function")


@fuzz
@given(JSON, UNICODE, st.booleans())
def test_keys_are_looked_for_in_anything(value: Any, name: str, strict: bool) -> None:
    assert all(isinstance(found, str) for found in literal_keys(value, name, strict=strict))


@fuzz
@given(ANY_TEXT.filter(lambda text: len(text) < 100))
def test_a_file_of_any_name(tmp_path: Path, name: str) -> None:
    with only(errors.OutputFileRefused, errors.OutputFileUnwritable):
        assert write_output(tmp_path, name, TaskOutput(raw="x"), True).is_relative_to(tmp_path)


# -- settings and fields -----------------------------------------------------------------------------------------------

VARIABLES = st.sampled_from(
    [
        "CREWQ_REDIS_URL", "REDIS_URL", "CREWQ_REDIS_PASSWORD", "CREWQ_REDIS_URL_FILE", "CREWQ_BROKER_URL", "CREWQ_IMPORTS",
        "CREWQ_MCP_SERVERS", "CREWQ_LEASE_SECONDS", "CREWQ_MAX_ATTEMPTS", "CREWQ_CONCURRENCY", "CREWQ_LIMITS", "CREWQ_SANDBOX",
        "CREWQ_OUTPUT_DIR", "CREWQ_KEEP_COMPLETED_DAYS", "CREWQ_KEEP_FAILED_DAYS", "CREWQ_NAMESPACE", "CREWQ_QUEUE",
        "CREWQ_BUDGETS", "CREWQ_WEIGHTS", "CREWQ_SANDBOX_MEMORY_MB", "CREWQ_HEARTBEAT_FILE",
    ]
)  # fmt: skip
ADDRESSES = st.builds("redis://{}:{}/{}?{}={}".format, ANY_TEXT, ANY_TEXT, UNICODE, st.text("abc_"), ANY_TEXT)


@fuzz
@given(st.dictionaries(VARIABLES, ANY_TEXT | ADDRESSES, max_size=4))
def test_settings_of_any_text(environ: dict[str, str]) -> None:
    with only(errors.SettingInvalid):
        read = Settings.from_env(environ)
        assert read.where
        if read.redis_url:  # no connection is made yet, but the whole address is read
            Store(read, patience=0).close()


@fuzz
@given(ANY_TEXT | st.builds("{} {}={}".format, ANY_TEXT, st.sampled_from(["rpm", "tpm", "x", "max_cost"]), ANY_TEXT))
def test_limits_budgets_and_weights_of_any_text(text: str) -> None:
    with only(errors.SettingInvalid):
        read_limits(text, "CREWQ_LIMITS")
    with only(errors.SettingInvalid):
        read_budgets(text, "CREWQ_BUDGETS")
    with only(errors.SettingInvalid):
        read_weights(text, "CREWQ_WEIGHTS")


@fuzz
@given(NUMBERS, NUMBERS, NUMBERS)
def test_fields_of_any_number(seconds: Any, tokens: Any, rate: Any) -> None:
    with only(errors.FieldError):
        llm = LLM(model="openai/x", timeout=seconds, max_tokens=tokens, rpm=rate)
        Agent(role="R", goal="G", backstory="B", llm=llm, max_execution_time=seconds, max_iter=tokens)


@fuzz
@given(NUMBERS, NUMBERS, NUMBERS)
def test_terms_of_any_number(seconds: Any, tokens: Any, cost: Any) -> None:
    with only(errors.InvalidField):
        check_timeout(seconds)
        int(float(seconds or 1) * 1000)
    with only(errors.InvalidField):
        json.dumps(Terms(max_tokens=tokens, max_cost=cost).fields())


@fuzz
@given(ANY_TEXT, ANY_TEXT | st.just(10**5000), ANY_TEXT | st.none(), ANY_TEXT)
def test_times_of_any_text(cron: str, every: Any, tz: str | None, catch_up: str) -> None:
    for one, other in ((cron, ""), ("", every), (cron, every)):
        with only(errors.ScheduleInvalid):
            read_timing(one, other, tz, catch_up, now=1_700_000_000_000)


@fuzz
@given(ANY_TEXT | st.builds("{}://{}".format, st.sampled_from(["http", "https", "ftp"]), ANY_TEXT))
def test_a_server_of_tools_of_any_text(text: str) -> None:
    with only(errors.UsageError):
        assert as_server(text).spec().label is not None


# -- the command line and files ----------------------------------------------------------------------------------------


@fuzz
@given(st.lists(ANY_TEXT | st.builds("{}={}".format, ANY_TEXT, ANY_TEXT), max_size=3))
def test_inputs_on_a_command_line(pairs: list[str]) -> None:
    with only(click.BadParameter, errors.InputError):
        checked_inputs(read_pairs(pairs))
    with only(click.BadParameter):
        read_texts(pairs, "--output")


@fuzz
@given(
    st.sampled_from([".json", ".jsonl", ".csv"]),
    UNICODE.map(str.encode) | JSON.map(json.dumps).map(str.encode) | st.binary(),
)
def test_a_file_of_inputs(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"inputs{suffix}"
    file.write_bytes(content)
    with only(errors.InputError):
        found = read_inputs((), file)
        for inputs in found if isinstance(found, list) else [found]:
            checked_inputs(inputs)


YAML = st.builds("{}:\n  {}: {}\n".format, UNICODE, UNICODE, UNICODE) | st.builds("a:\n  goal: {}\n".format, UNICODE)


@fuzz
@given((UNICODE | YAML | JSON.map(json.dumps)).map(str.encode) | st.binary())
def test_a_file_of_a_project(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "agents.yaml"
    file.write_bytes(content)
    with only(errors.ProjectError):
        for entry in read_entries(file, project="P", field="agents_config").values():
            with only(errors.UsageError):
                Agent(config=entry, llm="openai/x")


@fuzz
@given(ANY_TEXT | st.builds("tests.unit.parts:{}".format, ANY_TEXT))
def test_a_crew_named_on_a_command_line(name: str) -> None:
    with only(errors.CrewUnloadable):
        load_crew(name)


COMMANDS: list[Callable[[str], list[str]]] = [
    lambda text: [text],
    lambda text: ["run", text],
    lambda text: ["run", "tests.unit.parts:nothing", "--input", text],
    lambda text: ["run", "tests.unit.parts:nothing", "--timeout", text],
    lambda text: ["runs", "--limit", text],
    lambda text: ["runs", "--state", text],
    lambda text: ["runs", "--tenant", text],
    lambda text: ["costs", "--since", text],
    lambda text: ["costs", "--tenant", text],
    lambda text: ["show", text],
    lambda text: ["watch", text],
    lambda text: ["resume", text, "--budget", "1"],
    lambda text: ["resume", "1", "--budget", text],
    lambda text: ["answer", text, "yes"],
    lambda text: ["export", text],
    lambda text: ["delete", text],
    lambda text: ["replay", "-t", text],
    lambda text: ["replay", "-t", "1", "--output", text],
    lambda text: ["cancel", text],
    lambda text: ["log-tasks-outputs", text],
    lambda text: ["schedule", "run", text],
    lambda text: ["schedule", "remove", text],
    lambda text: ["schedule", "add", text, "crewq.demo:nothing", "--every", "1h"],
    lambda text: ["schedule", "add", "x", text, "--cron", text],
]


@pytest.fixture
def command_line(redis_url: str) -> Iterator[CliRunner]:
    yield CliRunner(env={"CREWQ_REDIS_URL": redis_url})
    disconnect()


@settings(fuzz, max_examples=200)
@given(st.sampled_from(COMMANDS), ANY_TEXT)
def test_a_command_line_of_any_words(command_line: CliRunner, command: Callable[[str], list[str]], text: str) -> None:
    """Beside a Redis in which nothing is: what is left is an exit code and a message."""
    done = command_line.invoke(main, command(text), prog_name="crewq")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
