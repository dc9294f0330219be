"""The command `answer`: what a person says of a task's answer, from any shell."""

from __future__ import annotations

import click

from crewq.cli.lookup import look_up
from crewq.cli.options import as_json, print_json
from crewq.producer import connect
from crewq.run import Run
from crewq.terminal import ASK, told


@click.command()
@click.argument("run", metavar="RUN|TASK")
@click.argument("text", required=False)
@as_json
def answer(run: str, text: str | None, as_json: bool) -> None:
    """Answer a task that asks a person: accept what it has, or say what to change.

    Without TEXT, it shows what the task has and asks for one. An empty TEXT, or `ok`, accepts; with any other the agent
    goes on, and asks again. Of a run in which several tasks ask, name the task.

    \b
    Examples:
      crewq answer 3f2a
      crewq answer 3f2a ok
      crewq answer 3f2a "Shorter, and with the sources."
    """
    producer = connect(work=False)
    name, _, job = look_up(producer, run, "run", "task")
    handle = Run(job.run if job else name, producer)
    question = handle.question(name if job else None)
    if text is None:
        click.echo(told(question), err=True)
        text = click.prompt(ASK.rstrip(": "), default="", show_default=False, err=True)
    handle.answer(text, question.id)
    if as_json:
        print_json({"run": handle.id, "task": question.id, "answer": text})
    else:
        click.echo(f"The run {handle.id} goes on. Follow it: crewq watch {handle.id}")


__all__ = ["answer"]
