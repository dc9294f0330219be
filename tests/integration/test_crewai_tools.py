"""Tools of the package crewai-tools as they are, where it is installed: described as in CrewAI, and used by a real worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
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


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A web site of one page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html><body><p>Kayaks are narrow.</p></body></html>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.mark.parametrize("name", CLASSES)
def test_a_tool_is_made_again_as_it_was(name: str) -> None:
    try:
        made = getattr(crewai_tools, name)()
    except Exception as error:  # noqa: BLE001 - without its key, its package or its server
        pytest.skip(f"it cannot be made without more: {type(error).__name__}")
    tool = adapted(made)
    assert isinstance(tool, ForeignTool)
    spec = ToolSpec.model_validate_json(ToolSpec.of(tool).model_dump_json())
    assert spec.build(Imports(("crewai_tools",))).schema_for_model() == tool.schema_for_model()


def test_tools_are_used_by_a_worker(own_redis: Server, start_worker: StartWorker, tmp_path: Path, site: str) -> None:
    start_worker(own_redis.url, CREWQ_IMPORTS="crewai_tools").ready()
    (tmp_path / "note.txt").write_text("one\ntwo\nthree\n")
    tools = [crewai_tools.FileReadTool(), crewai_tools.ScrapeWebsiteTool(website_url=site)]
    model = ScriptedModel(
        answers=[
            call(adapted(tools[0]).public_name, file_path=str(tmp_path / "note.txt"), start_line=2, line_count=1),
            call(adapted(tools[1]).public_name),
            "Read.",
        ]
    )
    who = Agent(role="R", goal="G", backstory="B", llm=model, tools=tools)
    output = Crew(agents=[who], tasks=[Task(description="Read.", agent=who)]).kickoff(timeout=60)
    told = [message["content"] for message in output.tasks_output[0].messages if message["role"] == "tool"]
    assert "two" in told[0]
    assert "three" not in told[0]
    assert "Kayaks are narrow." in told[1]
