"""The rewriting of CrewAI's imports, and the list of what does not carry over."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from crewq.cli import main
from crewq.cli.leftovers import in_entries, in_module, in_requirements
from crewq.cli.moves import HOMES, Leftover, Moved, home_of, rewrite

CREW = '''\
"""A crew as CrewAI's own template has it."""
from typing import List

from crewai import Agent, Crew, Process, Task
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.project import CrewBase, agent, crew, task
from crewai_tools import SerperDevTool


@CrewBase
class LatestAi:
    agents: List[BaseAgent]

    @agent
    def researcher(self) -> Agent:
        return Agent(
            config=self.agents_config["researcher"],
            a2a=True,
            tools=[SerperDevTool()],
            cache=True,
            function_calling_llm=None,
        )

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential, share_crew=True)
'''


def moved(source: str) -> Moved:
    return rewrite(source, ast.parse(source))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from crewai import Agent, Crew", "from crewq import Agent, Crew"),
        ("from crewai import Agent as A", "from crewq import Agent as A"),
        ("from crewai import *", "from crewq import *"),
        ("from crewai import project", "from crewq import project"),
        ("from crewai.project import CrewBase, task", "from crewq.project import CrewBase, task"),
        ("from crewai.tools import BaseTool, tool as t", "from crewq.tools import BaseTool, tool as t"),
        ("from crewai.tools.base_tool import BaseTool", "from crewq.tools import BaseTool"),
        ("from crewai.tasks.task_output import TaskOutput", "from crewq import TaskOutput"),
        ("from crewai.crews.crew_output import CrewOutput", "from crewq import CrewOutput"),
        ("from crewai.process import Process", "from crewq import Process"),
        ("from crewai.types.usage_metrics import UsageMetrics", "from crewq import UsageMetrics"),
        (
            "from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource",
            "from crewq.knowledge import StringKnowledgeSource",
        ),
        ("from crewai.lite_agent_output import LiteAgentOutput", "from crewq import LiteAgentOutput"),
        ("from crewai.agents.x import BaseAgent", "from crewq import Agent as BaseAgent"),
        ("from crewai.agents.x import BaseAgent as B", "from crewq import Agent as B"),
        (
            "from crewai import (\n  Agent,  # one\n  Crew,\n)  # two",
            "from crewq import (\n  Agent,  # one\n  Crew,\n)  # two",
        ),
        ("import os; from crewai import Agent", "import os; from crewq import Agent"),
        ("from crewai \\\n  import Agent", "from crewq \\\n  import Agent"),
        ("if 1:\r\n\tfrom crewai import Task\r\n", "if 1:\r\n\tfrom crewq import Task\r\n"),
        ("import crewai\nx = crewai.Agent", "import crewq\nx = crewq.Agent"),
        ("import os, crewai as c\nx = c.Agent", "import os, crewq as c\nx = c.Agent"),
        ("import crewai\nx = 'é', crewai.tools.tool, crewai", "import crewq\nx = 'é', crewq.tools.tool, crewq"),
        ("import crewai\nx = crewai.process.Process.sequential", "import crewq\nx = crewq.Process.sequential"),
        ("import crewai.crew\nx = crewai.crew.Crew", "import crewq\nx = crewq.Crew"),
        (
            "import crewai\n@crewai.project.CrewBase\nclass A: 0",
            "import crewq, crewq.project\n@crewq.project.CrewBase\nclass A: 0",
        ),
        ("import crewai.project as p", "import crewq.project as p"),
        ("import celery\nfrom . import crewai\nfrom crewaix import Agent", None),
    ],
)
def test_an_import_moves_and_all_else_stays(old: str, new: str | None) -> None:
    assert moved(old) == Moved(old if new is None else new, [])


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            "from crewai import Agent, Flow",
            "from crewq import Agent\nfrom crewai import Flow",
            "from crewai import Flow",
        ),
        (
            "if 1: from crewai import Flow, Agent",
            "if 1: from crewq import Agent; from crewai import Flow",
            "from crewai import Flow",
        ),
        (
            "try:\n    from crewai import (\n        Agent,  # who\n        Memory as M,\n    )\nfinally: 0",
            "try:\n    # who\n    from crewq import Agent\n    from crewai import Memory as M\nfinally: 0",
            "from crewai import Memory",
        ),
        ("from crewai.flow.flow import start", None, "from crewai.flow.flow import start"),
        ("from crewai.project import cache_handler", None, "from crewai.project import cache_handler"),
        ("from crewai_tools import SerperDevTool", None, "from crewai_tools import SerperDevTool"),
        ("import crewai_tools", None, "import crewai_tools"),
        ("import crewai.crews.crew_output as o", None, "import crewai.crews.crew_output"),
        ("import crewai.flow", None, "import crewai.flow"),
        ("import crewai as c\nx = c.Flow", "import crewq as c\nx = c.Flow", "c.Flow"),
        ("import crewai\nx = crewai . Agent", "import crewq\nx = crewai . Agent", "crewai.Agent"),
        ("patch('crewai.crew.Crew')", None, "'crewai.crew.Crew'"),
    ],
)
def test_what_does_not_move_stays_and_is_listed(old: str, new: str | None, what: str) -> None:
    done = moved(old)
    assert done.source == (old if new is None else new)
    assert [left.what for left in done.leftovers] == [what]
    assert done.leftovers[0].advice


@pytest.mark.parametrize("module", ["crewai", *HOMES])
def test_what_moves_is_there(module: str) -> None:
    known = ("Agent", "LLM", "CrewBase", "before_kickoff", "BaseTool", "tool", "MCPServerHTTP", "StringKnowledgeSource")
    names = [name for name in known if home_of(module, name)]
    assert names
    assert [name for name in names if not hasattr(importlib.import_module(home_of(module, name) or ""), name)] == []


def test_fields_that_crewq_lacks_are_listed() -> None:
    found = list(in_module(ast.parse(CREW)))
    assert [(left.line, left.what) for left in found] == [(18, "Agent(a2a=...)"), (26, "Crew(share_crew=...)")]
    aliased = "import crewai\nfrom crewai import Task as T\nT(agnet=1)\ncrewai.LLM(callbacks=[f])\nLLM(stream=False)"
    listed = [(left.line, left.what) for left in in_module(ast.parse(aliased))]
    assert listed == [(3, "Task(agnet=...)"), (4, "LLM(callbacks=...)")]
    assert list(in_module(ast.parse("from celery import Task\nTask(agnet=1)"))) == []
    (ignored,) = in_module(ast.parse("from crewai import Agent\nAgent(reasoning=True, function_calling_llm=None)"))
    assert (ignored.what, ignored.advice[:18]) == ("Agent(reasoning=...)", "it has no effect: ")


def test_memory_that_is_an_object_is_listed_wherever_it_stands() -> None:
    source = "from crewai import Agent, Crew, Memory\nAgent(memory=True)\nCrew(memory=Memory())\nCrew(memory=on)\n"
    imported, used = moved(source).leftovers[0], next(in_module(ast.parse(source)))
    assert (imported.line, imported.what) == (1, "from crewai import Memory")
    assert (used.line, used.what) == (3, "Crew(memory=...)")
    assert imported.advice == used.advice
    assert len(list(in_module(ast.parse(source)))) == 1


USES = """\
from crewai import Agent, Crew, Task as T
from latest.crew import Latest

Latest().crew().train(n_iterations=1)
Latest().crew().kickoff(inputs={}, from_checkpoint=None)
crew = Crew(tasks=[])
print(crew.kickoff(), crew.key)
crew.test(
    n_iterations=2,
)
crew.reset_memories(command_type="all")
Crew.from_checkpoint(1)
class Service:
    def __init__(self) -> None:
        self.clerk: Agent = Agent(role="r", goal="g", backstory="b")
        self.first = T(description="d")

    def run(self) -> None:
        self.clerk.message("hello")
        self.first.fingerprint
        self.first.execution_logs
        self.other.train()
"""


def test_methods_that_crewq_lacks_are_listed() -> None:
    listed = sorted((left.line, left.what) for left in in_module(ast.parse(USES)))
    assert listed == [
        (4, "Latest().crew().train"),
        (5, "kickoff(from_checkpoint=...)"),
        (8, "crew.test"),
        (11, "crew.reset_memories"),
        (12, "Crew.from_checkpoint"),
        (19, "self.clerk.message"),
        (20, "self.first.fingerprint"),
        (21, "self.first.execution_logs"),
    ]
    assert all(left.advice for left in in_module(ast.parse(USES)))


def test_entries_that_crewq_lacks_are_listed() -> None:
    agents = "clerk:\n  role: r\n  a2a: true\n  embedder:\nother:\n  gaol: g\n"
    found = list(in_entries(Path("agents.yaml"), agents))
    assert [(left.line, left.what) for left in found] == [(3, "clerk: a2a"), (6, "other: gaol")]
    assert list(in_entries(Path("tasks.yaml"), "do:\n  description: d\n  callbacks: [note]\n")) == []
    assert [left.line for left in in_entries(Path("tasks.yaml"), "do:\n  description: {a} b\n")] == [2]


def test_dependencies_are_listed() -> None:
    project = (
        '[project]\ndependencies = ["crewai[tools]>=0.1"]\nx = [\n  "crewai-tools",\n]\n[tool.crewai]\ncrewai = "1"\n'
    )
    assert [left.line for left in in_requirements(project)] == [2, 4, 7]
    assert list(in_requirements("crewai-toolbox\ncrewq\nlitellm")) == []
    assert list(in_requirements("crewai==1.0")) == [Leftover(1, "depends on crewai", "depend on crewq instead.")]


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("src/latest_ai/config", ".venv/lib", "build"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("src/latest_ai/crew.py", ".venv/lib/crew.py", "build/crew.py"):
        (tmp_path / name).write_text(CREW)
    (tmp_path / "src/latest_ai/latin.py").write_bytes(
        "# coding: latin-1\r\nfrom crewai import Task  # é\r\n".encode("latin-1")
    )
    (tmp_path / "src/latest_ai/config/agents.yaml").write_text("researcher:\n  role: r\n  a2a: true\n")
    (tmp_path / "src/latest_ai/broken.py").write_text("def (:\n")
    return tmp_path


def test_the_difference_is_shown_before_anything_is_changed(project: Path) -> None:
    done = CliRunner().invoke(main, ["migrate", str(project)], input="n\n")
    assert done.exit_code == 0
    assert "\n-from crewai import Agent, Crew, Process, Task\n" in done.stdout
    assert "\n+from crewq import Agent, Crew, Process, Task\n" in done.stdout
    assert f"{project}/src/latest_ai/crew.py:18: Agent(a2a=...): give the agent a tool" in done.stdout
    assert "crew.py:7: from crewai_tools import SerperDevTool: " in done.stdout
    assert "agents.yaml:3: researcher: a2a: " in done.stdout
    assert "broken.py:1: the whole file: it cannot be read: invalid syntax" in done.stdout
    assert done.stdout.endswith("Change 2 files? [y/N]: n\n")
    assert (project / "src/latest_ai/crew.py").read_text() == CREW


def test_what_was_agreed_to_is_changed_and_nothing_else(project: Path) -> None:
    done = CliRunner().invoke(main, ["migrate", str(project)], input="y\n")
    assert done.stdout.endswith("Changed 2 files.\n")
    source = (project / "src/latest_ai/crew.py").read_text()
    assert [line for line in source.splitlines() if "crewai" in line] == ["from crewai_tools import SerperDevTool"]
    assert source.count("\n") == CREW.count("\n")
    assert (
        project / "src/latest_ai/latin.py"
    ).read_bytes() == "# coding: latin-1\r\nfrom crewq import Task  # é\r\n".encode("latin-1")
    assert (project / ".venv/lib/crew.py").read_text() == (project / "build/crew.py").read_text() == CREW
    again = CliRunner().invoke(main, ["migrate", str(project), "--check"])
    assert again.exit_code == 0
    assert "Nothing to change in 4 files." in again.stdout


def test_a_check_changes_nothing_and_says_so_by_its_exit_code(project: Path) -> None:
    done = CliRunner().invoke(main, ["migrate", str(project / "src/latest_ai/crew.py"), "--check"])
    assert done.exit_code == 1
    assert done.stdout.endswith("1 file to change.\n")
    assert (project / "src/latest_ai/crew.py").read_text() == CREW


def test_yes_asks_nothing(project: Path) -> None:
    done = CliRunner().invoke(main, ["migrate", str(project), "--yes"], input="")
    assert done.stdout.endswith("Changed 2 files.\n")
