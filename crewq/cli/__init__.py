"""The command line: `crewq`, also as `celery crewq`."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click
from dotenv import load_dotenv

from crewq import lacking
from crewq.cli.exits import ErrorsAsMessages
from crewq.secret_files import from_files

# Where each command is, and what it is for; none is imported before it is used, or its own help asked for.
COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "First": {
        "demo": ("demo", "Run a small crew here and now: no Redis, no key."),
        "doctor": ("doctor", "Check what a run needs, and say how to mend it."),
        "new": ("new", "Make a project: YAML, a tool, a test, a compose file."),
        "migrate": ("migrate", "Turn a CrewAI project's imports into crewq's."),
    },
    "Start runs": {
        "run": ("start", "Run a crew of yours, once or for each of a file's inputs."),
        "test": ("trial", "Run a crew several times: pass rate, time, cost."),
        "replay": ("start", "Run a crew again from one task of an earlier run."),
        "resume": ("start", "Let a run that stopped go on where it stopped."),
        "schedule": ("schedule", "Have a crew run at its times: add, list, run, remove."),
        "answer": ("answer", "Accept what a task asks about, or say what to change."),
    },
    "Look at runs": {
        "runs": ("runs", "List runs, the newest first."),
        "show": ("runs", "Tell the whole story of a run."),
        "costs": ("costs", "Add up what was spent, by day, tenant, crew or model."),
        "watch": ("watch", "Follow a run or a batch live."),
        "log-tasks-outputs": ("runs", "Print each task's id and output."),
        "cancel": ("runs", "End a run or a batch now."),
        "export": ("runs", "Print everything that is kept of a run."),
        "delete": ("runs", "Forget a run that has ended."),
    },
    "Run a fleet": {
        "worker": ("workers", "Work on runs, until stopped."),
        "beat": ("beat", "Start the runs of schedules when they are due."),
        "key": ("encryption", "Make a key to encrypt what lies in Redis."),
        "metrics": ("metrics", "Serve metrics to Prometheus."),
        "flower": ("flower", "Show runs, workers and jobs on web pages."),
    },
}
EPILOGUE = """\
What to type first:
  crewq demo                                    see it work
  crewq run my_module:my_crew --input topic=AI  run a crew of your own
  crewq COMMAND --help                          an example of each command

Ids of runs, tasks and batches may be shortened to any beginning that is unambiguous. Without CREWQ_REDIS_URL (or
REDIS_URL), runs are kept in .crewq of this directory. Variables may stand in a file .env of this directory.

Exit codes: 0 done; 1 the run failed or was cancelled; 2 wrong usage or input; 3 not found; 4 Redis is not there or not
fit; 130 interrupted (Ctrl-C)."""


class Commands(ErrorsAsMessages):
    """The commands, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return [name for theme in COMMANDS.values() for name in theme]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        for theme in COMMANDS.values():
            if cmd_name in theme:
                module = importlib.import_module(f"crewq.cli.{theme[cmd_name][0]}")
                command: click.Command = getattr(module, cmd_name.replace("-", "_"))
                return command
        return None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command that is meant; of a name that none has, the nearest ones are told."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message} {self._hint(ctx, args[0])}", ctx) from None

    def _hint(self, ctx: click.Context, given: str) -> str:
        if instead := lacking.COMMANDS.get(given):
            return f"It is CrewAI's: {instead}"
        near = difflib.get_close_matches(given, self.list_commands(ctx), n=3, cutoff=0.6)
        return f"Did you mean {' or '.join(near)}?" if near else f"`{ctx.command_path} --help` lists all."

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, by theme."""
        for theme, commands in COMMANDS.items():
            with formatter.section(theme):
                formatter.write_dl([(name, what) for name, (_, what) in commands.items()], col_max=20)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What to type first, and what the exit codes mean."""
        formatter.write_paragraph()
        formatter.write(f"{EPILOGUE}\n")


@click.group(
    "crewq",  # as Celery, too, is to call it
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(version("crewq"), prog_name="crewq")
@click.pass_context
def main(ctx: click.Context) -> None:
    """CrewAI-style crews as durable Celery jobs: nothing lost, nothing paid twice, any run replayed from any task."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    here = Path.cwd()
    if str(here) not in sys.path:
        sys.path.insert(0, str(here))  # so that a crew beside you can be named, as with `python -m`
    load_dotenv(here / ".env")  # where projects keep their keys; a variable that is set already stays
    os.environ.update(from_files(os.environ))


__all__ = ["Commands", "main"]
