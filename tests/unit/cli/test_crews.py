from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crewq import errors
from crewq.cli.crews import load_crew

MODULE = """
from crewq import Agent, Crew, Task

agent = Agent(role="a", goal="b", backstory="c")
crew = Crew(name="here", agents=[agent], tasks=[Task(description="d", agent=agent)])
number = 3

def made():
    return crew

def made_of(x):
    return crew

class Project:
    def crew(self):
        return crew

class Picky:
    def __init__(self, x):
        self.x = x

project = Project()
"""

PROJECT = """
from crewq import Crew
from crewq.project import CrewBase, crew

@CrewBase
class Mine:
    @crew
    def crew(self):
        return Crew()
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "crews_for_tests.py").write_text(MODULE)
    (tmp_path / "broken_for_tests.py").write_text("def (:")
    (tmp_path / "lacking_for_tests.py").write_text("import no_such_package")
    (tmp_path / "raising_for_tests.py").write_text("x = 1\nx / 0")
    (tmp_path / "classes_for_tests.py").write_text(PROJECT)
    (tmp_path / "slip_for_tests.py").write_text("from crewq import no_such_name")
    (tmp_path / "wrong_for_tests.py").write_text("from crewq import Agent\nAgent(rol='x')")
    monkeypatch.syspath_prepend(tmp_path)
    yield "crews_for_tests"
    for name in ("crews_for_tests", "classes_for_tests"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["crew", "made", "Project", "project", "project.crew"])
def test_a_name_leads_to_a_crew(module: str, name: str) -> None:
    assert load_crew(f"{module}:{name}").name == "here"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crews_for_tests", "not of the form module:name"),
        (":crew", "not of the form module:name"),
        ("crews_for_tests.py:crew", "it names a file"),
        ("src/crews:crew", "it names a file"),
        ("no_such_module:crew", "there is no module 'no_such_module'"),
        ("crews_for_tests.sub:crew", "there is no module 'crews_for_tests.sub'"),
        ("lacking_for_tests:crew", "its module imports 'no_such_package'"),
        ("slip_for_tests:crew", "cannot import name 'no_such_name'"),
        ("broken_for_tests:crew", "SyntaxError"),
        ("raising_for_tests:crew", "ZeroDivisionError: division by zero ("),
        ("raising_for_tests:crew", "raising_for_tests.py, line 2)."),
        ("crews_for_tests:crw", "It has these crews: crew."),
        ("classes_for_tests:crew", "It has these crews: Mine."),
        ("crews_for_tests:number", "an object of type int"),
        ("crews_for_tests:made_of", "missing a required argument: 'x'"),
        ("crews_for_tests:Picky", "missing a required argument: 'x'"),
    ],
)
def test_a_name_that_leads_elsewhere_says_where(name: str, reason: str) -> None:
    with pytest.raises(errors.CrewUnloadable) as caught:
        load_crew(name)
    assert reason in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_mistake_in_the_crew_itself_keeps_its_own_message() -> None:
    with pytest.raises(errors.UnknownField, match="role"):
        load_crew("wrong_for_tests:crew")
