"""The YAML of a project: what its names lead to, and what is said about what is wrong with it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crewq import errors
from crewq.cli.crews import load_crew
from crewq.project import CrewBase

MODULE = """
from pydantic import BaseModel

from crewq import LLM, Agent, Crew, Task, TaskOutput, tool as as_tool
from crewq.project import CrewBase, agent, callback, crew, llm, output_json, output_pydantic, task, tool


@as_tool
def search(what: str) -> str:
    "Search."
    return what


def note(output: TaskOutput) -> None:
    "Note."


@CrewBase
class Trip:
    @output_pydantic
    class Sights(BaseModel):
        names: list[str]

    @output_json
    class Plan(BaseModel):
        days: list[str]

    @llm
    def fast(self):
        return LLM(model="openai/fast")

    @tool
    def search(self):
        return search

    @callback
    def noted(self):
        return note

    @agent
    def guide(self):
        return Agent(config=self.agents_config["guide"])

    @agent
    def planner(self):
        return Agent(config=self.agents_config["planner"], verbose=True)

    @task
    def sights(self):
        return Task(config=self.tasks_config["sights"])

    @task
    def plan(self):
        return Task(config=self.tasks_config["plan"])

    @crew
    def crew(self):
        return Crew(agents=self.agents, tasks=self.tasks)
"""
AGENTS = """
guide:
  role: >
    Guide to {city}
  goal: g
  backstory: b
  llm: fast
  tools: [search]
  step_callback: noted
planner:
  role: Planner
  goal: g
  backstory: b
  llm: openai/slow
  max_iter: 3
  tools:
    # none yet
"""
TASKS = """
sights:
  description: List sights.
  agent: guide
  tools: [search]
  output_pydantic: Sights
  callbacks: [noted, noted]
  context:
plan:
  description: Plan.
  expected_output: A plan
  agent: planner
  context: [sights]
  output_json: Plan
  callback: noted
  async_execution: true
"""


class Folder:
    """A project in a directory of its own."""

    def __init__(self, path: Path) -> None:
        self.config = path / "config"
        self.config.mkdir()
        (path / "project_for_tests.py").write_text(MODULE)
        self.write(agents=AGENTS, tasks=TASKS)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.config / f"{name}.yaml").write_text(text)

    def project(self) -> Any:
        return importlib.import_module("project_for_tests").Trip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    monkeypatch.syspath_prepend(tmp_path)
    yield Folder(tmp_path)
    sys.modules.pop("project_for_tests", None)


def test_names_lead_to_what_the_project_makes(folder: Folder) -> None:
    project = folder.project()
    module = sys.modules["project_for_tests"]
    sights, plan = project.crew().tasks
    guide, planner = project.guide(), project.planner()
    assert (sights.agent, plan.agent) == (guide, planner)
    assert (sights.context, plan.context) == (None, [sights])
    assert guide.tools == sights.tools == [module.search]
    assert guide.llm is project.fast()
    assert (guide.step_callback, sights.callbacks, plan.callback) == (module.note, [module.note] * 2, module.note)
    assert (sights.output_pydantic, plan.output_json) == (module.Trip.Sights, module.Trip.Plan)


def test_what_is_no_name_stays_as_it_is(folder: Folder) -> None:
    planner, guide = folder.project().planner(), folder.project().guide()
    assert (planner.llm, planner.tools, planner.max_iter, planner.verbose) == ("openai/slow", [], 3, True)
    assert guide.role == "Guide to {city}"  # without the line's end
    assert folder.project().plan().async_execution


def test_entries_are_a_mapping(folder: Folder) -> None:
    entries = folder.project().agents_config
    assert list(entries) == ["guide", "planner"]
    assert len(entries) == 2
    assert "guide" in entries
    assert "Guide" not in entries
    assert entries.get("nobody") is None
    assert entries["planner"]["role"] == "Planner"


def test_nothing_is_read_before_it_is_asked_for(folder: Folder) -> None:
    folder.config.rename(folder.config.with_name("elsewhere"))
    project = folder.project()
    project.agents_config = {"guide": {"role": "r", "goal": "g", "backstory": "b"}}
    assert project.guide().role == "r"
    with pytest.raises(errors.ConfigMissing, match=r"project Trip cannot read .*config/tasks.yaml: No such file"):
        project.crew()


def test_another_path_may_be_named(folder: Folder) -> None:
    kind = importlib.import_module("project_for_tests").Trip
    (folder.config / "agents.yaml").rename(folder.config.parent / "people.yaml")
    names = {"agents_config": "people.yaml", "__module__": kind.__module__}
    other: Any = CrewBase(type("Other", (kind,), names))
    assert other().agents_config["guide"]["goal"] == "g"
    assert other().crew().name == "Other"


@pytest.mark.parametrize("method", ["crew", "team"])
def test_the_command_line_finds_the_crew_by_its_class(folder: Folder, method: str) -> None:
    (folder.config.parent / "project_for_tests.py").write_text(MODULE.replace("def crew(", f"def {method}("))
    assert load_crew("project_for_tests:Trip").name == "Trip"


# -- what is wrong -----------------------------------------------------------------------------------------


def test_an_entry_that_is_not_there(folder: Folder) -> None:
    with pytest.raises(
        errors.EntryMissing, match=r"agents.yaml has no entry 'giude'\. Did you mean 'guide'\? It has: guide"
    ):
        folder.project().agents_config["giude"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "agent: guide",
            "agent: giude",
            r"entry 'sights': agent names 'giude', .* under @agent\. Did you mean 'guide'\?",
        ),
        ("context: [sights]", "context: [sight]", r"context names 'sight', .* under @task\. Did you mean 'sights'\?"),
        ("tools: [search]", "tools: [look]", r"tools names 'look', .* under @tool\.\n *It has: search\."),
        ("output_pydantic: Sights", "output_pydantic: Plan", r"under @output_pydantic\.\n *It has: Sights\."),
        ("callbacks: [noted, noted]", "callbacks: [noted, note]", r"callbacks names 'note', .* Did you mean 'noted'\?"),
    ],
)
def test_a_name_that_leads_nowhere(folder: Folder, old: str, new: str, said: str) -> None:
    folder.write(tasks=TASKS.replace(old, new))
    with pytest.raises(errors.NameUnknown, match=said):
        folder.project().crew()


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        ("guide:\n  role: {city} guide\n", r"agents.yaml, line 2: .* must be in quotes"),
        ("guide:\n  role: {city}\n", r"entry 'guide': role is not taken for a text\. .* must be in quotes"),
        ("guide:\n  role: r\n  role: s\n", r"line 3: 'role' is there twice"),
        ("guide:\n  role: a\nguide:\n  role: b\n", r"line 3: 'guide' is there twice"),
        ("guide: a\n", r"entry 'guide': it must have fields below it"),
        ("- guide\n", r"line 1: it must hold entries"),
        ("guide: \0", r"agents.yaml, somewhere: ReaderError"),
    ],
)
def test_a_file_that_is_not_right(folder: Folder, agents: str, said: str) -> None:
    folder.write(agents=agents)
    with pytest.raises(errors.ConfigBroken, match=said):
        folder.project().guide()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("role: r\n  goal: g", r"^Trip\.guide: Agent\(backstory=\.\.\.\) is not valid: Field required"),
        ("role: r\n  gaol: g", r"^Trip\.guide: Agent has no field 'gaol'\. Did you mean 'goal'\?"),
        ("role: r\n  a2a: true", r"^Trip\.guide: Agent\(a2a=True\) is CrewAI's"),
    ],
)
def test_a_field_that_is_not_right(folder: Folder, fields: str, said: str) -> None:
    folder.write(agents=f"guide:\n  {fields}\n")
    with pytest.raises(errors.FieldError, match=said):
        folder.project().guide()


def test_an_empty_file_has_no_entries(folder: Folder) -> None:
    folder.write(agents="# nobody yet\n")
    with pytest.raises(errors.EntryMissing, match="It has: nothing"):
        folder.project().guide()
