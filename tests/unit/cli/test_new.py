"""A new project: its names, and what it does not overwrite. That it runs is shown in tests/integration/test_project.py."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from crewq.cli import main
from crewq.cli.new import package_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "package"), [("demo_crew", "demo_crew"), ("My-Crew 2", "my_crew_2"), ("x", "x")])
def test_a_name_makes_a_package(folder: Path, name: str, package: str) -> None:
    assert package_of(name) == package


@pytest.mark.parametrize(
    "name",
    [
        "json",
        "pytest",
        "crewq",
        "tests",
        "2fast",
        "class",
        "a/b",
        "../up",
        "",
        " ",
        "_",
        "my-",
        "naïve",
        "x" * 300,
        "new\nline",
    ],
)
def test_a_name_that_cannot_be_one_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(click.BadParameter):
        package_of(name)


def test_a_name_with_a_space_is_one_that_an_index_takes(folder: Path) -> None:
    done = CliRunner().invoke(main, ["new", "My Crew"])
    assert "cd 'My Crew'" in done.stdout
    project = tomllib.loads((folder / "My Crew" / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["scripts"]) == ("My-Crew", {"My-Crew": "my_crew.main:run"})


def test_a_project_is_made(folder: Path) -> None:
    done = CliRunner().invoke(main, ["new", "my-crew"])
    assert done.exit_code == 0, done.output
    assert "crewq run my_crew.crew:MyCrew --input topic=" in done.stdout.partition("Next:")[2]
    made = {str(path.relative_to(folder / "my-crew")) for path in (folder / "my-crew").rglob("*") if path.is_file()}
    assert made == {
        ".dockerignore",
        ".env",
        ".gitignore",
        "README.md",
        "compose.yaml",
        "pyproject.toml",
        "my_crew/__init__.py",
        "my_crew/config/agents.yaml",
        "my_crew/config/tasks.yaml",
        "my_crew/crew.py",
        "my_crew/main.py",
        "my_crew/script.py",
        "my_crew/tools.py",
        "tests/test_crew.py",
    }
    texts = {path: (folder / "my-crew" / path).read_text() for path in made}
    assert [
        path for path, text in texts.items() if re.search(r"\$(name|package|project|password|version)\b", text)
    ] == []
    assert re.fullmatch(r"CREWQ_REDIS_PASSWORD=[0-9a-f]{32}\n", texts[".env"])
    assert (folder / "my-crew" / ".env").stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(folder: Path) -> None:
    (folder / "mine").mkdir()
    assert CliRunner().invoke(main, ["new", "mine"]).exit_code == 0
    (folder / "mine" / "README.md").write_text("my own")
    done = CliRunner().invoke(main, ["new", "mine"])
    assert done.exit_code == 2
    assert "mine is there already, and nothing in it is overwritten" in done.stderr
    assert (folder / "mine" / "README.md").read_text() == "my own"
