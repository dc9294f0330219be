"""The command `demo`: a crew over three data sets, live, and the replay of one of its runs."""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console

from crewq.cli.exits import ENDED_BADLY
from crewq.cli.keys import suggested_model
from crewq.cli.phrases import called, counted, money, short, tokens
from crewq.cli.story import Story
from crewq.cli.view import FewRuns
from crewq.cli.watch import ended_well, follow
from crewq.crew import Crew
from crewq.demo import DATASETS, StandIn, average_age_crew
from crewq.producer import Producer, connect
from crewq.run import Run

STANDS_IN = (
    "No API key found, so a scripted stand-in plays the model; all else is real. "
    "For a real one: OPENAI_API_KEY=... {crewq} demo, or {crewq} demo --model ollama_chat/llama3"
)


@click.command()
@click.option("--model", help="As litellm names it, such as anthropic/claude-haiku-4-5 [default: by the keys set].")
@click.pass_context
def demo(ctx: click.Context, model: str | None) -> None:
    """Run a small crew over three data sets, here and now, and replay one of its runs. Needs no Redis and no key.

    \b
    Example: crewq demo --model openai/gpt-4.1-mini
    """
    model = model or suggested_model(os.environ)
    crewq = called(os.environ, sys.argv[0])
    click.echo(f"The model is {model}." if model else STANDS_IN.format(crewq=crewq))
    crew = average_age_crew(model or StandIn())
    producer = connect()
    console = Console()
    runs, well = _fan_out(crew, producer, console)
    if not well:
        click.echo(f"\nNot all went well: {crewq} show {short(runs[0].id)} tells more.", err=True)
        ctx.exit(ENDED_BADLY)
    replayed = _replay(crew, producer, runs[0], console)
    _next_steps(crewq, runs[0], replayed)


def _fan_out(crew: Crew, producer: Producer, console: Console) -> tuple[list[Run], bool]:
    click.echo(f"\nThe crew {crew.name!r} over {len(DATASETS)} lists of ages: two tasks each, side by side.\n")
    batch = crew.kickoff_for_each_async([{"ages": ages} for ages in DATASETS], return_exceptions=True)
    follow(producer, batch, console)
    for ages, result in zip(DATASETS, batch.results(), strict=True):
        click.echo(f"\n{ages}\n  {result}")
        if not isinstance(result, Exception):
            usage = result.token_usage
            click.echo(f"  {counted(usage.successful_requests, 'model call')}, {tokens(usage)} tokens, {money(usage)}")
    return batch.runs, ended_well(batch)


def _replay(crew: Crew, producer: Producer, parent: Run, console: Console) -> Run:
    second = parent.tasks[1]
    click.echo(f"\nNow a replay of run {short(parent.id)} from its second task, {second.name!r}:\n")
    run = crew.replay_async(second.id)
    view = follow(producer, run, console)
    assert isinstance(view, FewRuns)
    line, story = view.lines[0], Story.of(producer, run.id)
    kept = ", ".join(task.name for task in story.record.tasks if task.kept)
    click.echo(
        f"\nOnly that task ran again: {counted(line.made('model'), 'model call')} and "
        f"{counted(line.made('tool'), 'tool call')}. The output of {kept!r} was kept from the first run."
    )
    return run


def _next_steps(crewq: str, first: Run, replayed: Run) -> None:
    steps = {
        f"{crewq} runs": "these runs, and all others",
        f"{crewq} show {short(replayed.id)}": "the whole story of the replay",
        f"{crewq} replay -t {short(first.tasks[0].id)}": "the first run again, from its first task",
        f"{crewq} run my_module:my_crew": "a crew of your own",
    }
    width = max(map(len, steps))
    click.echo("\nNext:")
    for command, what in steps.items():
        click.echo(f"  {command:{width}}  {what}")


__all__ = ["demo"]
