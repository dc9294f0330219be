"""The sandboxes as the tests open them: with limits that are soon reached. One that this machine lacks is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from crewq import errors
from crewq.agent.sandbox import Limits, Sandbox, open_sandbox
from crewq.sandboxes import SANDBOXES, check
from crewq.settings import Settings

IMAGE = Settings().sandbox_image
LIMITS = {
    "monty": Limits(seconds=0.5, memory_bytes=32 * 2**20, output_bytes=10_000),
    "container": Limits(seconds=5, memory_bytes=96 * 2**20, output_bytes=10_000),
}
assert set(LIMITS) == set(SANDBOXES)
EVERY_SANDBOX = ["monty", pytest.param("container", marks=pytest.mark.slow)]  # starting one takes half a second


def need(name: str) -> None:
    """Skip the test if this machine cannot have the sandbox, and say why."""
    try:
        check(name, IMAGE)
    except errors.SandboxUnavailable as error:
        pytest.skip(str(error))


@contextmanager
def opened(name: str, seconds: float | None = None) -> Iterator[Sandbox]:
    """The sandbox, if this machine can have it; `seconds` in the place of its limit."""
    need(name)
    limits = LIMITS[name] if seconds is None else replace(LIMITS[name], seconds=seconds)
    with closing(open_sandbox(name, IMAGE, limits)) as sandbox:
        yield sandbox
