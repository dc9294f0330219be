"""The command `test`: a crew several times over, and what that comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from crewq import errors
from crewq.batch import Batch
from crewq.cli import judge as judges
from crewq.cli.crews import load_crew
from crewq.cli.exits import ENDED_BADLY
from crewq.cli.inputs import read_inputs
from crewq.cli.measure import Measure, Report
from crewq.cli.options import as_json, input_file, no_progress, print_json, some_inputs
from crewq.cli.phrases import counted, money, tokens
from crewq.cli.start import check_given
from crewq.cli.story import Story
from crewq.cli.watch import follow
from crewq.outputs import UsageMetrics
from crewq.producer import Producer, connect


@click.command()
@click.argument("crew", metavar="MODULE:CREW")
@click.option(
    "-n", "--runs", "--n-iterations", type=click.IntRange(min=1), default=3, show_default=True, help="How often."
)
@some_inputs
@input_file
@click.option(
    "-m", "--judge", "--model", metavar="MODEL", help="A model that gives each task's answer a score, 1 to 10."
)
@no_progress
@as_json
@click.pass_context
def test(
    ctx: click.Context,
    crew: str,
    runs: int,
    pairs: tuple[str, ...],
    file: Path | None,
    judge: str | None,
    no_progress: bool,
    as_json: bool,
) -> None:
    """Run a crew several times, and tell how often it passes, how long it takes and what it costs, by task and in all.

    A run passes if it completes: what an answer must be is for the guardrails of its task to say. Of a list of inputs, each
    is run so often. Exits with 1 unless all runs pass.

    \b
    Examples:
      crewq test my_project.crews:analysis_crew --runs 5 --input topic=AI
      crewq test my_project.crews:analysis_crew --inputs people.csv --judge openai/gpt-4.1-mini --json
    """
    found = load_crew(crew)
    inputs = read_inputs(pairs, file)
    check_given(found, inputs)
    each = (inputs if isinstance(inputs, list) else [inputs]) * runs
    producer, console = connect(), Console(stderr=True, quiet=no_progress)
    batch = found.kickoff_for_each_async(each, return_exceptions=True)
    stories = _followed(producer, batch, console)
    judging, about = judges.begin(judge, stories) if judge and _anything(stories) else (None, [])
    judgements = _followed(producer, judging, console) if judging else []
    report = Report(stories, judges.scores(judging, about) if judging else None)
    if as_json:
        told = {"model": judge, **_judged(judgements)} if judge else None
        print_json({**report.facts(), "batch": batch.id, "judge": told})
    else:
        _print(report, judge)
        _print_judge(judge, judgements)
    if report.failed or any(story.record.error for story in judgements):
        ctx.exit(ENDED_BADLY)


def _followed(producer: Producer, batch: Batch, console: Console) -> list[Story]:
    follow(producer, batch, console, asks=True)
    return Story.of_all(producer, producer.store.batches.runs(batch.id))


def _anything(stories: list[Story]) -> bool:
    return any(task.output for story in stories for task in story.record.tasks)


def _judged(judgements: list[Story]) -> dict[str, Any]:
    usage = sum((story.record.usage for story in judgements), UsageMetrics())
    failed = [story.record.error.record() for story in judgements if story.record.error]
    return {"batch": judgements[0].record.batch if judgements else None, "usage": usage.model_dump(), "errors": failed}


# -- for a person ----------------------------------------------------------------------------------------------


def _print(report: Report, judge: str | None) -> None:
    whole = report.whole
    rate = f"{whole.passed / report.runs:.0%}"
    crew = report.stories[0].record.crew
    click.echo(f"The crew {crew!r}, {counted(report.runs, 'run')}: {whole.passed} passed ({rate}).\n")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("task", "agent"):
        table.add_column(name, no_wrap=True)
    for name in ("passed", *(["score"] if judge else []), "median", "p95", "calls", "tokens", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for measure in (*report.tasks, whole):
        table.add_row(*_row(measure, report.runs, judge))
    Console(highlight=False).print(table)
    in_all = f"{tokens(whole.usage)} tokens, {money(whole.usage)}"
    click.echo(f"\nCalls, tokens and cost are of one run, on average; in all {in_all}.")
    for story in report.failed:
        click.echo(f"\nRun {story.record.id} {_how_it_ended(story)}\n  crewq show {story.record.id}")


def _how_it_ended(story: Story) -> str:
    record = story.record
    if record.error is None:
        return f"{record.state.value}."
    where = "" if record.failed_task is None else f" in task {record.tasks[record.failed_task].name!r}"
    return f"{record.state.value}{where}: {errors.explain(record.error).splitlines()[0]}"


def _row(measure: Measure, runs: int, judge: str | None) -> list[str]:
    seconds = measure.seconds
    score = [] if judge is None else ["" if measure.score is None else f"{measure.score:.1f}"]
    mean = measure.usage.model_copy(update={"cost": measure.usage.cost / runs})
    return [
        measure.name or "the whole run",
        measure.agent,
        f"{measure.passed}/{runs}",
        *score,
        *([f"{seconds.median:.1f} s", f"{seconds.p95:.1f} s"] if seconds else ["", ""]),
        f"{measure.usage.successful_requests / runs:.1f}",
        f"{measure.usage.total_tokens / runs:,.0f}",
        money(mean),
    ]


def _print_judge(judge: str | None, judgements: list[Story]) -> None:
    if not judgements:
        return
    usage = sum((story.record.usage for story in judgements), UsageMetrics())
    calls = counted(usage.successful_requests, "call")
    click.echo(f"\nThe judge, {judge}: {calls}, {tokens(usage)} tokens, {money(usage)}, which is not in the above.")
    for story in judgements:
        if story.record.error:
            click.echo(f"  it could not judge: {errors.explain(story.record.error).splitlines()[0]}", err=True)


__all__ = ["test"]
