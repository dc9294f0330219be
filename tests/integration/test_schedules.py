"""Schedules as a whole: real beats, a real worker, and the commands. Each time of a schedule makes one run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crewq import LLM, Crew, errors, schedule
from crewq.app import PRIORITY_SINGLE, make_app
from crewq.beat import Scheduler
from crewq.cli import main
from crewq.firing import look_at, start_now
from crewq.producer import Producer, connect, disconnect
from crewq.server import Server, join
from crewq.store import RunRecord, ScheduleRecord
from crewq.terms import Terms
from crewq.timing import when
from tests.integration.conftest import StartWorker
from tests.integration.crews import crew, greetings
from tests.integration.worker_process import ROOT, environment
from tests.waiting import until

EVERY = 2  # seconds
CELERYS, CREWQS = ("-m", "celery", "-A", "workers.app", "beat", "-l", "INFO"), ("-m", "crewq", "beat")


class Beat:
    """A real beat process; `log` is what it has said so far."""

    def __init__(self, folder: Path, url: str, *command: str) -> None:
        self._log = folder / f"beat-{uuid.uuid4().hex[:8]}.log"
        self.alive = folder / f"{self._log.stem}.alive"
        env = environment(CREWQ_REDIS_URL=url, CREWQ_HEARTBEAT_FILE=str(self.alive))
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT
            )
        until(lambda: self.alive.exists() or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(15)


@pytest.fixture
def start_beat(tmp_path: Path, own_redis: Server) -> Iterator[Callable[..., Beat]]:
    with ExitStack() as started:

        def start(*command: str) -> Beat:
            beat = Beat(tmp_path, own_redis.url, *(command or CELERYS))
            started.callback(beat.process.wait, 10)
            started.callback(beat.process.kill)
            return beat

        yield start


def started(producer: Producer) -> list[RunRecord]:
    """The runs so far, the first one first."""
    return producer.store.runs.overview(producer.store.runs.latest(1000))[::-1]


def slot_of(record: ScheduleRecord, run: RunRecord) -> int:
    """The time that a run was started for, which its id is made of: a run of no time fails here."""
    created = int(run.created.timestamp() * 1000)
    slots = range(created - created % (EVERY * 1000), created - 60_000, -EVERY * 1000)
    return next(slot for slot in slots if run.id == str(uuid.uuid5(uuid.UUID(record.id), str(slot))))


# -- beats -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_beats_start_one_run_for_each_time(
    own_redis: Server, start_worker: StartWorker, start_beat: Callable[..., Beat]
) -> None:
    producer = connect()
    worker = start_worker(own_redis.url)
    beats = [start_beat(*CELERYS), start_beat(*CREWQS)]
    worker.ready()
    record = schedule(greetings, "pulse", every=EVERY, inputs={"who": "Ada"})
    until(lambda: len(started(producer)) >= 4, 30)
    assert beats[0].end(signal.SIGKILL) == -signal.SIGKILL
    killed_at = len(started(producer))
    until(lambda: len(started(producer)) >= killed_at + 2, 20)
    beats.append(start_beat(*CELERYS))
    until(lambda: len(started(producer)) >= killed_at + 4, 20)
    producer.store.schedules.remove("pulse")
    until(lambda: all(run.state.ended for run in started(producer)), 20)

    runs = started(producer)
    slots = [slot_of(record, run) for run in runs]
    assert slots == sorted(set(slots))
    assert {later - earlier for earlier, later in pairwise(slots)} == {EVERY * 1000}
    for run in runs:
        assert (run.schedule, run.state.value, run.inputs) == ("pulse", "completed", {"who": "Ada"})
        told = producer.store.runs.read(run.id)
        assert [(task.attempt, task.usage.successful_requests) for task in told.tasks] == [(1, 1)] * 2
    said = sum(beat.log.count("' started the run ") for beat in beats)
    assert said in (len(runs), len(runs) - 1), "the one that was killed may have died before it could say so"
    assert list(producer.store.runs._verbs.client.scan_iter("*schedule*")) == []


@pytest.mark.slow
def test_a_beat_that_was_away_makes_up_for_the_latest_time_only(
    own_redis: Server, start_beat: Callable[..., Beat]
) -> None:
    producer = connect()
    record = schedule(greetings, "pulse", every=EVERY, inputs={"who": "Ada"})
    first = start_beat()
    until(lambda: started(producer), 20)
    assert first.end(signal.SIGTERM) == 0
    assert not first.alive.exists()
    before = slot_of(record, started(producer)[-1])
    count = len(started(producer))
    until(lambda: _now(producer) > before + 5 * EVERY * 1000, 20)
    start_beat()
    until(lambda: len(started(producer)) > count, 20)
    made_up_for = started(producer)[count]
    assert slot_of(record, made_up_for) >= before + 5 * EVERY * 1000
    assert made_up_for.created.timestamp() * 1000 - slot_of(record, made_up_for) < EVERY * 1000


@pytest.mark.slow
def test_a_beat_outlives_redis(own_redis: Server, start_beat: Callable[..., Beat], tmp_path: Path) -> None:
    producer = connect()
    record = schedule(greetings, "pulse", every=EVERY, inputs={"who": "Ada"})
    beat = start_beat()
    until(lambda: started(producer), 20)
    os.kill(json.loads((tmp_path / "redis" / "server.json").read_text())["pid"], signal.SIGKILL)
    until(lambda: "cannot look at the schedules" in beat.log or len(started(producer)) > 1, 20)
    with join(tmp_path / "redis"):
        before = len(started(producer))
        until(lambda: len(started(producer)) >= before + 2, 30)
    slots = [slot_of(record, run) for run in started(producer)]
    assert len(slots) == len(set(slots))
    assert beat.process.poll() is None


def _now(producer: Producer) -> int:
    seconds, micros = producer.store.runs._verbs.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


# -- what a beat does with a schedule ----------------------------------------------------------------------


def kept(name: str = "pulse", **times: Any) -> tuple[Producer, ScheduleRecord]:
    return connect(), schedule(greetings, name, inputs={"who": "Ada"}, **times)


def test_what_is_not_due_starts_nothing(own_redis: Server) -> None:
    producer, record = kept(every="1h")
    assert look_at(producer, record, record.last) is None
    assert started(producer) == []


def test_two_that_look_at_once_start_one_run(own_redis: Server) -> None:
    producer, record = kept(every="1h")
    later = record.last + 3_600_000
    run = look_at(producer, record, later)
    assert look_at(producer, record, later + 1) is None
    assert [one.id for one in started(producer)] == [run]


def test_one_that_died_after_the_run_was_accepted_is_made_up_for(own_redis: Server) -> None:
    """Its note is lost, so another beat does all of it again, and comes to the same run."""
    producer, record = kept(every="1h")
    later = record.last + 3_600_000
    run = look_at(producer, record, later)
    client, key = producer.store.runs._verbs.client, "{crewq}:schedule:pulse"
    client.hset(key, "last", record.last)
    client.hdel(key, "run")
    assert look_at(producer, producer.store.schedules.read("pulse"), later) == run
    assert [one.id for one in started(producer)] == [run]


def test_what_is_too_long_ago_is_left_out_and_told(own_redis: Server) -> None:
    producer, record = kept(cron="0 7 * * *", catch_up="1h")
    day = 86_400_000
    nominal = record.last - record.last % day + day + 7 * 3_600_000
    assert look_at(producer, record, nominal + 3_600_001) is None
    told = producer.store.schedules.read("pulse")
    assert told.last == nominal
    assert when(nominal) in (told.problem or "")
    assert look_at(producer, told, nominal + day + 3_600_000)
    assert producer.store.schedules.read("pulse").problem is None


def test_a_crew_of_a_newer_version_stops_no_other(own_redis: Server, caplog: pytest.LogCaptureFixture) -> None:
    producer, record = kept(every="1h")
    newer = replace(record, spec=record.spec.replace('"version":1', '"version":99'))
    assert look_at(producer, newer, record.last + 3_600_000) is None
    assert "format 99" in (producer.store.schedules.read("pulse").problem or "")
    assert "started no run" in caplog.text


def test_a_run_is_started_on_the_terms_of_its_schedule(own_redis: Server) -> None:
    producer, record = kept(every="1h", tenant="acme", priority="low", max_cost=0.5, max_tokens=1000)
    assert record.terms == Terms("acme", "low", 0.5, 1000)
    for run in (look_at(producer, record, record.last + 3_600_000), start_now(producer, record)):
        told = producer.store.runs.read(str(run))
        assert told.terms == record.terms
    lane = producer.store.runs._verbs.client.hget(f"{{crewq}}:run:{run}:task:0", "lane")
    assert lane == f"crewq/{PRIORITY_SINGLE['low']}"


SPOILT = {
    "times": {"timing": "?"},
    "no-line": {"timing": "{}"},
    "zone": {"timing": '{"cron": "0 7 * * *", "tz": "Mars/Olympus"}'},
    "inputs": {"inputs": "?"},
}


def test_schedules_that_cannot_be_read_stop_no_other(own_redis: Server, caplog: pytest.LogCaptureFixture) -> None:
    producer, _ = kept("good", every="1s")
    for name, fields in SPOILT.items():
        kept(name, every="1s")
        producer.store.runs._verbs.client.hset(f"{{crewq}}:schedule:{name}", mapping=fields)
    scheduler = Scheduler(make_app(producer.settings), settings=producer.settings)
    try:
        for count in (1, 2):
            until(lambda count=count: scheduler.tick() is None or len(started(producer)) >= count, 20)
    finally:
        scheduler.close()
    assert {run.schedule for run in started(producer)} == {"good"}
    for name in SPOILT:
        assert caplog.text.count(f"the schedule '{name}' starts no runs: What is stored under") == 1
    listed = CliRunner().invoke(main, ["schedule", "list"])
    assert re.search(r"^good +greetings +every 1s", listed.stdout, re.MULTILINE)
    facts = {one["schedule"]: one for one in json.loads(type_in("list", "--json"))}
    for name in SPOILT:
        assert re.search(rf"^{name} +cannot be read +never$", listed.stdout, re.MULTILINE)
        assert f"{name}: What is stored under schedule:{name} cannot be read" in listed.stderr
        assert "cannot be read" in facts[name]["problem"]
    type_in("add", "times", GREETINGS, "--every", "1h", "--input", "who=B", "--replace")
    type_in("remove", "zone")
    assert facts["good"]["problem"] is None


# -- keeping one -------------------------------------------------------------------------------------------


def finish(output: Any) -> Any:
    return output


@pytest.mark.parametrize(
    ("crew_given", "error", "said"),
    [
        (crew("Hi").model_copy(update={"before_kickoff_callbacks": [finish]}), errors.NotPortable, "before_kickoff"),
        (crew("Hi").model_copy(update={"after_kickoff_callbacks": [finish]}), errors.NotPortable, "after_kickoff"),
        (crew("Hi").model_copy(update={"task_callback": lambda output: None}), errors.NotPortable, "lambda"),
        (crew("Hi", llm=LLM(model="openai/any", api_key="sk-secret")), errors.LiteralKey, "OPENAI_API_KEY"),
        (Crew(agents=[], tasks=[]), errors.EmptyCrew, "no tasks"),
        (greetings, errors.MissingInputs, "who"),
    ],
    ids=["before", "after", "lambda", "key", "empty", "inputs"],
)
@pytest.mark.parametrize("embedded", [False, True], ids=["fleet", "embedded"])
def test_a_crew_that_a_beat_could_not_start_is_refused(
    crew_given: Crew,
    error: type[errors.CrewqError],
    said: str,
    embedded: bool,
    own_redis: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if embedded:
        monkeypatch.delenv("CREWQ_REDIS_URL")
        monkeypatch.setenv("CREWQ_DATA_DIR", str(tmp_path / "embedded"))
    with pytest.raises(error, match=said) as caught:
        schedule(crew_given, "mine", every="1h", inputs={"else": 1})
    assert "sk-secret" not in str(caught.value)
    assert connect().store.schedules.all() == []
    disconnect()


@pytest.mark.parametrize("name", ["", "a b", "-x", "a/b", "x" * 101, "Zürich"])
def test_a_name_that_does_not_do(name: str, own_redis: Server) -> None:
    with pytest.raises(errors.ScheduleInvalid, match="its name"):
        schedule(crew("Hi"), name, every="1h")


# -- commands ----------------------------------------------------------------------------------------------

GREETINGS = "tests.integration.crews:greetings"


def type_in(*arguments: str, code: int = 0) -> str:
    """What a command says, on stdout or else on stderr."""
    done = CliRunner().invoke(main, ["schedule", *arguments])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.stdout if code == 0 and done.stdout else done.stderr


def test_a_schedule_from_the_command_line(own_redis: Server) -> None:
    assert "There is no schedule in" in type_in("list")
    said = type_in("add", "news", GREETINGS, "--cron", "0 7  * * 1-5", "--tz", "Europe/Berlin", "--input", "who=Ada")
    assert "The schedule 'news' of the crew 'greetings' is kept: 0 7 * * 1-5 (Europe/Berlin)." in said
    assert len(re.findall(r"^  \d{4}-\d\d-\d\d 07:00:00\+0[12]:00$", said, re.MULTILINE)) == 3
    assert "There is a schedule 'news' already" in type_in(
        "add", "news", GREETINGS, "--every", "1h", "--input", "who=B", code=2
    )
    type_in("add", "pulse", GREETINGS, "--every", "90s", "--catch-up", "2m", "--input", "who=B")
    terms = ["--tenant", "acme", "--priority", "high", "--budget", "2", "--max-tokens", "9000"]
    type_in("add", "pulse", GREETINGS, "--every", "15m", "--input", "who=C", "--replace", *terms)
    facts = {one["schedule"]: one for one in json.loads(type_in("list", "--json"))}
    assert (facts["news"]["cron"], facts["news"]["tz"]) == ("0 7 * * 1-5", "Europe/Berlin")
    assert (facts["pulse"]["every"], facts["pulse"]["catch_up"], facts["pulse"]["inputs"]) == (
        900,
        86_400,
        {"who": "C"},
    )
    pulse = facts["pulse"]
    assert (pulse["tenant"], pulse["priority"], pulse["max_cost"], pulse["max_tokens"]) == ("acme", "high", 2.0, 9000)
    assert (facts["news"]["tenant"], facts["news"]["max_cost"]) == ("default", None)
    run = json.loads(type_in("run", "news", "--json"))["run"]
    record = connect().store.runs.read(run)
    assert (record.schedule, record.inputs) == ("news", {"who": "Ada"})
    assert "The schedule 'news' is forgotten." in type_in("remove", "news")
    assert re.search(r"^pulse +greetings +every 15m +\d{4}", type_in("list"), re.MULTILINE)
    shown = CliRunner().invoke(main, ["show", run]).stdout
    assert "started by the schedule news" in shown
    assert "schedule news" in CliRunner().invoke(main, ["runs"]).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["add", "n", GREETINGS, "--input", "who=A"], 2, "needs a cron line or an interval"),
        (["add", "n", GREETINGS, "--every", "1h"], 2, "needs inputs that were not given: --input who=..."),
        (["add", "n", GREETINGS, "--every", "soon", "--input", "who=A"], 2, "write it as 30s, 15m"),
        (
            ["add", "n", GREETINGS, "--cron", "0 25 * * *", "--input", "who=A"],
            2,
            "the cron line '0 25 * * *' cannot be read",
        ),
        (["add", "n", "tests.integration.crews:nobody", "--every", "1h"], 2, "the module has no 'nobody'"),
        (
            ["add", "n", GREETINGS, "--every", "1h", "--input", "who=A", "--tenant", "a b"],
            2,
            "kickoff(tenant) is not valid",
        ),
        (["remove", "n"], 3, "There is no schedule 'n'"),
        (["run", "n"], 3, "There is no schedule 'n'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_message(arguments: list[str], code: int, said: str, own_redis: Server) -> None:
    assert said in type_in(*arguments, code=code)
