"""Writes errors.md from the errors themselves: `python docs/errors.py > docs/errors.md`."""

import re
import sys
from collections.abc import Iterator
from inspect import cleandoc

from crewq import errors
from crewq.errors import CrewqError

HEAD = """\
# Errors

Every error of crewq is a `CrewqError`. What stands in braces is filled in; what is only a name for those below it has no
message of its own. Written by `python docs/errors.py`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, _tree(errors.__doc__ or ""), *_entries(CrewqError)])


def _tree(drawn: str) -> str:
    lines = drawn.splitlines()
    tree = [line[4:] for line in lines if any(sign in line for sign in "│├└") or line.strip() == "CrewqError"]
    return "\n".join(["```text", *tree, "```", ""])


def _entries(kind: type[CrewqError]) -> Iterator[str]:
    for child in kind.__subclasses__():
        message = re.sub(r"\{(\w+)[!:][^}]*\}", r"{\1}", cleandoc(child.__doc__ or ""))
        if message != "{reason}":
            yield f"**{child.__name__}**\n"
            yield "\n".join(f"> {line}" for line in message.splitlines()) + "\n"
        yield from _entries(child)


if __name__ == "__main__":
    sys.stdout.write(page())
