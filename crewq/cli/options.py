"""Options that several commands have, and what they print with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from crewq.terms import PRIORITIES

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
no_progress = click.option("--no-progress", is_flag=True, help="Say nothing until the end.")
some_inputs = click.option("--input", "pairs", multiple=True, metavar="NAME=VALUE", help="An input: JSON, else text.")
input_file = click.option(
    "--inputs", "file", type=click.Path(path_type=Path), help="A .json, .jsonl or .csv file; a list fans out."
)
tenant = click.option("--tenant", metavar="NAME", help="For whom it is: a customer, a team, a project.")
priority = click.option("--priority", type=click.Choice(PRIORITIES), help="Which of what waits is begun first.")
max_cost = click.option(
    "--budget",
    "--max-cost",
    "max_cost",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DOLLARS",
    help="What it may cost in all; it is paused before a call that would go beyond.",
)
max_tokens = click.option(
    "--max-tokens", type=click.IntRange(min=1), metavar="TOKENS", help="Tokens that it may use in all, likewise."
)


def print_json(value: Any) -> None:
    """Print a value as JSON, readable also for a person."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


__all__ = [
    "as_json",
    "input_file",
    "max_cost",
    "max_tokens",
    "no_progress",
    "print_json",
    "priority",
    "some_inputs",
    "tenant",
]
