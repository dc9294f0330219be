"""litellm in a real worker, over real HTTP: what each failure of a provider means for a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from crewq import LLM, ConditionalTask, Crew, Run, Task, errors
from tests.integration import crews
from tests.integration.crews import Documented, DocumentedWithTools, Person, agent
from tests.integration.worker_process import WorkerProcess
from tests.model_server import Behaviour, ModelServer, calls, error, malformed, text
from tests.waiting import until


@pytest.fixture
def llm(fleet: WorkerProcess, model_server: ModelServer) -> Iterator[LLM]:
    return LLM(model="openai/any", base_url=model_server.url)


def ask(llm: LLM | str, **fields: Any) -> Run:
    who = agent(llm, max_retry_limit=0, **{name: fields.pop(name) for name in ("tools",) if name in fields})
    return Crew(tasks=[Task(description="Ask", agent=who, **fields)]).kickoff_async()


def test_tool_calls_in_two_replies(llm: LLM, model_server: ModelServer) -> None:
    both = calls(("add", {"left": 1, "right": 2}), ("add", {"left": 3, "right": 4}))
    model_server.enqueue(both, calls(("add", {"left": 3, "right": 7})), "Ten.")
    run = ask(llm, tools=[crews.add])
    output = run.result(20)
    assert output.raw == "Ten."
    assert output.token_usage.successful_requests == 3
    assert output.token_usage.total_tokens > 0
    told = [message["content"] for message in model_server.ledger[-1].request["messages"] if message["role"] == "tool"]
    assert told == ["3", "7", "10"]
    offered = model_server.ledger[0].request["tools"]
    assert [one["function"]["name"] for one in offered] == ["add"]


def test_litellm_is_quiet_in_the_log_of_a_worker(fleet: WorkerProcess, llm: LLM) -> None:
    before = len(fleet.log)
    run = ask(llm)
    run.result(20)
    until(lambda: run.task_ids[0] in fleet.log[before:])
    assert [line for line in fleet.log.splitlines() if "litellm" in line.lower()] == []


def test_structured_output_over_http(llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue('{"name": "Ada"}', '{"name": "Ada", "age": 36}')
    assert ask(llm, output_pydantic=Person).result(20).pydantic == Person(name="Ada", age=36)
    corrected = model_server.ledger[1].request["messages"][-1]["content"]
    assert "'age' is a required property" in corrected


def test_a_provider_that_takes_schemas_is_given_the_one_of_the_answer(
    fleet: WorkerProcess, model_server: ModelServer
) -> None:
    model_server.enqueue('{"name": "Ada", "age": 36}')
    llm = LLM(model="gpt-4o-mini", base_url=model_server.url)
    assert ask(llm, output_pydantic=Person).result(20).pydantic == Person(name="Ada", age=36)
    told = model_server.ledger[0].request["response_format"]
    assert (told["type"], told["json_schema"]["name"]) == ("json_schema", "Person")
    assert told["json_schema"]["schema"]["properties"].keys() == {"name", "age"}


def test_one_that_refuses_schemas_is_told_in_words(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(error(400, "response_format is not supported"), '{"name": "Ada", "age": 36}')
    llm = LLM(model="gpt-4o-mini", base_url=model_server.url)
    assert ask(llm, output_json=Person).result(20).json_dict == {"name": "Ada", "age": 36}
    refused, worded = (call.request for call in model_server.ledger)
    assert "response_format" in refused
    assert "response_format" not in worded
    assert '"Person"' in worded["messages"][-1]["content"]


def test_json_in_the_words_of_a_model_that_takes_no_schema_is_found_and_mended(
    fleet: WorkerProcess, model_server: ModelServer
) -> None:
    model_server.enqueue("Here you are:\n```json\n{'name': 'Ada', 'age': 36,}\n```\nAnything else?")
    llm = LLM(model="gpt-3.5-turbo", base_url=model_server.url)
    output = ask(llm, output_json=Person).result(20)
    assert output.json_dict == {"name": "Ada", "age": 36}
    (asked,) = (call.request for call in model_server.ledger)
    assert "response_format" not in asked
    assert '"title": "Person"' in asked["messages"][-1]["content"]


def test_callbacks_are_told_and_a_condition_is_asked(fleet: WorkerProcess, model_server: ModelServer) -> None:
    notes = fleet.output_dir.parent / "notes"
    notes.unlink(missing_ok=True)
    model_server.enqueue(calls(("add", {"left": 1, "right": 2})), "go on, 3", "Gone on.", "Over.")
    who = agent(LLM(model="openai/any", base_url=model_server.url), step_callback=crews.on_step)
    tasks = [
        Task(name="first", description="Look.", agent=who, tools=[crews.add], callback=crews.on_task),
        ConditionalTask(name="perhaps", description="Go on.", agent=who, condition=crews.says_go),
        ConditionalTask(name="no more", description="Go further.", agent=who, condition=crews.says_go),
        Task(name="last", description="End.", agent=who, callback=crews.on_task_async),
    ]
    output = Crew(tasks=tasks).kickoff()
    assert [done.raw for done in output.tasks_output] == ["go on, 3", "Gone on.", "", "Over."]
    assert len(model_server.ledger) == 4, "a task that is skipped asks nobody"
    assert "Gone on." in model_server.ledger[3].request["messages"][-1]["content"]
    said = notes.read_text().splitlines()
    assert [line for line in said if not line.startswith("on_step")] == [
        "add 1 2",
        "on_task go on, 3",
        "says_go go on, 3",
        "says_go Gone on.",
        "on_task_async Over.",
    ]
    assert Counter(said) >= Counter({"on_step tool": 1, "on_step answer": 3})


def prices_of(model: str) -> dict[str, Any]:
    """By litellm's list, read without litellm."""
    litellm = find_spec("litellm")
    assert litellm is not None
    assert litellm.origin is not None
    prices = json.loads((Path(litellm.origin).parent / "model_prices_and_context_window_backup.json").read_text())
    listed: dict[str, Any] = prices[model]
    return listed


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_tokens_that_were_cached_and_tokens_of_thoughts_are_counted_and_priced(
    fleet: WorkerProcess, model_server: ModelServer, stream: bool
) -> None:
    model_server.enqueue(
        replace(calls(("add", {"left": 1, "right": 2})), cached=4, reasoning=50), replace(text("Three."), cached=8)
    )
    who = agent(LLM(model="gpt-5-mini", base_url=model_server.url), tools=[crews.add])
    run = Crew(tasks=[Task(description="Ask", agent=who)], stream=stream).start()
    used = run.result(20).token_usage
    words = sum(
        len(str(message.get("content")).split()) for call in model_server.ledger for message in call.request["messages"]
    )
    assert (used.prompt_tokens, used.cached_prompt_tokens) == (words, 12)
    assert (used.completion_tokens, used.reasoning_tokens) == (5 + 50 + 1, 50)
    price = prices_of("gpt-5-mini")
    assert price["cache_read_input_token_cost"] < price["input_cost_per_token"]
    paid = (words - 12) * price["input_cost_per_token"] + 12 * price["cache_read_input_token_cost"]
    assert used.cost == pytest.approx(paid + 56 * price["output_cost_per_token"])
    assert used.unpriced_requests == 0
    assert run.tasks[0].usage == run.record().usage == used


@pytest.mark.parametrize(
    ("behaviour", "kind", "told"),
    [
        (error(401, "Incorrect API key provided: sk-abcdef1234567890"), errors.KeyRejected, r"HTTP 401"),
        (error(403, "no access"), errors.KeyRejected, r"HTTP 403.*no access"),
        (error(404, "no such model"), errors.ModelUnknown, r"'openai/any' is not known: .*no such model"),
        (error(400, "bad request"), errors.ModelRefused, r"HTTP 400.*bad request"),
        (error(429, "You exceeded your current quota", code="insufficient_quota"), errors.ModelRefused, "quota"),
    ],
)
def test_a_failure_that_no_waiting_heals_ends_the_run_at_once(
    llm: LLM, model_server: ModelServer, behaviour: Behaviour, kind: type[errors.ModelError], told: str
) -> None:
    model_server.enqueue(behaviour)
    run = ask(llm)
    with pytest.raises(errors.RunFailed, match=told) as caught:
        run.result(20)
    assert isinstance(caught.value.__cause__, kind)
    assert len(model_server.ledger) == 1, "it is asked once"
    assert "abcdef1234567890" not in str(caught.value) + json.dumps(
        run.tasks[0].error.record() if run.tasks[0].error else {}
    )


@pytest.mark.parametrize("behaviour", [error(500), error(503), malformed(), Behaviour(body="<html>proxy</html>")])
def test_a_failure_that_passes_is_tried_again(llm: LLM, model_server: ModelServer, behaviour: Behaviour) -> None:
    model_server.enqueue(behaviour, "At last.")
    run = ask(llm)
    assert run.result(20).raw == "At last."
    assert len(model_server.ledger) == 2
    assert run.tasks[0].attempt == 1, "the task is not begun anew for it"
    assert run.record().usage.successful_requests == 1


def test_a_limit_of_rate_is_waited_out(llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue(error(429, "slow down", retry_after="1"), "At last.")
    assert ask(llm).result(20).raw == "At last."
    first, second = model_server.ledger
    assert first.ended is not None
    assert second.started - first.ended >= 1.0


def test_an_empty_answer_is_asked_for_again(llm: LLM, model_server: ModelServer) -> None:
    model_server.enqueue("", text("  "), "Something.")
    assert ask(llm).result(20).raw == "Something."
    model_server.enqueue(*[""] * 9)
    with pytest.raises(errors.RunFailed, match="gave no usable answer in 4 tries: its replies were empty"):
        ask(llm).result(20)


def test_a_timeout_of_the_model(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(Behaviour(ends="never"), "In time.")
    assert ask(LLM(model="openai/any", base_url=model_server.url, timeout=0.5)).result(20).raw == "In time."


def test_a_missing_key_is_told_before_any_call(fleet: WorkerProcess) -> None:
    run = ask("openai/gpt-4.1-mini")
    with pytest.raises(errors.RunFailed, match="needs OPENAI_API_KEY in the environment of the worker") as caught:
        run.result(20)
    assert isinstance(caught.value.__cause__, errors.KeyMissing)
    assert run.tasks[0].attempt == 1


def test_a_model_that_nobody_knows(fleet: WorkerProcess) -> None:
    for name in ("nobody/knows-this", "gpt-from-nowhere"):
        with pytest.raises(errors.RunFailed) as caught:
            ask(name).result(20)
        assert isinstance(caught.value.__cause__, errors.ModelUnknown)
        assert f"The model '{name}' is not known" in str(caught.value)


def test_a_model_written_as_for_crewai(
    fleet: WorkerProcess, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCUMENTED_KEY", "hunter2")
    model_server.enqueue(calls(("add", {"left": 1, "right": 2})), "Three.")
    llm = DocumentedWithTools("mine", endpoint=f"{model_server.url}/chat/completions", temperature=0.25)
    assert llm.api_key == "hunter2"
    run = Crew(tasks=[Task(description="Ask", agent=agent(llm, tools=[crews.add]))]).kickoff_async()
    assert run.result(20).raw == "Three."
    first, second = model_server.ledger
    assert (first.model, first.key) == ("mine", "of the worker"), "a key is read where the model is asked"
    assert (first.request["temperature"], first.request["stop"]) == (0.25, ["END"])
    assert [one["function"]["name"] for one in first.request["tools"]] == ["add"]
    assert second.request["messages"][-1]["content"] == "3"


def test_one_that_does_not_say_that_it_calls_tools_is_told_of_them_in_words(
    fleet: WorkerProcess, model_server: ModelServer
) -> None:
    model_server.enqueue('Thought: add\nAction: add\nAction Input: {"left": 1, "right": 2}', "Final Answer: Three.")
    llm = Documented("mine", endpoint=f"{model_server.url}/chat/completions")
    run = Crew(tasks=[Task(description="Ask", agent=agent(llm, tools=[crews.add]))]).kickoff_async()
    assert run.result(20).raw == "Three."
    first, second = (call.request for call in model_server.ledger)
    assert "tools" not in first
    assert "- add: Add two numbers." in first["messages"][0]["content"]
    assert second["messages"][-1]["content"] == "Observation: 3"


def test_a_key_in_a_model_written_as_for_crewai_is_refused(nothing_started: None) -> None:
    who = agent(Documented("mine", endpoint="http://127.0.0.1", api_key="hunter2"))
    with pytest.raises(
        errors.NotPortable, match=r"The model 'mine' of the agent 'Tester' .*'api_key'.*a key"
    ) as caught:
        Crew(tasks=[Task(description="Ask", agent=who)]).kickoff()
    assert "Read it from the environment where it is used, on the worker." in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_options_reach_the_provider(fleet: WorkerProcess, model_server: ModelServer) -> None:
    llm = LLM(model="openai/any", base_url=model_server.url, temperature=0.25, max_tokens=77, seed=4, stop=["END"])
    ask(llm).result(20)
    sent = model_server.ledger[0].request
    assert {name: sent[name] for name in ("temperature", "max_tokens", "seed", "stop")} == {
        "temperature": 0.25,
        "max_tokens": 77,
        "seed": 4,
        "stop": ["END"],
    }
    assert sent["model"] == "any"
