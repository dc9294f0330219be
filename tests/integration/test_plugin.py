"""The plugin for pytest, as a project of a user's has it: found by itself, and out of the way of whoever does not use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.worker_process import environment
from tests.model_server import ModelServer

HEAD = """
import asyncio, os, sys, threading
from pathlib import Path
import pytest
from crewq import LLM, Agent, Crew, Run, Task, errors
from crewq.testing import ScriptedModel
from tests.waiting import until

def crew(llm, **fields):
    who = Agent(role="Poet", goal="Rhyme", backstory="You rhyme.", llm=llm)
    return Crew(agents=[who], tasks=[Task(name="rhyme", description="Rhyme on {x}.", agent=who, **fields)])
"""
EMBEDDED = """
seen = []

@pytest.mark.parametrize("x", ["bees", "ants"])
def test_each_test_has_its_own(crewq_embedded, x):
    with pytest.raises(errors.UnknownId):
        Run(seen[-1] if seen else "0123")
    output = crew(ScriptedModel(answers=["A rhyme."]), output_file="rhyme.txt").kickoff({"x": x})
    assert output.raw == "A rhyme."
    assert (crewq_embedded.output_dir / "rhyme.txt").read_text() == "A rhyme."
    assert Run(output.run_id).status == "completed"
    assert not {"CREWQ_REDIS_URL", "REDIS_URL", "CREWQ_MODEL"} & set(os.environ)
    seen.append(output.run_id)

def test_all_is_as_it_was():
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("crewq")], 15)
    assert os.environ["CREWQ_MODEL"] == "openai/mine"
    assert os.environ["CREWQ_REDIS_URL"] == "redis://127.0.0.1:1/0"

@pytest.fixture(scope="module")
def output(crewq_session):
    return crew(ScriptedModel(answers=["Shared."])).kickoff({"x": "one"})

def test_a_wider_fixture(output):
    assert Run(output.run_id).result().raw == "Shared."

def test_both_at_once(output, crewq_embedded, monkeypatch):
    assert crew(ScriptedModel(answers=["Own."])).kickoff({"x": "two"}).raw == "Own."
    with pytest.raises(errors.UnknownId):
        Run(output.run_id)
    monkeypatch.setenv("CREWQ_LEASE_SECONDS", "30")  # does not keep the fixture from cleaning up

def test_the_shared_one_is_still_at_work(output):
    assert Run(output.run_id).result().raw == "Shared."
    assert crew(ScriptedModel(answers=["More."])).kickoff({"x": "three"}).raw == "More."

def test_in_a_loop(crewq_embedded):
    async def wait():
        return await crew(ScriptedModel(answers=["Awaited."])).kickoff_async({"x": "four"})
    assert asyncio.run(wait()).raw == "Awaited."
"""
RECORDED = """
class TestPoet:
    @pytest.mark.parametrize("style", ["plain & short"])
    def test_rhyme(self, crewq_embedded, crewq_recorded, style):
        llm = crewq_recorded(LLM(model="openai/any", base_url=os.environ["URL"], temperature=0))
        assert crew(llm).kickoff({"x": os.environ["ABOUT"]}).raw.startswith("Answer to:")
"""
UNUSED = """
import sys

def test_nothing_of_crewq_is_loaded():
    assert [name for name in sys.modules if name.split(".")[0] in ("crewq", "celery", "redis", "litellm")] == []
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    (path / "tests").mkdir(parents=True)
    (path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "tmp").mkdir()
    return path


def pytest_in(project: Path, *options: str, **env: str) -> str:
    """What pytest says of a project, in which a warning is an error, and how it ends."""
    without = [word for name in ("cacheprovider", "valkey", "asyncio", "anyio") for word in ("-p", f"no:{name}")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *without, *options],
        cwd=project,
        env=environment(**{"TMPDIR": str(project.parent / "tmp")} | env),
        capture_output=True,
        text=True,
        timeout=100,
    )
    return f"{done.stdout}{done.stderr}\nexit {done.returncode}"


def test_tests_have_a_crewq_of_their_own_and_leave_nothing(project: Path) -> None:
    (project / "tests" / "test_mine.py").write_text(HEAD + EMBEDDED)
    said = pytest_in(project, CREWQ_MODEL="openai/mine", CREWQ_REDIS_URL="redis://127.0.0.1:1/0")
    assert "7 passed" in said, said
    assert {path.name for path in project.iterdir()} == {"tests", "pytest.ini"}
    left = [path.name for path in (project.parent / "tmp").iterdir()]
    assert all(name.startswith("pytest-of-") for name in left), left
    assert _working_below(project.parent / "tmp") == []


def _working_below(folder: Path) -> list[str]:
    """The processes that work in a folder: the server, for one, did."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "cwd").readlink()).startswith(str(folder)):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_who_does_not_use_it_does_not_load_crewq(project: Path) -> None:
    (project / "tests" / "test_other.py").write_text(UNUSED)
    said = pytest_in(project)
    assert "1 passed" in said, said
    assert "crewq" in pytest_in(project, "--help"), "it is there"


def test_a_test_is_recorded_once_and_replayed(project: Path, model_server: ModelServer) -> None:
    (project / "tests" / "test_rhymes.py").write_text(HEAD + RECORDED)
    file = project / "tests" / "recordings" / "test_rhymes" / "TestPoet.test_rhyme-plain-short.json"
    env = {"URL": model_server.url, "ABOUT": "bees"}
    said = pytest_in(project, **env)
    assert f"The recording {file} of openai/any cannot be used: it is not there." in said, said

    said = pytest_in(project, "--crewq-record=new", **env)
    assert "1 passed" in said, said
    assert len(model_server.ledger) == 1
    assert len(json.loads(file.read_text())["calls"]) == 1

    model_server.enqueue("Nobody asks.")
    assert "1 passed" in pytest_in(project, **env | {"URL": "http://127.0.0.1:1"})
    said = pytest_in(project, **env | {"ABOUT": "wasps"})
    assert "1 failed" in said
    assert "- Rhyme on bees." in said, said
    assert "+ Rhyme on wasps." in said
    assert len(model_server.ledger) == 1
