"""What the documentation says of the code is what the code says: states, settings, fields, errors, commands, links."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path

import pytest

import crewq
from crewq import Agent, Crew, Task, errors
from crewq.cli import COMMANDS
from crewq.lacking import OF_A_KICKOFF
from crewq.language_model import LLM
from crewq.secret_files import ENDING
from crewq.settings import DAY, Settings
from crewq.states import RUN_MOVES, TASK_MOVES
from tests.pages import PAGES, ROOT, blocks, code_in, rows

README = ROOT / "README.md"
LIFECYCLE = ROOT / "docs" / "lifecycle.md"
SETTINGS = rows(README, "| variable |")
MISSING = rows(README, "| | fields that are refused |")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_tests_that_are_named_are_there() -> None:
    named = {(page.name, code) for page in PAGES for code in code_in(page.read_text()) if code.startswith("tests/")}
    assert any("::" in code for _, code in named)
    assert [(page, code) for page, code in sorted(named) if not _is_there(*code.partition("::")[::2])] == []


def _is_there(file: str, test: str) -> bool:
    path = ROOT / file
    return path.exists() and (not test or f"def {test}(" in path.read_text())


# -- commands ---------------------------------------------------------------------------------------------------------

KNOWN = {name for theme in COMMANDS.values() for name in theme}
OF_RUN = set(re.findall(r"^\./run ([a-z]+)", (ROOT / "run").read_text(), re.MULTILINE)) | {"help"}


def _commands(page: Path) -> Iterator[str]:
    shown = [*code_in(page.read_text()), *(block.text for block in blocks(page) if block.language in ("sh", "text"))]
    for text in shown:
        yield from re.findall(r"(?:^|\s|\$ )(crewq [a-z-]+|\./run [a-z-]+)(?=\s|$)", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_exist(page: Path) -> None:
    known = {f"crewq {name}" for name in KNOWN} | {f"./run {name}" for name in KNOWN | OF_RUN}
    assert sorted(set(_commands(page)) - known) == []


def test_run_knows_what_it_says() -> None:
    script = (ROOT / "run").read_text()
    own = {word for case in re.findall(r"^([a-z| ]+)\)", script, re.MULTILINE) for word in case.split(" | ")}
    assert own | KNOWN >= OF_RUN
    assert re.search(r'^\*\)\n\s+exec "\$bin/crewq" "\$@"', script, re.MULTILINE), "all else is a command of crewq's"


# -- states -----------------------------------------------------------------------------------------------------------


def _drawn(section: str) -> dict[str, set[str]]:
    block = next(block for block in blocks(LIFECYCLE) if block.section == section and block.language == "mermaid")
    moves: dict[str, set[str]] = defaultdict(set)
    for begin, end in re.findall(r"^\s+(\w+) --> (\w+)", block.text, re.MULTILINE):
        moves[begin].add(end)
    return dict(moves)


@pytest.mark.parametrize(("section", "lawful"), [("States of a run", RUN_MOVES), ("States of a task", TASK_MOVES)])
def test_states_are_drawn_as_they_are(section: str, lawful: Mapping[StrEnum, frozenset[StrEnum]]) -> None:
    assert _drawn(section) == {state.value: {end.value for end in ends} for state, ends in lawful.items() if ends}


# -- settings ---------------------------------------------------------------------------------------------------------


def test_every_variable_is_in_the_table() -> None:
    sources = [*(ROOT / "crewq").rglob("*.py"), *(ROOT / "workers").rglob("*"), ROOT / "run"]
    read = {name for path in sources if path.is_file() for name in _variables(path)}
    shown = {name for row in SETTINGS for name in code_in(row[0]) if name.startswith("CREWQ_")}
    assert shown == {name if name in shown else name.removesuffix(ENDING) for name in read}  # a secret may be in a file


def _variables(path: Path) -> list[str]:
    return [] if path.suffix == ".pyc" else re.findall(r"CREWQ_[A-Z]+(?:_[A-Z]+)*", path.read_text())


def test_defaults_are_those_of_the_settings() -> None:
    standard = asdict(Settings())
    actual = {
        **{
            f"CREWQ_{name.upper()}": str(value)
            for name, value in standard.items()
            if isinstance(value, (int, str, Path))
        },
        **{f"CREWQ_KEEP_{state.upper()}_DAYS": str(value // DAY) for state, value in standard["retention"].items()},
        "CREWQ_LEASE_SECONDS": f"{standard['lease']:g}",
        "CREWQ_MODEL": standard["default_model"],
    }
    shown = {code_in(row[0])[0]: "".join(code_in(row[1])) for row in SETTINGS if row[1]}
    assert shown == {name: actual.get(name) for name in shown}


def test_other_variables_are_read_in_the_order_shown() -> None:
    environment: dict[str, str] = {}
    for row in SETTINGS:
        for name in reversed(code_in(row[0])):
            if name in ("CREWQ_MODEL", "MODEL", "MODEL_NAME", "OPENAI_MODEL_NAME"):
                environment[name] = f"model of {name}"
                assert Settings.from_env({name: environment[name]}).default_model == environment[name]
    assert Settings.from_env(environment).default_model == "model of CREWQ_MODEL"
    del environment["CREWQ_MODEL"]
    assert Settings.from_env(environment).default_model == "model of MODEL"


# -- fields that are not there ----------------------------------------------------------------------------------------

MEMBERS = (Agent, Crew, LLM, Task)
LACKS = {name for member in MEMBERS for name in member.lacks}
METHODS = {name for member in MEMBERS for name in member.lacks_methods} | {*OF_A_KICKOFF}


def test_every_field_that_is_refused_is_in_the_table() -> None:
    assert LACKS - {name for row in MISSING for name in code_in(row[1])} == set()


def test_every_field_without_effect_is_named() -> None:
    (told,) = (part for part in README.read_text().split("\n\n") if "have no effect" in " ".join(part.split()))
    assert {name for member in MEMBERS for name in member.ignores} <= {*code_in(told)}


def test_what_the_table_calls_missing_is_missing() -> None:
    names = {code for row in MISSING for code in code_in(row[1]) if code.isidentifier()}
    assert {name for name in names - LACKS if hasattr(crewq, name)} == set()
    assert {name for name in names - LACKS - METHODS if name.islower()} == set()


def test_what_is_refused_by_its_value_is_refused() -> None:
    about = {"role": "R", "goal": "G", "backstory": "B"}
    with pytest.raises(errors.InvalidField):
        Agent(**about, code_execution_mode="unsafe")


# -- errors -----------------------------------------------------------------------------------------------------------


def test_the_page_of_errors_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "errors.py")]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "errors.md").read_text() == page, "write it anew: python docs/errors.py > docs/errors.md"
    assert [name for name in errors.base.__all__ + errors.tasks.__all__ if name[0].isupper() and name not in page] == []
