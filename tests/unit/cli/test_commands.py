"""The group: its help, and what becomes of errors."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from crewq import errors
from crewq.cli import COMMANDS, main
from crewq.cli.exits import ErrorsAsMessages, exit_code

NAMES = [name for theme in COMMANDS.values() for name in theme]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunFailed(run="r", crew="c", task="t", reason="x", task_id="i"), 1),
        (errors.RunCancelled(run="r"), 1),
        (errors.ResultTimeout(kind="run", id="r", seconds=1.0), 1),
        (errors.JobBroken(reason="x"), 1),
        (errors.UnknownField(owner="Agent", field="rol", hint="", known="role"), 2),
        (errors.InputFileBroken(file="f", line=3, reason="x"), 2),
        (errors.CrewUnloadable(name="n", reason="x", advice="y"), 2),
        (errors.ReplayMismatch(run="r", difference="d"), 2),
        (errors.SettingInvalid(variable="V", value="x", reason="y"), 2),
        (errors.UnknownId(kind="run", id="i", where="w"), 3),
        (errors.AmbiguousId(id="i", candidates="a, b"), 3),
        (errors.NothingYet(where="w"), 3),
        (errors.StoreUnreachable(url="u", reason="x"), 4),
        (errors.StoreUnfit(url="u", reason="x", advice="y"), 4),
        (errors.ServerMissing(directory="d"), 4),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_becomes_a_message_and_an_exit_code(error: errors.CrewqError, code: int) -> None:
    @click.group(cls=ErrorsAsMessages)
    def group() -> None:
        pass

    @group.command()
    def fail() -> None:
        raise error

    done = CliRunner().invoke(group, ["fail"])
    assert exit_code(error) == done.exit_code == code
    assert done.stderr == f"Error: {error}\n"
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rn", "No such command 'rn'. Did you mean run or runs?"),
        ("create", "No such command 'create'. It is CrewAI's: `crewq new NAME` makes a project."),
        ("replya", "Did you mean replay?"),
        ("qqq", "`crewq --help` lists all."),
    ],
)
def test_a_command_that_is_none_is_told_with_what_was_meant(name: str, told: str) -> None:
    done = CliRunner().invoke(main, [name], prog_name="crewq")
    assert done.exit_code == 2
    assert told in done.stderr


def test_an_interrupt_exits_with_130() -> None:
    @click.group(cls=ErrorsAsMessages)
    def group() -> None:
        pass

    @group.command()
    def wait() -> None:
        raise KeyboardInterrupt

    assert CliRunner().invoke(group, ["wait"]).exit_code == 130


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_teaches(arguments: list[str]) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0
    assert "What to type first" in done.stdout
    assert "Exit codes: 0 done; 1 the run failed" in done.stdout
    assert [name for name in NAMES if f"\n  {name} " not in done.stdout] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_an_example_in_its_help(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert "Example" in done.stdout
    assert f"crewq {name}" in done.stdout.partition("Example")[2]


def test_an_unknown_command_is_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["bogus"])
    assert done.exit_code == 2
    assert "No such command 'bogus'" in done.stderr


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == "crewq, version 0.1.0\n"


def test_the_group_alone_imports_no_command() -> None:
    code = "import sys, crewq.cli; print(*sorted(n for n in sys.modules if n.startswith('crewq.cli.') or n == 'rich'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["crewq.cli.exits"]
