"""Options that several commands have, and what they print with."""

from __future__ import annotations

import json
from typing import Any

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def print_json(value: Any) -> None:
    """Print a value as JSON, readable also for a person."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


__all__ = ["as_json", "print_json"]
