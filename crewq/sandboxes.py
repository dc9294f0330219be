"""Which sandboxes there are for the code that models write, and whether one of them can be used on this machine.

It stands below both towers: a kickoff asks it in the caller, and a worker before each task.
"""

from __future__ import annotations

from importlib.util import find_spec

from crewq import docker, errors

SANDBOXES = ("monty", "container")


def check(name: str, image: str) -> None:
    """Make sure, without starting anything, that the sandbox `name` can be used on this machine.

    Args:
        name: one of `SANDBOXES`.
        image: of the containers, for the sandbox that has some.

    Raises:
        SandboxUnavailable: it cannot, or there is none of that name.
    """
    if name not in SANDBOXES:
        there = " and ".join(map(repr, SANDBOXES))
        reason = "crewq has no sandbox of that name."
        raise errors.SandboxUnavailable(sandbox=name, reason=reason, advice=f"There are {there}.")
    if name == "container":
        docker.check(image)
    elif find_spec("pydantic_monty") is None:
        raise errors.SandboxUnavailable(
            sandbox=name,
            reason="the package pydantic-monty is not installed.",
            advice="Run: pip install pydantic-monty.",
        )


__all__ = ["SANDBOXES", "check"]
