"""Agents, tasks and models by themselves, over real HTTP: a run of one task in a real worker; a model in this process."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel, field_validator

from crewq import LLM, Agent, LiteAgentOutput, Run, Task, errors
from tests.integration import crews
from tests.integration.crews import Person, agent
from tests.integration.worker_process import WorkerProcess
from tests.model_server import Behaviour, ModelServer, calls, error, text


@pytest.fixture
def llm(model_server: ModelServer) -> LLM:
    return LLM(model="openai/any", base_url=model_server.url)


def asked(model_server: ModelServer, call: int = -1) -> str:
    return str(model_server.ledger[call].request["messages"][-1]["content"])


# -- an agent ---------------------------------------------------------------------------------------------------------


def test_an_agent_by_itself_uses_its_tools(fleet: WorkerProcess, llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue(calls(("add", {"left": 1, "right": 2})), "Three.")
    answer = agent(llm, role="Clerk of {town}", tools=[crews.add]).kickoff("What is {1} + 2, {really}?")
    assert isinstance(answer, LiteAgentOutput)
    assert (answer.raw, answer.agent_role, str(answer)) == ("Three.", "Clerk of {town}", "Three.")
    assert answer.token_usage.successful_requests == 2
    assert answer.messages[-1]["content"] == "Three."
    assert "What is {1} + 2, {really}?" in asked(model_server, 0), "no placeholder of anybody's"
    assert Run(answer.run_id).status == "completed", "a run like any other"


def test_an_agent_is_asked_in_a_coroutine_for_something_of_a_form(
    fleet: WorkerProcess, llm: LLM, model_server: ModelServer
) -> None:
    model_server.enqueue('{"name": "Ada", "age": 36}')
    said = [
        {"role": "user", "content": "Who wrote programs first?"},
        {"role": "assistant", "content": "Ada."},
        {"role": "user", "content": "How old was she?"},
    ]

    async def ask() -> LiteAgentOutput:
        answer: LiteAgentOutput = await agent(llm).kickoff_async(said, response_format=Person)  # type: ignore[assignment]
        return answer

    answer = asyncio.run(ask())
    assert answer.pydantic == Person(name="Ada", age=36)
    assert answer.to_dict() == {"name": "Ada", "age": 36}
    prompt = asked(model_server)
    before, last = prompt.index("assistant: Ada."), prompt.index("How old was she?")
    assert prompt.index("user: Who wrote programs first?") < before < last


def test_the_guardrail_of_an_agent_is_for_it_alone(fleet: WorkerProcess, llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue("At great length.", "Short.", "At great length.")
    who = agent(llm, guardrail=crews.is_short)
    assert who.kickoff("Be short.").raw == "Short."
    done = Task(description="Say something.", agent=who).execute_sync()
    assert done.raw == "At great length.", "a task has its own, as in CrewAI"


# -- a task -----------------------------------------------------------------------------------------------------------


def test_a_task_by_itself(fleet: WorkerProcess, llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue("Forty-two.", "Another.", "A third.", "A fourth.")
    task = Task(description="Answer {it}.", expected_output="A number.", agent=agent(llm), tools=[crews.add])
    done = task.execute_sync(context="The question is not {known}.")
    assert (done.raw, task.output) == ("Forty-two.", done)
    assert "Answer {it}." in asked(model_server)
    assert "The question is not {known}." in asked(model_server)
    assert task.description == "Answer {it}."
    assert task.execute_async(agent=agent(llm, role="Other")).result(20).agent == "Other"  # type: ignore[attr-defined]

    async def ask() -> str:
        first = await task.aexecute_sync()
        return f"{first.raw} {await agent(llm).aexecute_task(task, tools=[])}"

    assert asyncio.run(ask()) == "A third. A fourth."
    assert ["tools" in call.request for call in model_server.ledger] == [True, True, True, False]


def test_an_agent_does_a_task_that_is_nobodys(fleet: WorkerProcess, llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue("Done.")
    assert agent(llm).execute_task(Task(description="Do it."), context="Mind the gap.") == "Done."
    assert "Mind the gap." in asked(model_server)


def test_a_task_by_itself_that_fails(fleet: WorkerProcess, llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue(error(400, "bad request"))
    with pytest.raises(errors.RunFailed, match="bad request"):
        Task(description="Do it.", agent=agent(llm, max_retry_limit=0)).execute_sync()


# -- a model, in this process -----------------------------------------------------------------------------------------


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-this-process")


def adding(left: int, right: int) -> int:
    return left + right


def test_a_model_is_asked_here_and_now(key: None, llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue("Hello.", "Bye.")
    assert llm.call("Say hello.") == "Hello."
    assert model_server.ledger[0].key == "sk-of-this-process"
    assert (
        asyncio.run(llm.acall([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Bye"}]))
        == "Bye."
    )
    assert [one["role"] for one in model_server.ledger[1].request["messages"]] == ["system", "user"]
    used = llm.get_token_usage_summary()
    assert (used.successful_requests, used.total_tokens > 0) == (2, True)


def test_a_model_that_is_asked_here_may_call_functions(key: None, llm: LLM, model_server: ModelServer) -> None:
    tools = [crews.add.schema_for_model()]
    model_server.enqueue(*[calls(("add", {"left": 1, "right": 2}))] * 2, calls(("add", {})))
    assert llm.call("1 + 2?", tools=tools, available_functions={"add": adding}) == 3
    (asked_for,) = llm.call("1 + 2?", tools=tools)
    assert (asked_for["function"]["name"], asked_for["type"]) == ("add", "function")
    with pytest.raises(TypeError, match="left"):
        llm.call("1 + 2?", tools=tools, available_functions={"add": adding})


class Adult(BaseModel):
    name: str
    age: int

    @field_validator("age")
    @classmethod
    def _grown(cls, age: int) -> int:
        if age < 18:
            raise ValueError("too young")
        return age


@pytest.mark.parametrize("model", ["openai/any", "gpt-4o-mini"], ids=["in words", "by its schema"])
def test_a_model_that_is_asked_here_for_something_of_a_form(key: None, model_server: ModelServer, model: str) -> None:
    model_server.enqueue("Ada", '{"name": "Ada", "age": 3}', '{"name": "Ada", "age": 36}')
    assert LLM(model=model, base_url=model_server.url).call("Who?", response_model=Adult) == Adult(name="Ada", age=36)
    assert ("response_format" in model_server.ledger[0].request) == (model == "gpt-4o-mini")
    assert "too young" in asked(model_server)
    model_server.enqueue(*["Ada"] * 4)
    with pytest.raises(errors.AnswerUnusable, match="do not fit Adult"):
        LLM(model=model, base_url=model_server.url).call("Who?", response_model=Adult)


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (error(401, "no"), errors.KeyRejected),
        (error(500, "no"), errors.ModelUnavailable),
        (Behaviour(body="<html>"), errors.ModelUnavailable),
        (Behaviour(ends="never"), errors.ModelTimeout),
    ],
)
def test_a_model_that_is_asked_here_and_fails(
    key: None, model_server: ModelServer, behaviour: Behaviour, kind: type[errors.ModelError]
) -> None:
    llm = LLM(model="openai/any", base_url=model_server.url, timeout=0.5)
    model_server.enqueue(behaviour)
    with pytest.raises(kind):
        llm.call("Why?")
    model_server.enqueue(behaviour, text("Because."))
    assert llm.model_copy(update={"fallbacks": [llm]}).call("Why?") == "Because."


def test_a_key_that_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(errors.KeyMissingHere, match="needs OPENAI_API_KEY in the environment of this process"):
        LLM(model="gpt-4o").call("Why?")


def test_what_a_model_can_do_is_litellms_word() -> None:
    known = LLM(model="gpt-4o-mini")
    assert (known.supports_function_calling(), known.get_context_window_size(), known.supports_stop_words()) == (
        True,
        128_000,
        True,
    )
    assert LLM(model="openai/nobody-knows").get_context_window_size() is None


@pytest.mark.parametrize("messages", [None, [], [{"role": "user"}], ["hello"]])
def test_a_question_that_is_none(messages: object) -> None:
    with pytest.raises(errors.InvalidField, match=r"LLM.call\(messages=...\) is not valid"):
        LLM(model="openai/any").call(messages)  # type: ignore[arg-type]


def test_a_custom_model_among_the_fallbacks_is_asked_too(key: None, llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue(error(401, "no"), "In words.")
    own = crews.Documented("mine", endpoint=f"{model_server.url}/chat/completions")
    assert llm.model_copy(update={"fallbacks": [own]}).call("Why?") == "In words."


def test_the_agent_of_the_package_is_the_one_with_a_kickoff() -> None:
    assert Agent.kickoff is not None
    assert crews.agent().kickoff is not None
