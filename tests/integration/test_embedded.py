"""No environment, no Redis, no worker: a script in a folder of its own, with a space in its name."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.worker_process import environment
from tests.model_server import ModelServer
from tests.waiting import until

SCRIPT = """
import sys
from crewq import LLM, Agent, BaseLLM, Crew, Run, Task, tool
from crewq.testing import ScriptedModel, call

@tool
def shout(text: str) -> str:
    "Say it loudly."
    return text.upper() + "!"

class Mine(BaseLLM):
    model: str = "mine"
    def supports_function_calling(self):
        return True
    def call(self, messages, tools=None):
        return "mine: " + messages[-1]["content"].split("\\n")[1]

def told(output):
    sys.stdout.write(f"callback {output.raw}\\n")  # whole, from whatever thread
    sys.stdout.flush()

def crew(llm, **fields):
    who = Agent(role="Crier", goal="Cry", backstory="Loud.", llm=llm, **fields)
    first = Task(name="cry", description="Cry {x}", agent=who, callback=told)
    return Crew(name="criers", agents=[who], tasks=[first, Task(name="again", description="Cry again {x}", agent=who)])

LOUD = ScriptedModel(answers=[call("shout", text="hear"), "It was cried."])
"""
IDLE = """
from crewq.producer import connect
connect()
print("ready", flush=True)
sys.stdin.read()
"""
SLOW = 'slow = crew(ScriptedModel(answers=["Done."], latency_seconds=0.8))\n'


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "a project"
    path.mkdir()
    yield path
    until(lambda: not users_of(path))  # nothing is left running, whatever the test did


def users_of(folder: Path) -> list[str]:
    """The processes that have their working directory, or an open file, below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [process / "cwd", *(process / "fd").iterdir()]
            if any(str(link.readlink()).startswith(str(folder)) for link in links):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def begin(code: str, name: str = "script.py", head: str = SCRIPT, **env: str) -> subprocess.Popen[str]:
        (folder / name).write_text(head + code)
        process = subprocess.Popen(
            [sys.executable, name],
            cwd=folder,
            env=environment(**env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    """What it printed, once it has ended as it should, and without a word on stderr if it ended well."""
    out, err = process.communicate(timeout=40)
    assert process.returncode == status, out + err
    assert status or not err, err
    return out


def test_a_script_runs_and_its_data_survives_it(start: Start, folder: Path) -> None:
    out = ended(start("run = crew(LOUD, tools=[shout]).kickoff_async({'x': 'help'})\nprint(run.result().raw, run.id)"))
    *told, last = out.splitlines()
    assert told == ["callback It was cried."]
    assert last.startswith("It was cried. ")
    data = folder / ".crewq"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert (data / ".gitignore").read_text() == "*\n"
    assert not users_of(folder)
    run = last.split()[-1]

    later = start(
        f"run = Run('{run[:8]}')\nprint(run.status, run.tasks[0].output.raw)\nprint(run.task_ids[1])", "look.py"
    )
    status, task = ended(later).splitlines()
    assert status == "completed It was cried."
    replay = f"from look2 import *\nmine = crew(Mine()).replay('{task}', {{'x': 'quietly'}})\nprint(mine.raw)"
    (folder / "look2.py").write_text(SCRIPT)
    assert ended(start(replay, "again.py", head="")) == "mine: Cry again quietly\n"
    shown = subprocess.run(
        [sys.executable, "-m", "crewq", "log-tasks-outputs"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert "mine: Cry again quietly" in shown.stdout


def test_warnings_may_be_errors(start: Start) -> None:
    wait = "from tests.waiting import until\nuntil(lambda: run.async_result.ready())\nprint(run.async_result.state)"
    code = f"run = crew(LOUD, tools=[shout]).kickoff_async({{'x': 'help'}})\nrun.result()\n{wait}"
    assert ended(start(code, PYTHONWARNINGS="error")).splitlines()[-1] == "SUCCESS"


def test_celerys_own_result_may_be_waited_for(start: Start) -> None:
    """Though a worker is in this process, where Celery forbids it."""
    wait = "result = run.async_result\nprint(result.get(timeout=20) == {'run': run.id, 'state': 'completed'})"
    code = f"run = crew(LOUD, tools=[shout]).kickoff_async({{'x': 'help'}})\n{wait}\nprint(result.successful())"
    assert ended(start(code)).splitlines()[-2:] == ["True", "True"]


def test_nobody_is_talked_to_but_the_model(start: Start, model_server: ModelServer) -> None:
    """No telemetry, neither of crewq's nor of what it stands on."""
    watch = """
def heard(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        address = args[1] if event == "socket.connect" else args[0]
        host = address[0] if isinstance(address, tuple) else address
        if host not in ("127.0.0.1", "localhost", "::1", None) and not str(host).startswith("/"):
            print("talked to", host, flush=True)
sys.addaudithook(heard)
"""
    llm = f"LLM(model='openai/any', base_url='{model_server.url}', api_key='not-used')"
    seen = "sys.audit('socket.connect', None, ('192.0.2.1', 443))"  # so the watch is awake
    out = ended(start(f"{watch}\ncrew({llm}).kickoff({{'x': 'help'}})\n{seen}"))
    assert [line for line in out.splitlines() if line.startswith("talked")] == ["talked to 192.0.2.1"]
    assert len(model_server.ledger) == 2


def test_what_a_script_leaves_unfinished_the_next_one_finishes(start: Start, folder: Path) -> None:
    out = ended(
        start(
            SLOW + "run = slow.kickoff_async({'x': 1})\n"
            "next(event for event in run.events() if event.type == 'call_started')\nprint(run.id)"
        )
    )
    run = out.split()[-1]
    later = ended(
        start(
            f"run = Run('{run}')\nprint(run.result(20).raw, [task.attempt for task in run.tasks], run.tasks[0].repeated)",
        )
    )
    assert later.splitlines()[-1] == "Done. [2, 1] 1"


def test_a_script_that_is_killed_loses_nothing(start: Start, folder: Path) -> None:
    killed = start(
        SLOW + "run = slow.kickoff_async({'x': 1})\nprint(run.id, flush=True)\nrun.result()", CREWQ_LEASE_SECONDS="1"
    )
    assert killed.stdout
    run = killed.stdout.readline().strip()
    killed.kill()
    later = start(f"print(Run('{run}').result(20).raw)", CREWQ_LEASE_SECONDS="1")
    assert ended(later).splitlines()[-1] == "Done."


def test_a_second_process_joins_the_first(start: Start, folder: Path) -> None:
    first = start(
        "run = crew(LOUD, tools=[shout]).kickoff_async({'x': 1})\nrun.result()\nprint(run.id, flush=True)\nsys.stdin.read()"
    )
    assert first.stdout
    run = first.stdout.readline() and first.stdout.readline().strip()
    out = ended(start(f"print(Run('{run}').status)\nprint(crew(Mine()).kickoff({{'x': 'two'}}).raw)", "second.py"))
    assert out.splitlines()[0] == "completed"
    assert out.splitlines()[-1] == "mine: Cry again two"
    ended(first)


def test_two_scripts_at_once_keep_their_own_tools(start: Start, folder: Path) -> None:
    """What `__main__` means is not the same in both."""
    other = SCRIPT.replace("text.upper()", "'OTHER'").replace("mine:", "other:").replace("callback {", "other {")
    code = (
        "runs = [crew(Mine(), tools=[shout]).kickoff_async({'x': n}) for n in range(20)]\n"
        "print(*[run.result(20).raw for run in runs], sep='\\n')"
    )
    idle = start(IDLE, "idle.py", head=other)
    assert idle.stdout
    assert idle.stdout.readline() == "ready\n"
    out = ended(start(code, "busy.py"))
    assert [line for line in out.splitlines() if not line.startswith("callback")] == [
        f"mine: Cry again {n}" for n in range(20)
    ]
    assert "other" not in ended(idle)


def test_two_directories_in_one_process_have_a_worker_each(start: Start, folder: Path) -> None:
    script = start(
        SLOW
        + """
import os
from crewq.producer import disconnect

def begun(number):
    os.environ["CREWQ_DATA_DIR"] = f"data{number}"
    return slow.kickoff_async(inputs={"x": str(number)})

for turn in range(3):
    runs = [begun(number) for number in (1, 2, 3)]
    disconnect()  # the third directory's; the other two go on
    print([run.result(timeout=30).raw for run in runs[:2]], flush=True)
print(begun(3).result(timeout=30).raw)
"""
    )
    told = ended(script)
    assert told.count("['Done.', 'Done.']\n") == 3
    assert told.endswith("Done.\n")


def test_a_literal_key_works_here_and_is_written_nowhere(start: Start, folder: Path, model_server: ModelServer) -> None:
    """It stays in its process, so only that one can do the work: another one, which is there first, has no key."""
    secret = "sk-this-is-very-secret-0123456789"
    plain = SCRIPT.replace(", callback=told", "")
    idle = start(IDLE, "idle.py", head=plain)
    assert idle.stdout
    assert idle.stdout.readline() == "ready\n"
    llm = f"LLM(model='openai/any', base_url='{model_server.url}', api_key='{secret}')"
    code = f"runs = [crew({llm}).kickoff_async({{'x': n}}) for n in range(8)]\nfor run in runs: print(run.result(30).raw[:9])"
    assert ended(start(code, "busy.py", head=plain, OPENAI_API_KEY="")) == "Answer to\n" * 8
    assert {call.key for call in model_server.ledger} == {secret}
    ended(idle)
    (folder / "busy.py").unlink()
    assert not [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    journal = b"".join(path.read_bytes() for path in (folder / ".crewq" / "appendonlydir").iterdir())
    assert b"criers" in journal, "the data is really looked at"


def test_a_literal_key_and_a_tool_of_the_script_are_refused_for_a_fleet(start: Start, folder: Path) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    (folder / "answers.py").write_text(
        SCRIPT.replace("def told", "from crewq.producer import Producer\ndef told")
        + "from crewq.freeze import freeze\nfrom crewq.settings import Settings\n"
        + "settings = Settings(redis_url=sys.argv[1])\n"
        + "for each in (crew(LLM(model='openai/x', api_key='sk-0123456789')), crew(LOUD, tools=[shout]), crew(Mine())):\n"
        + "    try:\n        freeze(each._plan(), settings)\n"
        + "    except ValueError as error:\n        print(type(error).__name__, str(error).replace('\\n', ' '))\n"
    )
    shown = subprocess.run(
        [sys.executable, "answers.py", nowhere],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    key, tool, model = shown.stdout.splitlines()
    assert re.match(r"LiteralKey .*OPENAI_API_KEY", key)
    assert "0123456789" not in key
    assert re.match(r"NotPortable The (tool|callback) .*defined in the script that was started.*CREWQ_IMPORTS", tool)
    assert re.match(r"NotPortable", model)


def test_a_notebook_kicks_off_in_a_running_loop(start: Start, folder: Path) -> None:
    code = "import asyncio\nasync def cell():\n    return crew(Mine()).kickoff({'x': 'cell'}).raw\nprint(asyncio.run(cell()))"
    assert ended(start(code)).splitlines()[-1] == "mine: Cry again cell"


def test_ctrl_c_ends_the_script_and_nothing_is_left(start: Start, folder: Path) -> None:
    running = start(SLOW + "print('on', flush=True)\nslow.kickoff({'x': 1})")
    assert running.stdout
    running.stdout.readline()
    until((folder / ".crewq" / "server.json").exists)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=20)
    assert running.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in told
    until(lambda: not users_of(folder))
