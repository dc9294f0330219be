"""Projects in YAML, whole: through a worker and over HTTP, from `crewq new`, and from the examples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from crewq import LLM, Agent, Crew, Run, Task
from crewq.project import (
    CrewBase,
    after_kickoff,
    agent,
    before_kickoff,
    callback,
    crew,
    llm,
    output_pydantic,
    task,
    tool,
)
from tests.integration.crews import add, on_task
from tests.integration.worker_process import ROOT, WorkerProcess, environment
from tests.model_server import ModelServer, calls


@CrewBase
class YourCrewName_Crew:  # noqa: N801  # as CrewAI's documentation has it
    agents_config = "project/agents.yaml"
    tasks_config = "project/tasks.yaml"
    url = ""

    @output_pydantic
    class Report(BaseModel):
        title: str

    @before_kickoff
    def upper(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs | {"topic": inputs["topic"].upper()}

    @after_kickoff
    def shout(self, output: Any) -> Any:
        output.raw += "!"
        return output

    @llm
    def served(self) -> LLM:
        return LLM(model="openai/any", base_url=self.url)

    @tool
    def adder(self) -> Any:
        return add

    @callback
    def noted(self) -> Any:
        return on_task

    @agent
    def researcher(self) -> Agent:
        return Agent(config=self.agents_config["researcher"])  # type: ignore[index, call-arg]

    @agent
    def writer(self) -> Agent:
        return Agent(config=self.agents_config["writer"])  # type: ignore[index, call-arg]

    @task
    def research(self) -> Task:
        return Task(config=self.tasks_config["research"])  # type: ignore[index, call-arg]

    @task
    def report(self) -> Task:
        return Task(config=self.tasks_config["report"])  # type: ignore[index, call-arg]

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks)  # type: ignore[attr-defined]


# -- in a worker -----------------------------------------------------------------------------------------------------


def test_a_project_runs_in_a_worker_and_is_replayed_as_the_documentation_prints_it(
    fleet: WorkerProcess, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(YourCrewName_Crew, "url", model_server.url)
    model_server.enqueue(calls(("add", {"left": 40, "right": 2})), "It is 42.", '{"title": "Bees, in numbers"}')
    output = YourCrewName_Crew().crew().kickoff(inputs={"topic": "bees"})
    assert output.pydantic == YourCrewName_Crew.Report(title="Bees, in numbers")
    assert output.raw.endswith("!")
    made = [(one.name, one.agent) for one in output.tasks_output]
    assert made == [("research", "Researcher of BEES"), ("report", "Writer")]
    assert "on_task It is 42." in fleet.output_dir.with_name("notes").read_text()
    assert "Research BEES." in model_server.ledger[0].prompt

    model_server.enqueue('{"title": "CrewAI"}')
    task_id = Run(output.run_id).task_ids[1]
    replayed = YourCrewName_Crew().crew().replay(task_id=task_id, inputs={"topic": "CrewAI Training"})
    assert replayed.pydantic == YourCrewName_Crew.Report(title="CrewAI")
    assert [one.raw for one in replayed.tasks_output[:1]] == ["It is 42."]
    asked = model_server.ledger[-1].prompt
    assert "Report on CREWAI TRAINING." in asked
    assert "It is 42." in asked
    assert len(model_server.ledger) == 4


# -- a directory of its own, embedded --------------------------------------------------------------------------------


def shell(folder: Path, *arguments: str, **env: str) -> str:
    """What a command of Python's prints in a folder."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(**env), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_project_runs_at_once_and_passes_its_own_test(tmp_path: Path) -> None:
    shell(tmp_path, "-m", "crewq", "new", "demo_crew")
    project = tmp_path / "demo_crew"
    (project / ".env").write_text("CREWQ_DATA_DIR=kept\n")
    said = shell(project, "-m", "crewq", "run", "demo_crew.crew:DemoCrew", "--input", "topic=tides")
    assert said.startswith("Go and look.")
    assert (project / "kept").is_dir(), "the .env of the working directory was read"
    assert shell(project, "-m", "demo_crew.main", "bees") == said
    assert "3 passed" in shell(project, "-m", "pytest", "-W", "ignore", "-p", "no:cacheprovider")
    assert (project / ".crewq").is_dir(), "without crewq's command line, .env is not read"
    assert yaml.safe_load((project / "compose.yaml").read_text())["services"].keys() == {"redis", "worker"}


def test_the_example_runs(tmp_path: Path) -> None:
    letter = "letter=Where is my order 1042?"
    command = ("-m", "crewq", "run", "yaml_project.crew:HelpDesk", "--input", letter, "--json")
    facts = json.loads(shell(ROOT / "examples", *command, CREWQ_DATA_DIR=str(tmp_path)))
    assert facts["crew"] == "HelpDesk"
    assert facts["output"] == "Your order 1042 left us on Monday. It arrives on Thursday."
    assert facts["usage"]["successful_requests"] == 3


# -- from CrewAI -------------------------------------------------------------------------------------------------------

MAIN = """\
import os

from crewai import LLM, Agent, Crew, Process, Task
from crewai.crews.crew_output import CrewOutput
from crewai.project import CrewBase, after_kickoff, agent, crew, llm, output_json, task
from pydantic import BaseModel


@CrewBase
class Latest:
    agents_config = "config/agents.yaml"
    tasks_config = "config/tasks.yaml"

    @output_json
    class Facts(BaseModel):
        facts: list[str]

    @llm
    def served(self) -> LLM:
        return LLM(model="openai/any", base_url=os.environ["URL"])

    @agent
    def researcher(self) -> Agent:
        return Agent(config=self.agents_config["researcher"], verbose=False)

    @task
    def research(self) -> Task:
        return Task(config=self.tasks_config["research"])

    @after_kickoff
    def counted(self, output: CrewOutput) -> CrewOutput:
        output.json_dict = {"count": len(output["facts"])}
        return output

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential, verbose=False)
"""
FLOW = """\
from crewai.flow.flow import Flow, start


class Steps(Flow):
    @start()
    def first(self):
        from latest.main import Latest
        return Latest().crew().kickoff()
"""
OF_CREWAI = {
    "latest/__init__.py": "",
    "latest/main.py": MAIN,
    "latest/flow.py": FLOW,
    "latest/config/agents.yaml": "researcher:\n  role: Researcher of {topic}\n  goal: Know\n  backstory: Old.\n  llm: served\n",
    "latest/config/tasks.yaml": (
        "research:\n  description: Research {topic}.\n  expected_output: Facts\n  agent: researcher\n  output_json: Facts\n"
    ),
}


def test_a_project_of_crewais_is_migrated_and_runs_on_workers(
    fleet: WorkerProcess, model_server: ModelServer, tmp_path: Path
) -> None:
    for name, content in OF_CREWAI.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    command = [sys.executable, "-m", "crewq", "migrate", "latest"]
    asked = subprocess.run(command, cwd=tmp_path, env=environment(), input="n\n", capture_output=True, text=True)
    for line in (
        "-from crewai.project import CrewBase",
        "+from crewq.project import CrewBase",
        "+from crewq import CrewOutput",
    ):
        assert line in asked.stdout, asked.stdout + asked.stderr
    assert "latest/flow.py:1: from crewai.flow.flow import Flow" in asked.stdout
    assert (
        asked.stdout.index("+from crewq.project")
        < asked.stdout.index("latest/flow.py:1:")
        < asked.stdout.index("Change 1 file?")
    )
    assert {name: (tmp_path / name).read_text() for name in OF_CREWAI} == OF_CREWAI, "nothing was changed"

    shell(tmp_path, *command[1:], "--yes")
    assert (tmp_path / "latest/main.py").read_text() == (
        MAIN.replace("crewai.crews.crew_output", "crewq").replace("crewai", "crewq")
    )
    assert (tmp_path / "latest/flow.py").read_text() == FLOW
    model_server.enqueue('{"facts": ["Bees dance.", "Bees fly."]}')
    run = ("-m", "crewq", "run", "latest.main:Latest", "--input", "topic=bees", "--no-progress")
    said = shell(tmp_path, *run, CREWQ_REDIS_URL=fleet.url, URL=model_server.url)
    assert said == '{"count": 2}\n'
    assert model_server.ledger[0].request["messages"][0]["content"].startswith("You are Researcher of bees.")
