"""The person at the terminal of a command that follows runs: answers there what their tasks ask. Where nobody is, it is said
how to answer from elsewhere."""

from __future__ import annotations

import sys

import click
from rich.live import Live

from crewq import errors
from crewq.cli.view import View
from crewq.producer import Producer
from crewq.run import Run
from crewq.store import TaskRecord
from crewq.terminal import ASK, told


class Person:
    """Who is asked, if anybody is there: if what the command reads, and where it tells of its progress, is a terminal.

    Args:
        producer: this process's way to Redis.
        silent: whether nothing else tells why a run is paused.
    """

    def __init__(self, producer: Producer, *, silent: bool) -> None:
        self._producer = producer
        self._silent = silent
        self._there = sys.stdin.isatty() and sys.stderr.isatty()
        self._told: set[tuple[str, str]] = set()

    def attend(self, view: View, picture: Live | None) -> None:
        """Have the person answer what paused runs ask now; the picture makes room for that."""
        for name, reason in view.paused:
            run = Run(name, self._producer)
            questions = run.questions() if self._there else ()
            for question in questions:
                self._ask(run, question, picture)
            if not questions and self._silent and reason and (name, reason) not in self._told:
                self._told.add((name, reason))
                click.echo(f"The run {name} is paused. {reason}", err=True)

    def _ask(self, run: Run, question: TaskRecord, picture: Live | None) -> None:
        if not self._there:
            return
        if picture:
            picture.stop()
        click.echo(f"\n{told(question)}\n{ASK}", err=True, nl=False)
        said = sys.stdin.readline()
        if said:
            self._answer(run, question, said.rstrip("\n"))
        else:
            self._there = False  # the end of what the person types: others may answer
            click.echo(f"\nThe run waits for an answer: crewq answer {run.id}", err=True)
        if picture:
            picture.start()

    def _answer(self, run: Run, question: TaskRecord, said: str) -> None:
        try:
            run.answer(said, question.id)
        except errors.NotNow as late:
            click.echo(str(late), err=True)


__all__ = ["Person"]
