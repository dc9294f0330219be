"""The command `migrate`: a CrewAI project's imports become crewq's, after the difference was shown."""

from __future__ import annotations

import ast
import difflib
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from crewq.cli.exits import ENDED_BADLY
from crewq.cli.leftovers import ENTRIES, in_entries, in_module, in_requirements
from crewq.cli.moves import Leftover, rewrite
from crewq.cli.phrases import counted

SKIPPED: Final = {"__pycache__", "build", "dist", "node_modules", "site-packages", "venv"}  # and what begins with a dot
COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


@dataclass
class Migrated:
    """A file as it is, as it would be, and what in it does not carry over."""

    file: Path
    old: str = ""
    new: str = ""
    encoding: str = "utf-8"
    leftovers: list[Leftover] = field(default_factory=list)


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--yes", is_flag=True, help="Change the files without asking.")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if there is something to change.")
@click.pass_context
def migrate(ctx: click.Context, path: Path, yes: bool, check: bool) -> None:
    """Turn the imports of a CrewAI project, or of one file of it, into crewq's.

    It shows the difference, lists by file and line what will not carry over, and asks before it changes anything.
    Nothing but imports, and names such as crewai.Agent, is changed.

    \b
    Example: crewq migrate my_project
    """
    found = [read(file) for file in files_of(path)]
    changed = [one for one in found if one.new != one.old]
    for one in changed:
        _show(one)
    _list(found)
    if not changed:
        click.echo(f"Nothing to change in {counted(len(found), 'file')}.")
    elif check:
        click.echo(f"{counted(len(changed), 'file')} to change.")
        ctx.exit(ENDED_BADLY)
    elif yes or click.confirm(f"Change {counted(len(changed), 'file')}?"):
        for one in changed:
            one.file.write_bytes(one.new.encode(one.encoding))
        click.echo(f"Changed {counted(len(changed), 'file')}.")


def files_of(path: Path) -> Iterator[Path]:
    """The Python modules of a project, the YAML of its agents and tasks, and what says what it depends on."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        folders = file.relative_to(path).parts[:-1] if path.is_dir() else ()
        if file.is_file() and not any(name in SKIPPED or name.startswith(".") for name in folders) and _is_read(file):
            yield file


def _is_read(file: Path) -> bool:
    return file.suffix == ".py" or _is_entries(file) or _is_requirements(file)


def _is_entries(file: Path) -> bool:
    return file.suffix in (".yaml", ".yml") and file.stem in ENTRIES


def _is_requirements(file: Path) -> bool:
    return file.name == "pyproject.toml" or (file.suffix == ".txt" and file.name.startswith("requirements"))


def read(file: Path) -> Migrated:
    """What would become of a file."""
    raw = file.read_bytes()
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        old = raw.decode(encoding)
        if file.suffix != ".py":
            found = in_entries(file, old) if _is_entries(file) else in_requirements(old)
            return Migrated(file, leftovers=list(found))
        tree = ast.parse(old)
    except (SyntaxError, ValueError) as error:
        line, reason = getattr(error, "lineno", None) or 1, getattr(error, "msg", None) or str(error)
        leftover = Leftover(line, "the whole file", f"it cannot be read: {reason}.")
        return Migrated(file, leftovers=[leftover])
    moved = rewrite(old, tree)
    return Migrated(file, old, moved.source, encoding, sorted([*moved.leftovers, *in_module(tree)]))


def _show(one: Migrated) -> None:
    old, new = (text.splitlines(keepends=True) for text in (one.old, one.new))
    for line in difflib.unified_diff(old, new, str(one.file), str(one.file)):
        click.secho(line.rstrip("\r\n"), fg=COLOURS.get(line[0]))


def _list(found: list[Migrated]) -> None:
    lines = [f"{one.file}:{line}: {what}: {advice}" for one in found for line, what, advice in one.leftovers]
    if lines:
        click.echo("\n".join(["\nThis will not carry over:", *lines, ""]))


__all__ = ["Migrated", "files_of", "migrate", "read"]
