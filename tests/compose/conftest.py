"""Containers for tests: the image of this clone's worker, built once. Without a Docker engine these tests are skipped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.compose.fleet import IMAGE, ROOT, docker, missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are slow, and need an engine."""
    own = [item for item in items if "/tests/compose/" in item.path.as_posix()]
    reason = missing() if own else ""
    for item in own:
        item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.timeout(900))
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"nothing was tried in containers: {reason}"))


FINDINGS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Tells what was measured, after all tests."""
    return pytestconfig.stash.setdefault(FINDINGS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print it."""
    if found := config.stash.get(FINDINGS, []):
        terminalreporter.section("containers")
        terminalreporter.write_line("\n".join(found))


@pytest.fixture(scope="session")
def image() -> str:
    """The image of a worker, made from this clone."""
    docker("build", "--quiet", "--file", str(ROOT / "workers" / "Dockerfile"), "--tag", IMAGE, str(ROOT), timeout=600)
    return IMAGE
