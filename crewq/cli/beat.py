"""The command `beat`: Celery's beat, with crewq's scheduler."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from crewq.app import make_app
from crewq.beat import Scheduler
from crewq.cli.exits import DONE
from crewq.cli.workers import extra, reachable
from crewq.logs import shape_logs


@click.command()
@click.option("--loglevel", default="INFO", show_default=True, help="DEBUG, INFO, WARNING or ERROR.")
@extra
@click.pass_context
def beat(ctx: click.Context, loglevel: str, arguments: tuple[str, ...]) -> None:
    """Start the runs of schedules when they are due, until stopped: the same as `celery -A workers.app beat`.

    Any number of beats may run at once: each time of a schedule makes one run. What follows `--` goes to Celery.

    \b
    Example: crewq beat
    """
    with reachable() as settings:
        app = make_app(settings)
        shape_logs(settings)
        app.conf.beat_scheduler = partial(Scheduler, settings=settings)
        app.set_default()  # Celery's programs look for the current app in threads of their own
        program: Any = app  # typed as if its `start` never returned
        ctx.exit(program.start(["beat", f"--loglevel={loglevel}", *arguments]) or DONE)


__all__ = ["beat"]
