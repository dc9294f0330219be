"""CrewAI beside crewq, where it is installed: tools of crewai-tools as they are, used by a real worker; and its flows."""

from __future__ import annotations

from typing import Any

import pytest

from crewq import Agent, Crew, Task
from crewq.foreign_tools import ForeignTool, adapted
from crewq.references import Imports
from crewq.server import Server
from crewq.testing import ScriptedModel, call
from crewq.tool_spec import ToolSpec
from tests.integration.conftest import StartWorker

crewai_tools: Any = pytest.importorskip(
    "crewai_tools", reason="crewai-tools is not installed; nothing of crewq needs it: pip install crewai-tools"
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # theirs, of which there are many

CLASSES = [name for name in dir(crewai_tools) if name.endswith("Tool")]


@pytest.mark.parametrize("name", CLASSES)
def test_a_tool_is_made_again_as_it_was(name: str) -> None:
    try:
        tool = adapted(getattr(crewai_tools, name)())
        spec = ToolSpec.of(tool)
    except Exception as error:  # noqa: BLE001 - without its key, its package or its server; or with a key that must not travel
        pytest.skip(f"{name} wants more: {type(error).__name__}")
    assert isinstance(tool, ForeignTool)
    built = ToolSpec.model_validate_json(spec.model_dump_json()).build(Imports(("crewai_tools",)))
    assert built.schema_for_model() == tool.schema_for_model()


def test_tools_are_used_by_a_worker(own_redis: Server, start_worker: StartWorker) -> None:
    start_worker(own_redis.url, CREWQ_IMPORTS="crewai_tools").ready()
    read, look = crewai_tools.FileReadTool(), crewai_tools.DirectoryReadTool(directory="examples")
    wanted = {"file_path": "README.md", "start_line": 1, "line_count": 1}
    calls = [call(adapted(read).public_name, **wanted), call(adapted(look).public_name)]
    who = Agent(role="R", goal="G", backstory="B", tools=[read, look], llm=ScriptedModel(answers=[*calls, "Read."]))
    output = Crew(agents=[who], tasks=[Task(description="Read.", agent=who)]).kickoff(timeout=60)
    told = [message["content"] for message in output.tasks_output[0].messages if message["role"] == "tool"]
    assert told[0].strip() == "# crewq"
    assert "travel_plans.py" in told[1]


def test_a_flow_of_crewais_kicks_off_crews_of_crewqs(own_redis: Server, start_worker: StartWorker) -> None:
    flow: Any = pytest.importorskip("crewai.flow", reason="it comes with crewai-tools")
    start_worker(own_redis.url).ready()
    who = Agent(role="R", goal="G", backstory="B", llm=ScriptedModel(answers=["Said."]))
    crew = Crew(agents=[who], tasks=[Task(description="Say {it}.", agent=who)])

    class Steps(flow.Flow):  # type: ignore[misc]
        @flow.start()  # type: ignore[untyped-decorator]
        def first(self) -> str:
            return crew.kickoff({"it": "this"}).raw

        @flow.listen(first)  # type: ignore[untyped-decorator]
        async def second(self, said: str) -> str:
            return f"{said} {(await crew.kickoff_async({'it': 'that'})).raw}"

    assert Steps().kickoff() == "Said. Said."
