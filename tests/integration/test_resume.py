"""Resuming with a crew that has changed since: what has ended stays as it is, and the crew says what becomes of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from crewq import LLM, Crew, Run, Task, errors
from tests.integration.crews import agent
from tests.integration.worker_process import WorkerProcess
from tests.model_server import Behaviour, ModelServer, Request, by_directives, error

TEXTS = ("Read about {x}.", "Think about {x}.", "Write about {x}.")
MENDED = ("Read about {x}.", "Think harder about {x}.", "Write about {x}.")


class Provider:
    """A model server that refuses to think until it is `well`."""

    def __init__(self) -> None:
        self.well = False
        self.server = ModelServer(self._respond)

    def asked(self) -> list[str]:
        """The tasks that it was asked for, in order; they are forgotten."""
        found = [call.prompt.removeprefix("Your task:\n").splitlines()[0] for call in self.server.ledger]
        self.server.ledger.clear()
        return found

    def _respond(self, request: Request) -> Behaviour:
        return by_directives(request) if self.well or "Think" not in str(request["messages"]) else error(400, "no")


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    with provider.server:
        yield provider


@pytest.fixture
def llm(provider: Provider) -> LLM:
    return LLM(model="openai/any", base_url=provider.server.url)


def crew(llm: LLM, texts: Sequence[str], **how: Any) -> Crew:
    who = agent(llm=llm, max_retry_limit=0)
    tasks = [Task(description=text, expected_output="A line.", agent=who) for text in texts]
    return Crew(name="changing", agents=[who], tasks=tasks, **how)


@pytest.fixture
def failed(fleet: WorkerProcess, provider: Provider, llm: LLM) -> Run:
    """A run of three tasks whose first has completed and whose second has failed."""
    run = crew(llm, TEXTS).kickoff_async({"x": "ants"})
    with pytest.raises(errors.RunFailed, match="HTTP 400"):
        run.result(30)
    assert provider.asked() == ["Read about ants.", "Think about ants."]
    provider.well = True
    return run


@pytest.mark.parametrize(
    ("policy", "question"),
    [({}, "Think harder"), ({"on_change": "resume"}, "Think harder"), ({"on_change": "pin"}, "Think")],
)
def test_it_goes_on_with_the_crew_as_it_is_now_or_as_it_was(
    failed: Run, provider: Provider, llm: LLM, policy: dict[str, Any], question: str
) -> None:
    output = crew(llm, MENDED, **policy).resume(failed.id)
    assert provider.asked() == [f"{question} about ants.", "Write about ants."], "what has ended is not asked again"
    assert output.run_id == failed.id
    assert [task.description for task in output.tasks_output] == [
        "Read about ants.",
        f"{question} about ants.",
        "Write about ants.",
    ]


def test_it_is_refused_with_the_difference_and_the_run_stays_as_it_is(
    failed: Run, provider: Provider, llm: LLM
) -> None:
    with pytest.raises(errors.ReplayMismatch, match="Think harder about"):
        crew(llm, MENDED, on_change="refuse").resume(failed.id)
    assert failed.status == "failed"
    crew(llm, TEXTS, on_change="refuse").resume(failed.id)
    assert provider.asked() == ["Think about ants.", "Write about ants."]


@pytest.mark.parametrize("texts", [("Look at {x}.", *TEXTS[1:]), TEXTS[:2], (*TEXTS, "Sell it.")])
def test_what_was_done_must_still_be_what_is_gone_on_with(
    failed: Run, provider: Provider, llm: LLM, texts: Sequence[str]
) -> None:
    with pytest.raises(errors.ReplayMismatch):
        crew(llm, texts).resume(failed.id)
    crew(llm, texts, on_change="pin").resume(failed.id)
    assert provider.asked() == ["Think about ants.", "Write about ants."]


def test_only_what_has_stopped_can_go_on(failed: Run, llm: LLM) -> None:
    work = crew(llm, TEXTS)
    work.resume(failed.id[:14])
    with pytest.raises(errors.NotNow, match="completed"):
        work.resume(failed.id)
    with pytest.raises(errors.UnknownId):
        work.resume("nowhere")
