"""The command `metrics`: what Prometheus reads."""

from __future__ import annotations

import signal
import threading
from contextlib import closing

import click
from prometheus_client import start_http_server

from crewq import errors
from crewq.cli.workers import reachable
from crewq.exporter import exposition, registry_of
from crewq.settings import Settings
from crewq.store import Store

PORT = 9808
PATIENCE = 3.0  # seconds that a scrape waits for Redis: Prometheus gives it ten


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens; it asks nobody for a password.")
@click.option("--once", is_flag=True, help="Print the metrics and end.")
def metrics(port: int, host: str, once: bool) -> None:
    """Serve the metrics of all workers together to Prometheus, until stopped.

    They are kept in Redis and read when they are asked for: one such process is enough, and a second does no harm. There are
    numbers and names of models in them, and nothing of what is said.

    \b
    Examples:
      crewq metrics --once
      crewq metrics --host 0.0.0.0
    """
    with reachable() as settings, closing(_store(settings)) as store:
        if once:
            click.echo(exposition(store)[0], nl=False)
        else:
            _serve(store, host, port)


def _store(settings: Settings) -> Store:
    return Store(settings, patience=PATIENCE, connections=2, answer_within=PATIENCE)


def _serve(store: Store, host: str, port: int) -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        server, _ = start_http_server(port, host, registry_of(store))
    except OSError as error:
        raise errors.UsageError(reason=f"Nothing can be served at {host}:{port}: {errors.explain(error)}") from error
    click.echo(f"Prometheus can read http://{host}:{port}/metrics.", err=True)
    try:
        stopped.wait()
    finally:
        server.shutdown()
        server.server_close()


__all__ = ["metrics"]
