"""The sandbox `container` with the image that docs/sandboxes.md shows: numpy and pandas, and names that last."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from crewq import Crew, Task
from crewq.agent.sandbox import Names, Session, open_sandbox
from crewq.server import Server
from crewq.testing import ScriptedModel, call
from tests.integration.conftest import StartWorker
from tests.integration.crews import agent
from tests.pages import ROOT, blocks
from tests.sandboxes import need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ANALYSIS = "crewq-analysis-test"
FRAME = "import pandas as pd\nsales = pd.DataFrame({'shop': ['a', 'b', 'a'], 'sold': [1, 2, 4]})"
SUMS = "print(sales.groupby('shop')['sold'].sum().to_dict())"


@pytest.fixture(scope="module")
def analysis() -> str:
    """The image, made as the documentation says."""
    need("container")
    (block,) = [one for one in blocks(ROOT / "docs" / "sandboxes.md") if one.file == "analysis/Dockerfile"]
    command = ["docker", "build", "--quiet", "--tag", ANALYSIS, "-"]
    subprocess.run(command, input=block.text, text=True, check=True, capture_output=True, timeout=600)
    return ANALYSIS


@pytest.fixture(scope="module")
def session(analysis: str) -> Iterator[Session]:
    with closing(open_sandbox("container", analysis)) as sandbox, sandbox.session() as opened:
        yield opened


def test_pandas_computes_and_its_frames_last_from_call_to_call(session: Session) -> None:
    assert session.run(FRAME).error is None
    assert session.run(SUMS).output == "{'a': 5, 'b': 2}\n"
    assert session.run("import numpy as np\nnp.linalg.norm(sales['sold']).round(3)").output == "np.float64(4.583)\n"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("np.ones(10**9)", "Memory"),
        ("a = np.random.rand(3000, 3000)\nwhile True: a = a @ a", "TimeoutError"),
        ("pd.read_csv('http://example.com/prices.csv')", "URLError"),
        ("sales.to_csv('/opt/sales.csv')", "OSError"),
        ("import os\nwhile os.fork() >= 0: pass", "BlockingIOError"),
    ],
)
def test_what_packages_could_do_is_held_to_the_limits(session: Session, code: str, says: str) -> None:
    session.run(f"import numpy as np\n{FRAME}")
    execution = session.run(code)
    assert execution.error is not None
    assert says in execution.error
    assert execution.seconds < session.limits.seconds + 5
    if execution.names is not Names.GONE:
        assert session.run(SUMS).output == "{'a': 5, 'b': 2}\n"


def test_an_agent_computes_with_pandas_in_several_calls(
    analysis: str, own_redis: Server, start_worker: StartWorker
) -> None:
    start_worker(own_redis.url, CREWQ_SANDBOX_IMAGE=analysis)
    asked = [call("run_python", code=FRAME), call("run_python", code=SUMS), "Five and two."]
    analyst = agent(ScriptedModel(answers=asked), allow_code_execution=True, sandbox="container")
    output = Crew(tasks=[Task(description="Add up", agent=analyst)]).kickoff_async().result(120)
    assert output.raw == "Five and two."
    assert "{'a': 5, 'b': 2}" in str(output.tasks_output[0].messages)
