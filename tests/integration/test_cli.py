"""The command line as a person and as a script use it: every command is a process of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crewq.plan import task_id
from crewq.server import Server
from tests.integration.worker_process import WorkerProcess, environment
from tests.waiting import until

CREWS = """
from crewq import Agent, Crew, Task
from crewq.demo import StandIn, average_age_crew
from crewq.testing import ScriptedModel

crew = average_age_crew(StandIn())
clerk = Agent(role="Clerk", goal="g", backstory="b", llm=ScriptedModel(answers=["Done."]))
simple = Crew(name="simple", agents=[clerk], tasks=[Task(name="only", description="File {what}.", agent=clerk)])
mute = Agent(role="Mute", goal="g", backstory="b", llm=ScriptedModel(answers=[]))
failing = Crew(name="failing", agents=[mute], tasks=[Task(name="speak", description="Say {what}.", agent=mute)])
slug = Agent(role="Slug", goal="g", backstory="b", llm=ScriptedModel(answers=["At last."], latency_seconds=60))
slow = Crew(name="slow", agents=[slug], tasks=[Task(name="creep", description="Go.", agent=slug)])
"""


class Shell:
    """A directory to type commands in."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.env = environment(**env)
        (folder / "my_crews.py").write_text(CREWS)

    def start(self, *arguments: str, **how: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "crewq", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
        return subprocess.Popen(command, cwd=self.folder, env=self.env, text=True, **pipes)

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """What a command prints: its output and its errors. It must end with `code`, and never with a traceback."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        return out, err

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code)[0])


def _first_id(shell: Shell, crew: str) -> str:
    """The id of a run of a crew, once it is running."""

    def running() -> list[str]:
        return [run["run"] for run in shell.json("runs", "--state", "running") if run["crew"] == crew]

    until(lambda: bool(running()), 20)
    return running()[0]


# -- embedded: one directory, many processes -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, str]:
    """A directory in which the demo ran, and what it said."""
    shell = Shell(tmp_path_factory.mktemp("embedded"), COLUMNS="100")
    return shell, shell("demo")[0]


def test_the_demo_runs_piped(demo: tuple[Shell, str]) -> None:
    _, said = demo
    assert "\x1b" not in said
    assert "a scripted stand-in plays the model" in said
    assert "OPENAI_API_KEY=... python -m crewq demo" in said, "as it was called"
    for average in ("35.0", "24.8", "48.7"):
        assert f"who are {average} years old on average" in said
    assert said.count("completed: 3 model calls, 1 tool call, ") == 3
    assert "Only that task ran again: 1 model call and 0 tool calls. The output of 'analyse' was kept" in said
    assert "\n  python -m crewq replay -t " in said.partition("Next:")[2]


def test_the_demo_left_its_runs_to_other_processes(demo: tuple[Shell, str]) -> None:
    shell, said = demo
    runs = shell.json("runs")
    assert [run["state"] for run in runs] == ["completed"] * 4
    replayed, *batch = runs
    assert replayed["parent"] in [run["run"] for run in batch]
    assert len({run["batch"] for run in batch}) == 1
    shown = said.partition("crewq show ")[2][:8]
    assert replayed["run"].startswith(shown)
    assert [task["kept"] for task in shell.json("show", shown)["tasks"]] == [True, False]
    assert len(shell.json("runs", "--limit", "2")) == 2
    assert "no run that is failed in the embedded server in .crewq" in shell("runs", "--state", "failed")[1]


def test_the_story_of_a_run(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    parent = shell.json("runs")[0]["parent"]
    facts = shell.json("show", parent)
    assert [(task["name"], task["agent"], task["state"]) for task in facts["tasks"]] == [
        ("analyse", "Data Analyst", "completed"),
        ("report", "Report Writer", "completed"),
    ]
    assert facts["output"] == facts["tasks"][1]["output"]
    assert facts["usage"]["successful_requests"] == 3
    told, _ = shell("show", facts["tasks"][0]["id"][:13])
    assert f"Run {parent} of the crew 'average-age': completed" in told
    assert f"ages = {json.dumps(facts['inputs']['ages'])}" in told
    assert facts["tasks"][0]["output"] in told
    of_batch, _ = shell("show", facts["batch"])
    assert "3 runs, 3 completed, 0 failed, 0 cancelled" in of_batch
    assert len(shell.json("show", facts["batch"])["runs"]) == 3


def test_the_outputs_of_the_latest_run(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    latest = shell.json("show", shell.json("runs", "--limit", "1")[0]["run"])
    printed, _ = shell("log-tasks-outputs")
    for number, task in enumerate(latest["tasks"], start=1):
        assert (
            f"Task {number}: {task['id']}\nState: completed\nName: {task['name']}\nAgent: {task['agent']}\n"
            f"Output: {task['output']}\n------\n"
        ) in printed
    assert shell.json("log-tasks-outputs", latest["parent"])[0]["kept"] is False


def test_a_replay_from_another_process(demo: tuple[Shell, str], tmp_path: Path) -> None:
    parent = demo[0].json("show", demo[0].json("runs")[0]["parent"])
    shell = Shell(tmp_path, CREWQ_DATA_DIR=str(demo[0].folder / ".crewq"))
    first, second = parent["tasks"]
    again = shell.json("replay", "-t", second["id"][:13])
    assert (again["parent"], again["from_task"], again["inputs"]) == (parent["run"], second["id"], parent["inputs"])
    assert again["output"] == parent["output"]
    edited = shell.json("replay", "--task_id", second["id"], "--output", f"analyse={first['output'].replace('5', '6')}")
    assert [task["edited"] for task in edited["tasks"]] == [True, False]
    assert edited["output"] != parent["output"]
    changed = shell.json(
        "replay", "-t", first["id"], "--input", "ages=[1, 3]", "--crew", "my_crews:crew", "--no-progress"
    )
    assert changed["inputs"] == {"ages": [1, 3]}
    assert "2.0 years old on average" in changed["output"]
    _, err = shell("replay", "-t", second["id"], "--crew", "my_crews:simple", code=2)
    assert "is not the one that ran" in err


def test_watching_what_has_ended_tells_it_and_ends(demo: tuple[Shell, str]) -> None:
    shell, said = demo
    run = said.partition("crewq show ")[2][:8]
    told, _ = shell("watch", run)
    assert told.splitlines()[-1].startswith(f"{run}  completed: 1 model call, 0 tool calls")
    events = [json.loads(line) for line in shell("watch", run, "--json")[0].splitlines()]
    assert (events[0]["type"], events[-1]["type"]) == ("run_queued", "run_completed")
    assert "had ended before: nothing to cancel.\n" in shell("cancel", run)[0]


def test_the_doctor_in_a_bare_directory(tmp_path: Path) -> None:
    found = {one["about"]: one for one in Shell(tmp_path, OPENAI_API_KEY="sk-secret").json("doctor")}
    assert {one["level"] for one in found.values()} == {"ok"}
    assert {"Redis", "persistence", "clock", "broker", "workers", "queue", "model keys", "sandbox", "imports"} <= set(
        found
    )
    assert "OPENAI_API_KEY" in found["model keys"]["found"]
    assert "sk-secret" not in str(found)


def test_nothing_yet(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert shell.json("runs") == []
    assert "There is no run in" in shell("log-tasks-outputs", code=3)[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "ffff"], 3, "There is no run or task or batch 'ffff'"),
        (["watch", "zz"], 3, "There is no run or batch 'zz'"),
        (["cancel", "|"], 3, "There is no run"),
        (["replay", "-t", "nope"], 3, "There is no task 'nope'"),
        (["replay", "-t", "nope", "--input", "x"], 2, "not of the form name=value"),
        (["run", "my_crews:nothing"], 2, "It has these crews: crew, simple, failing, slow."),
        (["run", "my_crews:simple"], 2, "needs inputs that were not given: --input what=..."),
        (["run", "my_crews:simple", "--input", "other=1"], 2, "needs inputs that were not given: what"),
        (["run", "my_crews:simple", "--inputs", "none.csv"], 2, "none.csv cannot be used: No such file"),
        (["run", "my_crews:simple", "--inputs", "broken.jsonl"], 2, "broken.jsonl, line 2: it is not JSON"),
        (["run", "my_crews:simple", "--inputs", "good.csv", "--timeout", "5"], 2, "--timeout is for a single run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_message(demo: tuple[Shell, str], arguments: list[str], code: int, said: str) -> None:
    shell, _ = demo
    (shell.folder / "broken.jsonl").write_text('{"what": 1}\n{"what"\n')
    (shell.folder / "good.csv").write_text("what\na\n")
    out, err = shell(*arguments, code=code)
    assert (said in err, out) == (True, "")


def test_an_ambiguous_id_lists_what_it_could_be(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    runs = [run["run"] for run in shell.json("runs")]
    letters = [name[0] for run in runs for name in (run, task_id(run, 0), task_id(run, 1))]
    twice = max(letters, key=letters.count)
    assert letters.count(twice) > 1
    assert "is the beginning of more than one id" in shell("show", twice, code=3)[1]


# -- a fleet ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(fleet_server: Server, fleet_worker: WorkerProcess, tmp_path: Path) -> Shell:
    return Shell(tmp_path, CREWQ_REDIS_URL=fleet_server.url)


def test_a_crew_runs_on_the_fleet(shell: Shell) -> None:
    out, err = shell("run", "my_crews:crew", "--input", "ages=[25, 35]")
    assert "2 people, who are 30.0 years old on average" in out
    assert "task report: completed" in err
    assert shell("run", "my_crews:simple", "--input", "what=it", "--no-progress") == ("Done.\n", "")


def test_a_file_of_inputs_fans_out(shell: Shell) -> None:
    (shell.folder / "many.csv").write_text("what\n" + "\n".join(f"file {number}" for number in range(20)) + "\n")
    done = shell.json("run", "my_crews:simple", "--inputs", "many.csv", "--input", "year=2026")
    assert [run["inputs"] for run in done["runs"]] == [{"what": f"file {n}", "year": 2026} for n in range(20)]
    assert {run["output"] for run in done["runs"]} == {"Done."}
    told, _ = shell("watch", done["batch"][:13])
    assert told.startswith(f"{done['batch'][:8]}  20/20 completed, ")
    (shell.folder / "few.jsonl").write_text('{"what": 1}\n{"what": 2}\n')
    out, _ = shell("run", "my_crews:simple", "--inputs", "few.jsonl")
    assert out.count("completed\nDone.\n") == 2


def test_a_failed_run_says_where_and_exits_with_1(shell: Shell) -> None:
    out, err = shell("run", "my_crews:failing", "--input", "what=it", code=1)
    assert out == ""
    assert "failed in task speak: The model scripted refused the request" in err
    failed = shell.json("runs", "--state", "failed", "--limit", "1")[0]
    assert failed["crew"] == "failing"
    assert "the script has 0 answers" in shell("show", failed["run"])[0]
    assert shell.json("run", "my_crews:failing", "--input", "what=it", "--no-progress", code=1)["state"] == "failed"
    shell("watch", failed["run"], code=1)
    assert shell.json("resume", failed["run"][:13], code=1)["run"] == failed["run"]
    assert shell("delete", failed["run"])[0] == f"The run {failed['run']} is forgotten.\n"
    shell("show", failed["run"], code=3)


def test_a_run_is_watched_and_cancelled_from_elsewhere(shell: Shell) -> None:
    running = shell.start("run", "my_crews:slow")
    run = _first_id(shell, "slow")
    watching = shell.start("watch", run[:13])
    assert watching.stdout is not None
    assert "task 1 creep: started by Slug" in watching.stdout.readline()
    assert shell("cancel", run[:13])[0] == f"The run {run} is cancelled.\n"
    assert "cancelled: 0 model calls" in watching.communicate(timeout=20)[0]
    assert f"The run {run} was cancelled" in running.communicate(timeout=20)[1]
    assert (watching.returncode, running.returncode) == (1, 1)


def test_a_run_that_takes_too_long_fails(shell: Shell) -> None:
    _, err = shell("run", "my_crews:slow", "--timeout", "0.3", code=1)
    assert "timeout of the kickoff" in err


def test_ctrl_c_leaves_the_run_and_says_how_to_get_back(shell: Shell) -> None:
    running = shell.start("run", "my_crews:slow")
    run = _first_id(shell, "slow")
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert f"The run goes on without you. Back to it: crewq watch {run}" in err
    assert "Traceback" not in err
    assert shell.json("show", run)["state"] == "running"
    assert "cannot be resumed" in shell("resume", run, code=2)[1]
    assert "cannot be deleted" in shell("delete", run, code=2)[1]
    shell("cancel", run)


def test_ctrl_c_in_embedded_mode_says_that_the_run_waits(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    running = shell.start("run", "my_crews:slow")
    run = _first_id(shell, "slow")
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert f"The run waits in .crewq, as its worker was in this process. Go on with it: crewq watch {run}" in err


def test_a_terminal_gets_a_live_table(shell: Shell) -> None:
    ours, theirs = pty.openpty()
    shell.env["TERM"] = "xterm"
    process = shell.start("run", "my_crews:crew", "--input", "ages=[25, 35]", stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    out = process.communicate(timeout=60)[0]
    seen = b"".join(_all_of(ours)).decode()
    assert "30.0 years old" in out
    assert "\x1b[2K" in seen
    assert "●◆●●" in seen
    assert "Report Writer" in seen


def _all_of(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            return
        if not piece:
            return
        yield piece


def test_no_worker_is_said_once(tmp_path: Path, own_redis: Server) -> None:
    shell = Shell(tmp_path, CREWQ_REDIS_URL=own_redis.url)
    running = shell.start("run", "my_crews:slow")
    assert running.stderr is not None
    assert running.stderr.readline() == "No worker has taken it up yet; it waits. Start one: crewq worker\n"
    found = {one["about"]: one for one in shell.json("doctor")}
    assert (found["workers"]["level"], found["workers"]["fix"]) == ("warn", "Start one: crewq worker")
    assert found["queue"]["found"] == "1 task waiting for a worker."
    shell("cancel", shell.json("runs")[0]["run"])
    assert "was cancelled" in running.communicate(timeout=20)[1]


def test_a_worker_by_our_own_command(tmp_path: Path, own_redis: Server) -> None:
    shell = Shell(tmp_path, CREWQ_REDIS_URL=own_redis.url)
    worker = shell.start("worker", "--concurrency", "3", "--loglevel", "WARNING", "--", "--hostname", "ours@%h")
    try:
        assert shell("run", "my_crews:simple", "--input", "what=it", "--no-progress")[0] == "Done.\n"
        assert shell.json("runs")[0]["state"] == "completed"
    finally:
        worker.terminate()
        worker.communicate(timeout=30)
    assert worker.returncode == 0


def test_redis_that_is_not_there(tmp_path: Path) -> None:
    shell = Shell(tmp_path, CREWQ_REDIS_URL="redis://:hidden@127.0.0.1:1/0")
    started = [shell.start(*command) for command in (["runs"], ["worker"], ["doctor", "--json"])]
    said = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [4, 4, 4]
    assert all("Redis does not answer at redis://:***@127.0.0.1:1/0" in err for _, err in said[:2])
    assert json.loads(said[2][0])[0]["level"] == "fail"
    assert "hidden" not in str(said)


def test_a_setting_that_cannot_be_meant(tmp_path: Path) -> None:
    assert "must be a Redis URL" in Shell(tmp_path, CREWQ_REDIS_URL="http://x")("runs", code=2)[1]


def test_it_is_also_a_command_of_celery(shell: Shell) -> None:
    command = [sys.executable, "-m", "celery", "crewq", "show", "ffffffff-0"]
    done = subprocess.run(command, cwd=shell.folder, env=shell.env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, "")
    assert "There is no run" in done.stderr
