"""The command `worker`, and what a service that is started here needs: a Redis that is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from crewq.cli.exits import DONE
from crewq.server import join
from crewq.settings import Settings
from crewq.store import Store
from crewq.worker import Worker

GRACE = 30.0  # seconds that running tasks are given to end after a SIGTERM; what Kubernetes allows by default

extra = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)


@click.command()
@click.option(
    "--concurrency", type=click.IntRange(min=1), help="How many tasks at once [default: CREWQ_CONCURRENCY or 32]."
)
@click.option("--loglevel", default="INFO", show_default=True, help="DEBUG, INFO, WARNING or ERROR.")
@extra
@click.pass_context
def worker(ctx: click.Context, concurrency: int | None, loglevel: str, arguments: tuple[str, ...]) -> None:
    """Work on runs, until stopped: the same as `celery -A workers.app worker`.

    Any number of workers on any number of machines share the work. What follows `--` goes to Celery.

    \b
    Examples:
      CREWQ_REDIS_URL=redis://redis:6379/0 CREWQ_IMPORTS=my_project crewq worker
      crewq worker --concurrency 64 -- --hostname night@%h
    """
    with reachable() as settings:
        own = settings.with_(concurrency=concurrency or settings.concurrency)
        app = Worker(own).follow_celery(grace=GRACE).app
        app.set_default()  # Celery's programs look for the current app in threads of their own
        program: Any = app  # typed as if its `start` never returned
        ctx.exit(program.start(["worker", f"--loglevel={loglevel}", *arguments]) or DONE)


@contextmanager
def reachable() -> Iterator[Settings]:
    """The settings with the address of a Redis that is there and fit; without one of one's own, the embedded one's.

    Raises:
        StoreError: there is none.
    """
    settings = Settings.from_env(os.environ)
    if settings.embedded:
        with join(settings.data_dir) as server:
            yield settings.with_(redis_url=server.url)
        return
    store = Store(settings, connections=1)
    try:
        store.check()
    finally:
        store.close()
    yield settings


__all__ = ["extra", "reachable", "worker"]
