"""crewq's plugin for pytest: an embedded crewq for tests, and recordings of real models beside them.

A module of its own, outside of the package: pytest loads every plugin that is installed, and `import crewq` takes a moment
that tests without crews need not spend. So crewq is imported by the fixtures, when a test asks for them.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from crewq.testing import RecordedModel

# What says where runs are kept and which model is asked: a test is to use none of it by accident.
PLACES = ("CREWQ_REDIS_URL", "REDIS_URL", "CREWQ_BROKER_URL")
MODELS = ("CREWQ_MODEL", "MODEL", "MODEL_NAME", "OPENAI_MODEL_NAME")
RECORD = "CREWQ_RECORD"


@dataclass(frozen=True)
class EmbeddedCrewq:
    """A crewq of a test's own.

    Fields:
        output_dir: the directory below which tasks write their `output_file`.
    """

    output_dir: Path


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--crewq-record`."""
    parser.getgroup("crewq").addoption(
        "--crewq-record",
        choices=("new", "all"),
        help="Have RecordedModels ask their real models: for what their files lack (new), or for everything again (all). "
        f"The same as {RECORD}.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have what the option says hold for models that are made at import, and in other processes."""
    # Celery's own, which nobody who tests a crew can mend, and which would end a job where warnings are errors.
    config.addinivalue_line(
        "filterwarnings", "ignore:Call to deprecated setex:DeprecationWarning:celery.backends.redis"
    )
    if mode := config.getoption("--crewq-record", default=None):
        patch = pytest.MonkeyPatch()
        patch.setenv(RECORD, mode)
        config.add_cleanup(patch.undo)


@pytest.fixture(scope="session")
def crewq_server() -> Iterator[Path]:
    """The directory of one embedded server, for all tests of the session. It is gone at its end, with all that it kept."""
    from crewq.server import join, wait_until_gone

    directory = Path(tempfile.mkdtemp(prefix="crewq-"))
    try:
        with join(directory):
            yield directory
        wait_until_gone(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def crewq_session(crewq_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCrewq]:
    """An embedded crewq that all tests of the session share, for fixtures of a wider scope: one worker, and the same runs."""
    with _embedded(crewq_server, "session", tmp_path_factory.mktemp("crewq-output")) as crewq:
        yield crewq


_tests = count(1)


@pytest.fixture
def crewq_embedded(crewq_server: Path, tmp_path: Path) -> Iterator[EmbeddedCrewq]:
    """An embedded crewq of this test's own: a worker in this process, and no run of any other test.

    While the test lasts, no variable leads to a Redis or names a model of yours, and files of tasks go to `output_dir`,
    below `tmp_path`.
    """
    with _embedded(crewq_server, f"test-{next(_tests)}", tmp_path / "crewq-output") as crewq:
        yield crewq


@pytest.fixture
def crewq_recorded(request: pytest.FixtureRequest) -> Callable[..., RecordedModel]:
    """Makes a `RecordedModel` whose file is `recordings/<module>/<test>.json`, beside the test's own; that of a test in a
    class begins with the name of the class.

    Arguments are those of `RecordedModel`, but for `file`.
    """
    from crewq.testing import RecordedModel

    name = re.sub(r"[^\w.-]+", "-", request.node.nodeid.partition("::")[2].replace("::", ".")).strip("-")
    file = request.path.parent / "recordings" / request.path.stem / f"{name}.json"

    def recorded(of: Any = None, **fields: Any) -> RecordedModel:
        return RecordedModel(of, file=file, **fields)

    return recorded


@contextmanager
def _embedded(directory: Path, namespace: str, outputs: Path) -> Iterator[EmbeddedCrewq]:
    from crewq.producer import disconnect
    from crewq.settings import Settings

    with pytest.MonkeyPatch.context() as patch:
        for name in PLACES + MODELS:
            patch.delenv(name, raising=False)
        patch.setenv("CREWQ_DATA_DIR", str(directory))
        patch.setenv("CREWQ_NAMESPACE", namespace)
        patch.setenv("CREWQ_QUEUE", namespace)  # so that no worker takes the messages of another one
        patch.setenv("CREWQ_OUTPUT_DIR", str(outputs))
        settings = Settings.from_env(os.environ)  # kept, as the test may change the environment
        try:
            yield EmbeddedCrewq(outputs)
        finally:
            disconnect(settings)
