"""A recording made by real workers over real HTTP, and replayed where there is no provider and no key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from crewq import LLM, Crew, Task, errors
from crewq.recording import RecordedModel
from crewq.server import Server
from tests.integration import crews
from tests.integration.conftest import StartWorker
from tests.integration.crews import Person, agent, scripted
from tests.integration.worker_process import IMPORTS, WorkerProcess
from tests.model_server import Behaviour, ModelServer, calls, error, text

KEY = "a-key-of-no-known-form-4711"
ITEMS = [{"x": at} for at in range(8)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recordings" / "sums.json"


@pytest.fixture
def two_workers(own_redis: Server, start_worker: StartWorker) -> None:
    allowed = f"{IMPORTS},crewq.recording"
    for worker in [
        start_worker(own_redis.url, CREWQ_IMPORTS=allowed, OPENAI_API_KEY=KEY, CREWQ_CONCURRENCY="2") for _ in range(2)
    ]:
        worker.ready()


def sums(llm: Any, **fields: Any) -> Crew:
    """A call of a tool, and an answer in the form of a schema."""
    who = agent(llm, max_retry_limit=0)
    add = Task(name="add", description="Add {x} and 2.", agent=who, tools=[crews.add])
    who_is = Task(name="who", description="Who is {x}?", agent=who, output_pydantic=Person)
    return Crew(agents=[who], tasks=[add, who_is], **fields)


def provider(request: dict[str, Any]) -> Behaviour:
    """Calls the tool and then answers, whatever comes first."""
    last = request["messages"][-1]
    if last["role"] == "tool":
        return text(f"It is {last['content']}.")
    if added := re.search(r"Add (\d+) and", str(last["content"])):
        return calls(("add", {"left": int(added[1]), "right": 2}))
    return text('{"name": "Ada", "age": 36}')


def test_two_workers_record_a_batch_and_replay_it_without_a_provider(
    two_workers: None, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ModelServer(provider) as server:
        llm = LLM(model="openai/gpt-4.1-mini", base_url=server.url, temperature=0)
        server.enqueue(error(503))  # passes, is tried again, and is no part of the recording
        recorded = sums(RecordedModel(llm, file=file, record="new"), stream=True)
        outputs = recorded.kickoff_for_each_async(ITEMS).results(60)
        asked = [call for call in server.ledger if call.status == 200]
        assert len(asked) == len(ITEMS) * 3
        assert {call.key for call in server.ledger} == {KEY}
        assert [output.tasks_output[0].raw for output in outputs] == [f"It is {item['x'] + 2}." for item in ITEMS]
    assert KEY not in file.read_text()
    assert len(json.loads(file.read_text())["calls"]) == len(asked)

    monkeypatch.setenv("OPENAI_API_KEY", "another")
    replaying = sums(RecordedModel(llm, file=file), stream=True)
    again = replaying.kickoff_for_each_async(ITEMS).results(60)
    assert [output.tasks_output[0].raw for output in again] == [output.tasks_output[0].raw for output in outputs]
    assert [output.pydantic for output in again] == [Person(name="Ada", age=36)] * len(ITEMS)
    assert [output.token_usage for output in again] == [output.token_usage for output in outputs]
    assert outputs[0].token_usage.cost > 0
    stream: Any = replaying.kickoff(ITEMS[0])
    assert "".join(chunk.content for chunk in stream if str(chunk.chunk_type) == "text").startswith("It is 2.")

    with pytest.raises(errors.RunFailed) as caught:
        sums(RecordedModel(llm, file=file)).kickoff({"x": 99})
    assert isinstance(caught.value.__cause__, errors.NotRecorded)
    assert "+ Add 99 and 2." in str(caught.value)
    assert "CREWQ_RECORD=new" in str(caught.value)


def test_a_fallback_that_answered_is_recorded(two_workers: None, model_server: ModelServer, file: Path) -> None:
    first, other = (LLM(model=f"openai/{name}", base_url=model_server.url) for name in ("gpt-4.1-mini", "gpt-4.1"))
    llm = LLM(**first.model_dump(exclude={"fallbacks"}), fallbacks=[other])
    model_server.enqueue(error(404, "no such model"), "From the other.")
    work = Task(description="Ask", agent=agent(RecordedModel(llm, file=file, record="new"), max_retry_limit=0))
    assert Crew(tasks=[work]).kickoff_async().result(30).raw == "From the other."
    assert [call.model for call in model_server.ledger] == ["gpt-4.1-mini", "gpt-4.1"]
    assert [call["answer"]["answered_by"] for call in json.loads(file.read_text())["calls"]] == ["openai/gpt-4.1"]
    work.agent = agent(RecordedModel(llm, file=file), max_retry_limit=0)
    assert Crew(tasks=[work]).kickoff_async().result(30).raw == "From the other."
    assert len(model_server.ledger) == 2


def test_a_worker_that_was_not_told_so_writes_no_recording(fleet: WorkerProcess) -> None:
    with pytest.raises(errors.RunFailed, match=r"CREWQ_IMPORTS=crewq\.recording"):
        sums(RecordedModel(scripted("one"), file="any.json", record="new")).kickoff({"x": 1})
