"""`schedule` and its commands: crews that are started at their times."""

from __future__ import annotations

import time
from typing import Any

import click

from crewq import errors
from crewq.cli.crews import load_crew
from crewq.cli.inputs import read_pairs
from crewq.cli.options import as_json, max_cost, max_tokens, print_json, priority, some_inputs, tenant
from crewq.cli.start import check_given
from crewq.firing import start_now, times_of
from crewq.producer import Producer, connect
from crewq.schedules import schedule as keep
from crewq.store import ScheduleRecord, Unreadable
from crewq.timing import CATCH_UP, Timing, when

SHOWN = 3  # of the next times, once a schedule is kept


@click.group()
def schedule() -> None:
    """Have crews started at their times, by `crewq beat`: each time makes one run, however many beats there are.

    \b
    Examples:
      crewq schedule add news my_project.crews:crew --cron "0 7 * * 1-5" --tz Europe/Berlin --input topic=AI
      crewq schedule add pulse my_project.crews:crew --every 15m
      crewq schedule list
    """


@schedule.command()
@click.argument("name")
@click.argument("crew", metavar="MODULE:CREW")
@click.option("--cron", default="", help="Minute, hour, day of the month, month, weekday; both days must fit.")
@click.option("--every", default="", help="An interval: 30s, 15m, 6h, 1h30m or 7d, counted from 1970 in UTC.")
@click.option("--tz", metavar="ZONE", help="The time zone of the cron line, such as Europe/Berlin  [default: UTC].")
@click.option("--catch-up", default=CATCH_UP, show_default=True, help="How late a missed time is still made up for.")
@click.option("--replace", is_flag=True, help="In the place of the schedule of that name, if there is one.")
@some_inputs
@tenant
@priority
@max_cost
@max_tokens
@as_json
def add(name: str, crew: str, pairs: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Keep a schedule, with the crew as it is now; tells when it is due next.

    \b
    Example: crewq schedule add news my_project.crews:crew --cron "0 7 * * 1-5" --tz Europe/Berlin
    """
    found, inputs = load_crew(crew), read_pairs(pairs)
    check_given(found, inputs)
    given = {option: value for option, value in options.items() if value is not None}
    record = keep(found, name, inputs=inputs or None, **given)
    if as_json:
        return print_json(_facts(record))
    timing = times_of(record)
    click.echo(f"The schedule {name!r} of the crew {record.crew!r} is kept: {timing}. It is due next at")
    for at in _next(timing):
        click.echo(f"  {when(at, timing.tz)}")
    return click.echo("Its runs are started by `crewq beat`; `crewq schedule run` starts one now.")


@schedule.command("list")
@as_json
def show_all(as_json: bool) -> None:
    """List all schedules: when they are due next, and which run they started last.

    \b
    Example: crewq schedule list
    """
    producer = connect(work=False)
    found = _known(producer)
    if as_json:
        return print_json([_facts(record) if isinstance(record, ScheduleRecord) else _lost(record) for record in found])
    if not found:
        return click.echo(f"There is no schedule in {producer.given.where}.", err=True)
    rows = [("SCHEDULE", "CREW", "TIMES", "NEXT", "LAST RUN"), *map(_row, found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    for record in found:
        if problem := record.problem if isinstance(record, ScheduleRecord) else record.error:
            click.echo(f"{record.name}: {problem}", err=True)
    return None


@schedule.command("run")
@click.argument("name")
@as_json
def run_now(name: str, as_json: bool) -> None:
    """Start a run of a schedule now, beside its times.

    \b
    Example: crewq schedule run news
    """
    producer = connect(work=False)
    run = start_now(producer, producer.store.schedules.read(name))
    said = f"The run {run} of the schedule {name!r} is started. Follow it: crewq watch {run[:8]}"
    return print_json({"schedule": name, "run": run}) if as_json else click.echo(said)


@schedule.command()
@click.argument("name")
@as_json
def remove(name: str, as_json: bool) -> None:
    """Forget a schedule. Runs that it has started go on.

    \b
    Example: crewq schedule remove news
    """
    connect(work=False).store.schedules.remove(name)
    said = f"The schedule {name!r} is forgotten."
    return print_json({"schedule": name, "removed": 1}) if as_json else click.echo(said)


def _next(timing: Timing) -> list[int]:
    times: list[int] = []
    at: int | None = int(time.time() * 1000)
    while len(times) < SHOWN and at is not None and (at := timing.next(at)) is not None:
        times.append(at)
    return times


def _known(producer: Producer) -> list[ScheduleRecord | Unreadable]:
    """All schedules; those whose times cannot be read among those of which nothing can."""
    return [_checked(record) for record in producer.store.schedules.all()]


def _checked(record: ScheduleRecord | Unreadable) -> ScheduleRecord | Unreadable:
    try:
        if isinstance(record, ScheduleRecord):
            times_of(record)
    except errors.RecordBroken as error:
        return Unreadable(record.name, error)
    return record


def _row(record: ScheduleRecord | Unreadable) -> tuple[str, ...]:
    if isinstance(record, Unreadable):
        return record.name, "", "cannot be read", "never", ""
    timing = times_of(record)
    following = timing.next(int(time.time() * 1000))
    return record.name, record.crew, str(timing), when(following, timing.tz) if following else "never", record.run or ""


def _lost(record: Unreadable) -> dict[str, Any]:
    return {"schedule": record.name, "next": [], "problem": str(record.error)}


def _facts(record: ScheduleRecord) -> dict[str, Any]:
    timing = times_of(record)
    return {
        "schedule": record.name,
        "crew": record.crew,
        "cron": timing.cron or None,
        "every": timing.every or None,
        "tz": timing.tz,
        "catch_up": timing.catch_up,
        "inputs": record.inputs,
        **vars(record.terms),
        "next": [when(at, timing.tz) for at in _next(timing)],
        "last_run": record.run,
        "problem": record.problem,
    }


__all__ = ["add", "remove", "run_now", "schedule", "show_all"]
