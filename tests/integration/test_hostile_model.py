"""Whatever a model says, over real HTTP and in a real worker: it is told what is wrong, or the run ends with a clear error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from crewq import LLM, Crew, Run, Task, errors
from tests.integration import crews
from tests.integration.crews import Person, agent
from tests.integration.worker_process import WorkerProcess
from tests.model_server import Behaviour, ModelServer


@pytest.fixture
def llm(fleet: WorkerProcess, model_server: ModelServer) -> Iterator[LLM]:
    worker = fleet.process.pid
    yield LLM(model="openai/any", base_url=model_server.url)
    assert (fleet.process.pid, fleet.process.poll()) == (worker, None), "it outlives all of it"


def ask(llm: LLM, **fields: Any) -> Run:
    who = agent(llm, max_retry_limit=0, tools=fields.pop("tools", []))
    return Crew(tasks=[Task(description="Ask", agent=who, **fields)]).kickoff_async()


def reply(*choices: Any, usage: Any = None) -> Behaviour:
    completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "any", "choices": list(choices)}
    return Behaviour(body=json.dumps(completion | {"usage": usage}))


def says(finish_reason: Any = "stop", **message: Any) -> Behaviour:
    said = {"role": "assistant", "content": None, **message}
    return reply({"index": 0, "message": said, "finish_reason": finish_reason})


def asks(*functions: Any, name: Any = "add", ids: str = "1") -> Behaviour:
    wanted = [{"id": ids, "type": "function", "function": {"name": name, "arguments": one}} for one in functions]
    return says("tool_calls", tool_calls=wanted)


DEEP = '{"left": ' + "[" * 5000 + "]" * 5000 + ', "right": 1}'


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (asks('{"left": "one", "right": [2]}'), "left: Input should be a valid integer"),
        (asks("[1, 2]"), "no JSON object, but of type list"),
        (asks('{"left": 1'), "The arguments are not JSON"),
        (asks('{"left": NaN, "right": 1}'), "NaN is no value of JSON"),
        (asks('{"left": ' + "[" * 150 + "]" * 150 + "}"), "nested more than 100 deep"),
        (asks(json.dumps({"left": "x" * 10_000_000})), "right: Field required"),
        (asks('{"left": 1, "left": 2, "right": 3}'), "5"),
        (asks({"left": 2, "right": 3}), "5"),
        (asks("{}", name="rm -rf /"), "There is no tool called 'rm -rf /'. The tools there are: add."),
        (asks("{}", name=None), "There is no tool called ''"),
        (asks("{}", name="x" * 100_000), "There is no tool called 'xxx"),
        (asks('{"left": 1, "right": 1}', '{"left": 2, "right": 3}'), "5"),
        (asks(*(json.dumps({"left": at, "right": 5 - at}) for at in range(100))), "5"),
    ],
    ids=[
        "types", "no object", "no JSON", "NaN", "deep", "10 MB", "a key twice", "not as text", "unknown", "no name",
        "a long name", "one id twice", "a hundred calls",
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_made_is_told_to_the_model(
    llm: LLM, model_server: ModelServer, behaviour: Behaviour, told: str
) -> None:
    model_server.enqueue(behaviour, "All the same.")
    assert ask(llm, tools=[crews.add]).result(30).raw == "All the same."
    last = model_server.ledger[-1].request["messages"][-1]
    assert told in last["content"]
    assert len(last["content"]) < 5000


@pytest.mark.parametrize(
    ("behaviour", "raw"),
    [
        (reply(), "At last."),
        (reply(None), "At last."),
        (reply({"index": 0, "message": None, "finish_reason": "stop"}), "At last."),
        (says(role="banana", content="x"), "At last."),
        (says(content=5), "At last."),
        (says("tool_calls", tool_calls="add"), "At last."),
        (says("tool_calls", tool_calls=[{"id": "1", "type": "function", "function": None}]), "At last."),
        (Behaviour(body="[" * 100_000), "At last."),
        (asks(DEEP), "At last."),
        (says(content=None), "At last."),
        (says(content=None, reasoning_content="Let me think."), "At last."),
        (says("length", content=None), "At last."),
        (says(None, content="As ever."), "As ever."),
        (says("length", content="As far as"), "As far as"),
        (says("content_filter", content="As far as"), "As far as"),
        (says(content=None, refusal="I will not."), "I will not."),
        (says(content="nothing\0less"), "nothing\0less"),
    ],
)
def test_an_answer_in_no_form_is_asked_for_again_and_any_other_is_taken(
    llm: LLM, model_server: ModelServer, behaviour: Behaviour, raw: str
) -> None:
    model_server.enqueue(behaviour, "At last.")
    assert ask(llm).result(30).raw == raw


def test_calls_of_one_id_are_told_apart(llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue(asks('{"left": 1, "right": 1}', '{"left": 2, "right": 3}'), "Told apart.")
    assert ask(llm, tools=[crews.add]).result(30).raw == "Told apart."
    *_, asked, first, second = model_server.ledger[-1].request["messages"]
    assert [one["id"] for one in asked["tool_calls"]] == ["1", "1_1"]
    assert [(one["tool_call_id"], one["content"]) for one in (first, second)] == [("1", "2"), ("1_1", "5")]


def test_an_answer_that_a_filter_holds_back_ends_the_run(llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue(says("content_filter", content=None))
    with pytest.raises(errors.RunFailed, match="its provider's content filter held the answer back"):
        ask(llm).result(30)
    assert len(model_server.ledger) == 1


@pytest.mark.parametrize(
    "text", ["[" * 5000 + "]" * 5000, "{" * 100_000, '{"name": "Ada", "age": NaN}', "x" * 1_000_000]
)
def test_an_answer_that_should_fit_a_schema(llm: LLM, model_server: ModelServer, text: str) -> None:
    model_server.enqueue(says(content=text), '{"name": "Ada", "age": 36}')
    assert ask(llm, output_pydantic=Person).result(60).pydantic == Person(name="Ada", age=36)


def test_a_model_that_only_ever_calls_tools_comes_to_an_end(llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue(*[asks('{"left": 1, "right": 1}')] * 40)
    with pytest.raises(errors.RunFailed, match="gave no usable answer"):
        ask(llm, tools=[crews.add]).result(60)
    assert len(model_server.ledger) < 40


def test_usage_that_cannot_be_meant_spoils_no_sum(llm: LLM, model_server: ModelServer) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    model_server.enqueue(reply(choice, usage={"prompt_tokens": -5, "completion_tokens": 10**30, "total_tokens": -7}))
    used = ask(llm).result(30).token_usage
    assert (used.prompt_tokens, used.total_tokens, used.successful_requests) == (0, 0, 1)
    assert 0 < used.completion_tokens <= 10**15
