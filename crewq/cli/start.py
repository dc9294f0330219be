"""Commands that set runs going: `run`, `replay` and `resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console

from crewq import errors
from crewq.batch import Batch
from crewq.cli.crews import load_crew
from crewq.cli.exits import ENDED_BADLY
from crewq.cli.inputs import read_inputs, read_pairs, read_texts
from crewq.cli.lookup import look_up
from crewq.cli.options import (
    as_json,
    input_file,
    max_cost,
    max_tokens,
    no_progress,
    print_json,
    priority,
    some_inputs,
    tenant,
)
from crewq.cli.story import Story
from crewq.cli.watch import ended_well, follow
from crewq.crew import Crew
from crewq.freeze import modules_of
from crewq.producer import Producer, connect
from crewq.replay import find_task, start_replay
from crewq.run import Run
from crewq.store import Job


@click.command()
@click.argument("crew", metavar="MODULE:CREW")
@some_inputs
@input_file
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds after which the run ends failed.")
@tenant
@priority
@max_cost
@max_tokens
@no_progress
@as_json
@click.pass_context
def run(
    ctx: click.Context,
    /,
    crew: str,
    pairs: tuple[str, ...],
    file: Path | None,
    timeout: float | None,
    no_progress: bool,
    as_json: bool,
    **terms: Any,
) -> None:
    """Run a crew, and print its output. A list of inputs makes one run for each, side by side.

    MODULE:CREW names a Crew, a function that returns one, or a class with a method `crew`, in a module that can be
    imported from here. Progress goes to stderr, the output to stdout.

    \b
    Examples:
      crewq run my_project.crews:analysis_crew --input topic=AI --input ages=[25,30,35]
      crewq run my_project.crews:analysis_crew --inputs people.csv --json > results.json
    """
    found = load_crew(crew)
    inputs = read_inputs(pairs, file)
    given: Any = {name: value for name, value in terms.items() if value is not None}
    check_given(found, inputs)
    handle: Run | Batch
    if isinstance(inputs, list):
        if timeout:
            raise click.BadOptionUsage("timeout", "--timeout is for a single run, and the file holds a list of inputs.")
        handle = found.kickoff_for_each_async(inputs, return_exceptions=True, **given)
    else:
        handle = found.start(inputs or None, timeout=timeout, **given)
    finish(ctx, handle, quiet=no_progress, as_json=as_json)


@click.command()
@click.option(
    "-t", "--task-id", "--task_id", "task", required=True, help="Where to begin: a task's id, or its beginning."
)
@some_inputs
@click.option("--output", "outputs", multiple=True, metavar="TASK=TEXT", help="A text instead of a task's output.")
@click.option("--crew", metavar="MODULE:CREW", help="Today's crew; default: the crew as it ran.")
@no_progress
@as_json
@click.pass_context
def replay(
    ctx: click.Context,
    task: str,
    pairs: tuple[str, ...],
    outputs: tuple[str, ...],
    crew: str | None,
    no_progress: bool,
    as_json: bool,
) -> None:
    """Run a crew again from one task of an earlier run: a new run, in which the tasks before it keep their outputs.

    The ids of the tasks are in `crewq show` and `crewq log-tasks-outputs`. Inputs are those of the earlier run, with
    those given here changed.

    \b
    Examples:
      crewq replay -t 9c41
      crewq replay -t 9c41 --input topic=robots --output research="Robots are many." --crew my_project.crews:crew
    """
    texts = read_texts(outputs, "--output")
    changed = read_pairs(pairs)
    producer = connect()
    job = find_task(producer, task)
    inputs = {**producer.store.runs.read(job.run).inputs, **changed} if changed else None
    if crew:
        handle = load_crew(crew).replay_async(
            producer.store.runs.read(job.run).tasks[job.index].id, inputs, outputs=texts
        )
    else:
        handle = _replayed_as_stored(producer, job, inputs, texts)
    finish(ctx, handle, quiet=no_progress, as_json=as_json)


@click.command()
@click.argument("run", metavar="RUN|BATCH")
@click.option("--retry-call", "decision", flag_value="retry", help="Make a call that is in doubt again.")
@click.option("--skip-call", "decision", flag_value="skip", help="Go on without a call that is in doubt.")
@max_cost
@max_tokens
@no_progress
@as_json
@click.pass_context
def resume(
    ctx: click.Context,
    run: str,
    decision: Literal["retry", "skip"] | None,
    max_cost: float | None,
    max_tokens: int | None,
    no_progress: bool,
    as_json: bool,
) -> None:
    """Let a run that failed, was cancelled or is paused go on where it stopped: what it has paid for is not paid again.

    Of a batch, those of its runs that are paused. A new budget is for all of it: what it has spent counts.

    \b
    Examples:
      crewq resume 3f2a
      crewq resume 3f2a --budget 5
    """
    producer = connect()
    name, kind, _ = look_up(producer, run, "run", "batch")
    handle: Run | Batch
    if kind == "batch":
        handle = Batch(name, producer)
        _lend(producer, handle.runs[0].id)
        handle.resume(max_cost=max_cost, max_tokens=max_tokens)
    else:
        _lend(producer, name)
        handle = Run(name, producer).resume(call_in_doubt=decision, max_cost=max_cost, max_tokens=max_tokens)
    finish(ctx, handle, quiet=no_progress, as_json=as_json)


def check_given(crew: Crew, inputs: Any) -> None:
    """A kickoff without any inputs leaves braces as they are, as CrewAI does; on a command line they were forgotten."""
    if not inputs and not crew.before_kickoff_callbacks and (names := sorted(crew.fetch_inputs())):
        options = " ".join(f"--input {name}=..." for name in names)
        raise click.UsageError(f"The crew {crew.name!r} needs inputs that were not given: {options}")


def _replayed_as_stored(producer: Producer, job: Job, inputs: dict[str, Any] | None, outputs: dict[str, str]) -> Run:
    _lend(producer, job.run)
    run, _ = start_replay(producer, job, None, inputs, outputs)
    return Run(run, producer)


def _lend(producer: Producer, run: str) -> None:
    """Let the worker in this process, if there is one, load what the crew of a run names."""
    if producer.lend:
        producer.lend(modules_of(Story.of(producer, run).crew), {})


def finish(ctx: click.Context, handle: Run | Batch, *, quiet: bool, as_json: bool) -> None:
    """Wait for the end, print what came of it, and exit with 1 if that is not what was asked for."""
    producer = connect()
    follow(producer, handle, Console(stderr=True, quiet=quiet), asks=True)
    runs = [handle.id] if isinstance(handle, Run) else producer.store.batches.runs(handle.id)
    stories = Story.of_all(producer, runs)
    if as_json:
        facts = [story.facts() for story in stories]
        print_json(facts[0] if isinstance(handle, Run) else {"batch": handle.id, "runs": facts})
    else:
        _print_outputs(handle, stories)
    if not ended_well(handle):
        ctx.exit(ENDED_BADLY)


def _print_outputs(handle: Run | Batch, stories: list[Story]) -> None:
    if isinstance(handle, Run):
        click.echo(str(handle.result()))  # or its error, which is the one message
        return
    for story in stories:
        output = story.output()
        click.echo(f"--- {story.record.item + 1}: run {story.record.id}, {story.record.state.value}")
        click.echo(errors.explain(story.record.error) if story.record.error else output or "")


__all__ = ["check_given", "finish", "replay", "resume", "run"]
