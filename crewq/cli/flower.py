"""The command `flower`: Flower, with crewq's own pages in it."""

from __future__ import annotations

import click

from crewq.cli.workers import extra, reachable
from crewq.pages.program import run_flower
from crewq.producer import connect


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="[default: 5555, or as Flower's own settings say.]")
@click.option("--address", help="Who may connect [default: 127.0.0.1, or as Flower's own settings say].")
@extra
def flower(port: int | None, address: str | None, arguments: tuple[str, ...]) -> None:
    """Show runs, batches, workers and jobs on web pages: crewq's own pages in Flower.

    With Flower's options, which follow `--`, or its variables (FLOWER_...), all is as in Flower. Other machines are let in
    only with a password, as the pages show what is said in runs, and have buttons.

    \b
    Examples:
      crewq flower --port 8080
      FLOWER_BASIC_AUTH=me:secret crewq flower --address 0.0.0.0 -- --url-prefix=flower
    """
    given = [f"--{name}={value}" for name, value in (("port", port), ("address", address)) if value is not None]
    with reachable() as settings:
        run_flower(connect(settings), [*given, *arguments])


__all__ = ["flower"]
