"""Where the Python that a model writes is run: denied the worker's files, network and environment, and held to limits.

There is no fallback to something weaker: where the sandbox asked for cannot be used, that is an error.
"""

from __future__ import annotations

from crewq.agent.sandbox.session import Execution, Limits, Names, Sandbox, Session
from crewq.sandboxes import check


def open_sandbox(
    name: str,
    image: str,
    limits: Limits | None = None,
    *,
    seconds: float | None = None,
    memory_mb: int | None = None,
) -> Sandbox:
    """The sandbox `name`; its processes start with the first session.

    Args:
        name: one of `SANDBOXES`.
        image: of the containers, for the sandbox that has some.
        limits: other than its own.
        seconds: for one call, as a setting says; None: as in the limits.
        memory_mb: for a session, likewise.

    Raises:
        SandboxUnavailable: it cannot be used on this machine.
    """
    check(name, image)
    if name == "container":
        from crewq.agent.sandbox.container import STANDARD, ContainerSandbox

        return ContainerSandbox(image, (limits or STANDARD).with_(seconds, memory_mb))
    from crewq.agent.sandbox.monty import MontySandbox  # its package need not be there for `check` to say so

    return MontySandbox((limits or Limits()).with_(seconds, memory_mb))


__all__ = ["Execution", "Limits", "Names", "Sandbox", "Session", "open_sandbox"]
