"""The command `new`: a project that runs at once, to be changed into one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from secrets import token_hex
from shlex import quote
from string import Template
from typing import Final

import click

LONGEST: Final = 64  # letters of a name
ENDING: Final = ".in"  # of the templates, none of which is a module of crewq's own
# Under their own names they would hold for the templates themselves.
RENAMED: Final = {name: f".{name}" for name in ("dockerignore", "env", "gitignore")}


@click.command()
@click.argument("name")
def new(name: str) -> None:
    """Make a project in a new directory: agents and tasks in YAML, a tool, a test, a compose file.

    It runs at once, without Redis or a key: until you name a model, a script plays it.

    \b
    Example: crewq new demo_crew
    """
    package = package_of(name)
    folder = Path(name.strip())
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise click.BadParameter(f"{name} is there already, and nothing in it is overwritten: take another name.")
    project = "".join(part.capitalize() for part in package.split("_"))
    words = {
        "name": re.sub(r"\s+", "-", name.strip()),  # as a package index takes it
        "package": package,
        "project": project,
        "version": version("crewq"),
        "password": token_hex(16),
    }
    for path, template in _templates(files("crewq") / "templates" / "project", folder, package):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(template).substitute(words), encoding="utf-8")
    (folder / ".env").chmod(0o600)  # it holds a password, and soon keys
    _next_steps(name, f"{package}.crew:{project}")


def package_of(name: str) -> str:
    """The name of the Python package in the project `name`.

    Raises:
        click.BadParameter: there can be none, or another module would be hidden by it.
    """
    package = re.sub(r"[-. ]+", "_", name.strip().lower())
    # What Python, the package index and a file system all take.
    if not re.fullmatch(r"[a-z](\w*[a-z0-9])?", package, re.ASCII) or iskeyword(package) or len(package) > LONGEST:
        raise click.BadParameter(f"{name!r} cannot be the name of a Python package. Example: crewq new demo_crew")
    spec = None if Path(package).is_dir() else find_spec(package)
    if spec or package == "tests":
        raise click.BadParameter(f"There is a Python module {package} already, which it would hide: take another name.")
    return package


def _templates(source: Traversable, target: Path, package: str) -> Iterator[tuple[Path, str]]:
    for entry in source.iterdir():
        if entry.is_dir():
            yield from _templates(entry, target / (package if entry.name == "package" else entry.name), package)
        elif entry.name.endswith(ENDING):
            name = entry.name.removesuffix(ENDING)
            yield target / RENAMED.get(name, name), entry.read_text(encoding="utf-8")


def _next_steps(name: str, crew: str) -> None:
    steps = {
        f"cd {quote(name.strip())}": "",
        f'crewq run {crew} --input topic="tide pools"': "a script plays the model",
        "python -m pytest": "the test of the project",
        "echo CREWQ_MODEL=openai/gpt-4.1-mini >> .env": "a real model; its key belongs there too",
    }
    width = max(map(len, steps))
    click.echo(f"Made the project {name}. Next:")
    for command, what in steps.items():
        click.echo(f"  {command:{width}}  {what}".rstrip())


__all__ = ["new", "package_of"]
