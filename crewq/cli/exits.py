"""How a command ends: the exit codes, and the one place where an error becomes a message without a traceback."""

from __future__ import annotations

from typing import Any, Final

import click

from crewq import errors

DONE, ENDED_BADLY, WRONG_USAGE, NOT_FOUND, NO_STORE, INTERRUPTED = 0, 1, 2, 3, 4, 130

# The first that fits counts; any other error means that the run, or the command, ended badly.
CODES: Final[tuple[tuple[type[errors.CrewqError], int], ...]] = (
    (errors.UsageError, WRONG_USAGE),
    (errors.NotFound, NOT_FOUND),
    (errors.StoreError, NO_STORE),
)


def exit_code(error: errors.CrewqError) -> int:
    """What the command exits with after `error`."""
    return next((code for kind, code in CODES if isinstance(error, kind)), ENDED_BADLY)


class Problem(click.ClickException):
    """An error of crewq's, as click reports errors."""

    def __init__(self, error: errors.CrewqError) -> None:
        super().__init__(str(error))
        self.exit_code = exit_code(error)  # type: ignore[misc]  # click's way: it reads the instance's


class ErrorsAsMessages(click.Group):
    """A group whose commands end with a message and an exit code, whatever goes wrong in them."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except errors.CrewqError as error:
            raise Problem(error) from error
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


__all__ = [
    "DONE",
    "ENDED_BADLY",
    "INTERRUPTED",
    "NOT_FOUND",
    "NO_STORE",
    "WRONG_USAGE",
    "ErrorsAsMessages",
    "Problem",
    "exit_code",
]
