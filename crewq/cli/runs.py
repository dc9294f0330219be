"""Commands that look at runs, end and forget them. None of them starts work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from crewq import errors
from crewq.batch import Batch
from crewq.cli.lookup import look_up
from crewq.cli.options import as_json, print_json
from crewq.cli.phrases import ago, counted, duration, money, seconds_between, tokens
from crewq.cli.story import Story, run_facts, terms_of
from crewq.producer import Producer, connect
from crewq.run import Run
from crewq.states import RunState
from crewq.store import RunRecord
from crewq.terms import DEFAULT_TENANT

PAGE = 100  # runs that are read at a time


@click.command()
@click.option("--state", type=click.Choice([state.value for state in RunState]), help="Only those in this state.")
@click.option("--tenant", metavar="NAME", help="Only those of this tenant.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many at most.")
@as_json
def runs(state: str | None, tenant: str | None, limit: int, as_json: bool) -> None:
    """List runs, the newest first.

    \b
    Examples:
      crewq runs --state failed --limit 5
      crewq runs --tenant acme
    """
    producer = connect(work=False)
    wanted = (
        run for run in _newest(producer) if state in (None, run.state.value) and tenant in (None, run.terms.tenant)
    )
    found = list(islice(wanted, limit))
    if as_json:
        print_json([run_facts(run) for run in found])
    elif found:
        _print_table(found)
    else:
        which = f"{f' that is {state}' if state else ''}{f' of the tenant {tenant}' if tenant else ''}"
        click.echo(f"There is no run{which} in {producer.given.where}.", err=True)


def _newest(producer: Producer) -> Iterator[RunRecord]:
    at = 0
    while ids := producer.store.runs.latest(PAGE, at):
        yield from producer.store.runs.overview(ids)
        at += len(ids)


def _print_table(found: list[RunRecord]) -> None:
    tenants = any(run.terms.tenant != DEFAULT_TENANT for run in found)  # few installations have several
    rows = [("RUN", "STATE", "CREW", *(["TENANT"] if tenants else []), "CREATED", "TOOK", "TOKENS", "COST", "")]
    for run in found:
        took = duration(seconds_between(run.started, run.ended))
        note = "replay" if run.parent else f"batch {run.batch[:8]}" if run.batch else ""
        note = f"schedule {run.schedule}" if run.schedule else note
        cost = money(run.usage)
        whose = (run.terms.tenant,) if tenants else ()
        rows.append((run.id, run.state.value, run.crew, *whose, ago(run.created), took, tokens(run.usage), cost, note))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@click.command()
@click.argument("run", metavar="RUN")
@as_json
def show(run: str, as_json: bool) -> None:
    """Tell the whole story of a run: inputs, tasks, attempts, cost, outputs, errors.

    RUN is the id of a run, of one of its tasks, or of a batch, or the beginning of one.

    \b
    Example: crewq show 3f2a
    """
    producer = connect(work=False)
    name, kind, job = look_up(producer, run, "run", "task", "batch")
    if kind == "batch":
        return _show_batch(producer, name, as_json)
    story = Story.of(producer, job.run if job else name)
    return print_json(story.facts()) if as_json else click.echo("\n".join(story.lines()))


def _show_batch(producer: Producer, batch: str, as_json: bool) -> None:
    about = producer.store.batches.read(batch)
    found = producer.store.runs.overview(producer.store.batches.runs(batch))
    if as_json:
        facts: dict[str, Any] = {
            "total": about.total,
            "completed": about.completed,
            "failed": about.failed,
            "cancelled": about.cancelled,
        }
        facts = {"tenant": about.terms.tenant, "priority": about.terms.priority, **facts}
        return print_json({"batch": batch, "crew": about.crew, **facts, "runs": [run_facts(run) for run in found]})
    click.echo(
        f"Batch {batch} of the crew {about.crew!r}: {counted(about.total, 'run')}, "
        f"{about.completed} completed, {about.failed} failed, {about.cancelled} cancelled"
    )
    if terms := terms_of(about):
        click.echo(f"  {terms}")
    return _print_table(found)


@click.command("log-tasks-outputs")
@click.argument("run", metavar="[RUN]", required=False)
@as_json
def log_tasks_outputs(run: str | None, as_json: bool) -> None:
    """Print each task of a run with its id and its output; without RUN, those of the latest run.

    The id is what `crewq replay -t` takes.

    \b
    Example: crewq log-tasks-outputs
    """
    producer = connect(work=False)
    story = Story.of(producer, _run_of(producer, run) if run else _latest(producer))
    return print_json(story.facts()["tasks"]) if as_json else click.echo("\n".join(story.task_outputs()))


def _run_of(producer: Producer, beginning: str) -> str:
    """The run of that id, or the one that the task of that id belongs to."""
    name, _, job = look_up(producer, beginning, "run", "task")
    return job.run if job else name


def _latest(producer: Producer) -> str:
    for run in producer.store.runs.latest(1):
        return run
    raise errors.NothingYet(where=producer.given.where)


@click.command()
@click.argument("run", metavar="RUN|BATCH")
@as_json
def cancel(run: str, as_json: bool) -> None:
    """End a run, or all runs of a batch, now. What was done so far is kept.

    \b
    Example: crewq cancel 3f2a
    """
    producer = connect(work=False)
    name, kind, _ = look_up(producer, run, "run", "batch")
    if kind == "batch":
        ended = Batch(name, producer).cancel()
        said = f"{counted(ended, 'run')} of the batch {name} cancelled."
    else:
        ended = int(Run(name, producer).cancel())
        said = f"The run {name} is cancelled." if ended else f"The run {name} had ended before: nothing to cancel."
    return print_json({"id": name, "cancelled": ended}) if as_json else click.echo(said)


@click.command()
@click.argument("run", metavar="RUN")
@as_json
def delete(run: str, as_json: bool) -> None:
    """Forget a run that has ended, with all that was kept of it.

    \b
    Example: crewq delete 3f2a
    """
    producer = connect(work=False)
    name, _, _ = look_up(producer, run, "run")
    producer.store.runs.delete(name)
    return print_json({"id": name, "deleted": 1}) if as_json else click.echo(f"The run {name} is forgotten.")


@click.command()
@click.argument("run", metavar="RUN")
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), help="Write it to a file, not to stdout.")
def export(run: str, file: Path | None) -> None:
    """Print everything that is kept of a run as JSON: its crew, inputs, tasks, every call and every event.

    \b
    Example: crewq export 3f2a -o run.json
    """
    producer = connect(work=False)
    name, _, _ = look_up(producer, run, "run")
    text = json.dumps(producer.store.export(name), ensure_ascii=False, indent=2)
    if file is None:
        return click.echo(text)
    file.write_text(f"{text}\n", encoding="utf-8")
    return click.echo(f"The run {name} is written to {file}.", err=True)


__all__ = ["cancel", "delete", "export", "log_tasks_outputs", "runs", "show"]
