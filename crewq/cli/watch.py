"""Following runs until they end, and the command `watch`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import click
from rich.console import Console
from rich.live import Live

from crewq.batch import Batch
from crewq.cli.exits import DONE, ENDED_BADLY
from crewq.cli.lookup import look_up
from crewq.cli.options import as_json
from crewq.cli.person import Person
from crewq.cli.view import FewRuns, ManyRuns, View
from crewq.producer import Producer, connect
from crewq.run import Run

SHOWN = 12  # runs that have a line each; a batch of more is shown as one bar
PATIENCE = 3.0  # seconds without any worker after which a person is told so


def follow(producer: Producer, handle: Run | Batch, console: Console, *, asks: bool = False) -> View:
    """Show what happens in a run or batch until it has ended: live on a terminal, in plain lines elsewhere.

    Args:
        producer: this process's way to Redis.
        handle: the run or batch.
        console: where it is shown.
        asks: whether the person at the terminal is asked what the tasks ask.
    """
    person = Person(producer, silent=console.quiet) if asks else None
    view = view_of(producer, handle)
    on_terminal = console.is_terminal and not console.is_dumb_terminal
    picture = Live(view, console=console, auto_refresh=False) if on_terminal else None
    with reattachable(producer, handle), picture or nullcontext():
        while not view.over:
            waited = view.elapsed
            told = view.read()
            if picture:
                picture.refresh()
            else:
                for line in told:
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
            if person:
                person.attend(view, picture)
            if waited < PATIENCE <= view.elapsed and not view.begun and not producer.given.embedded:
                click.echo("No worker has taken it up yet; it waits. Start one: crewq worker", err=True)
    return view


def view_of(producer: Producer, handle: Run | Batch) -> View:
    """What to show of it: a line for each of a few runs, or one bar for many."""
    if isinstance(handle, Run):
        return FewRuns(producer, [handle.id])
    runs = producer.store.batches.runs(handle.id)
    return FewRuns(producer, runs) if len(runs) <= SHOWN else ManyRuns(producer, handle.id)


@contextmanager
def reattachable(producer: Producer, handle: Run | Batch) -> Iterator[None]:
    """Tell whoever stops waiting how to get back."""
    try:
        yield
    except KeyboardInterrupt:
        if producer.given.embedded:
            how = f"waits in {producer.given.data_dir}, as its worker was in this process. Go on with it"
        else:
            how = "goes on without you. Back to it"
        click.echo(f"\nThe {handle.kind} {how}: crewq watch {handle.id}", err=True)
        raise


@click.command()
@click.argument("run", metavar="RUN|BATCH")
@as_json
@click.pass_context
def watch(ctx: click.Context, run: str, as_json: bool) -> None:
    """Follow a run or a batch live, until it ends. Exits with 1 if it failed or was cancelled.

    With --json, each event of a run is one line of JSON.

    \b
    Example: crewq watch 3f2a
    """
    producer = connect()
    name, kind, _ = look_up(producer, run, "run", "batch")
    handle = Batch(name, producer) if kind == "batch" else Run(name, producer)
    if as_json and isinstance(handle, Run):
        with reattachable(producer, handle):
            for event in handle.events():
                click.echo(event.model_dump_json(exclude_none=True))
    else:
        follow(producer, handle, Console(stderr=as_json))
    ctx.exit(DONE if ended_well(handle) else ENDED_BADLY)


def ended_well(handle: Run | Batch) -> bool:
    """Whether all of it completed."""
    if isinstance(handle, Run):
        return handle.status == "completed"
    progress = handle.progress()
    return progress.completed == progress.total


__all__ = ["ended_well", "follow", "reattachable", "view_of", "watch"]
