"""Knowledge in a real worker, over real HTTP: each task is told what concerns it, coworkers too, and nothing more is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewq import LLM, Crew, Process, Task
from crewq.knowledge import KnowledgeConfig, StringKnowledgeSource, TextFileKnowledgeSource
from tests.integration.crews import agent
from tests.integration.worker_process import WorkerProcess
from tests.model_server import ModelServer, calls


def prompt(model_server: ModelServer, call: int) -> str:
    return "\n".join(str(message["content"]) for message in model_server.ledger[call].request["messages"])


def test_a_task_is_told_what_concerns_it(
    fleet: WorkerProcess, model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "knowledge").mkdir()
    (tmp_path / "knowledge" / "bees.txt").write_text("Bees tell each other by dancing where food is.")
    facts = [StringKnowledgeSource(content=f"Number {at} is a number like any other.") for at in range(20)]
    llm = LLM(model="openai/any", base_url=model_server.url)
    who = agent(
        llm,
        knowledge_sources=[TextFileKnowledgeSource(file_paths="bees.txt"), *facts],
        knowledge_config=KnowledgeConfig(results_limit=2),
    )
    tasks = [Task(description="How do {them} talk?", agent=who), Task(description="What of number 7?", agent=who)]
    model_server.enqueue("They dance.", "Nothing.")
    output = Crew(tasks=tasks, knowledge_sources=[StringKnowledgeSource(content="Be polite.")]).kickoff(
        {"them": "bees"}
    )
    assert output.raw == "Nothing."
    first, second = prompt(model_server, 0), prompt(model_server, 1)
    assert "by dancing where food is" in first
    assert "Number 7 is" in second
    assert "by dancing where food is" not in second
    assert len(model_server.ledger) == output.token_usage.successful_requests == 2, "it costs no call"


def test_a_coworker_is_told_what_concerns_the_work(fleet: WorkerProcess, model_server: ModelServer) -> None:
    llm = LLM(model="openai/any", base_url=model_server.url)
    scholar = agent(llm, role="Scholar", knowledge_sources=[StringKnowledgeSource(content="Bees dance.")])
    work = {"task": "Say how bees talk.", "coworker": "Scholar", "context": ""}
    model_server.enqueue(calls(("delegate_work", work)), "They dance.", "So they dance.")
    crew = Crew(agents=[scholar], tasks=[Task(description="Ask.")], process=Process.hierarchical, manager_llm=llm)
    assert crew.kickoff().raw == "So they dance."
    assert ["Bees dance." in prompt(model_server, call) for call in range(2)] == [False, True]
