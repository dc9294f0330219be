"""litellm over real HTTP: tool calls, streaming, usage, and everything that a provider can do wrong."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from crewq import errors
from crewq.agent import LiteLLMModel, Toolbox, close_litellm, invoke_directly, load_litellm, perform
from crewq.agent.llm import LIGHTER
from crewq.model import ModelAnswer, ModelRequest
from crewq.spec import LLMSpec
from tests import model_server
from tests.model_server import Behaviour, ModelServer, calls, text
from tests.unit.agent.fakes import THREADS, brief, search

pytestmark = [
    pytest.mark.asyncio,
    # litellm silences these when it is imported, and pytest takes that back.
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated"),
]

MESSAGES = ({"role": "user", "content": "How many crews?"},)


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as started:
        yield started


@pytest_asyncio.fixture
async def model() -> AsyncIterator[LiteLLMModel]:
    load_litellm()
    yield LiteLLMModel(LLMSpec(model="openai/any"))
    await close_litellm()


def request(server: ModelServer, tools: tuple[dict[str, Any], ...] = (), **options: Any) -> ModelRequest:
    return ModelRequest(model="openai/any", messages=MESSAGES, tools=tools, options={"base_url": server.url, **options})


async def test_a_text_with_its_usage(server: ModelServer, model: LiteLLMModel) -> None:
    server.enqueue("There are four.")
    answer = await model.complete(request(server, temperature=0.5))
    assert (answer.text, answer.finish_reason) == ("There are four.", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 3, 6)
    assert (answer.usage.successful_requests, answer.usage.unpriced_requests) == (1, 1)
    sent = server.ledger[0].request
    assert (sent["model"], sent["temperature"], sent["messages"]) == ("any", 0.5, [*MESSAGES])


async def test_a_known_model_has_a_price(server: ModelServer, model: LiteLLMModel) -> None:
    server.enqueue("Four.")
    asked = ModelRequest(model="gpt-4o-mini", messages=MESSAGES, options={"base_url": server.url})
    usage = (await LiteLLMModel(LLMSpec(model="gpt-4o-mini")).complete(asked)).usage
    assert usage.cost > 0
    assert usage.cost_known


@pytest.mark.parametrize("streams", [False, True])
async def test_tool_calls(server: ModelServer, model: LiteLLMModel, streams: bool) -> None:
    server.enqueue(calls(("search", {"query": "a"}), ("search", {"query": "b"})))
    tokens: list[str] = []
    asked = request(server, tools=(search.schema_for_model(),))
    answer = await model.complete(asked, tokens.append if streams else None)
    assert [(call.id, call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [
        ("call_0", "search", {"query": "a"}),
        ("call_1", "search", {"query": "b"}),
    ]
    assert server.ledger[0].request["tools"] == [search.schema_for_model()]
    assert tokens == []


async def test_streaming_brings_the_words_as_they_come_and_the_usage_at_the_end(
    server: ModelServer, model: LiteLLMModel
) -> None:
    server.enqueue("There are four.")
    tokens: list[str] = []
    answer = await model.complete(request(server), tokens.append)
    assert tokens == ["There ", "are ", "four."]
    assert answer.text == "There are four."
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 3)


async def test_the_schema_is_passed_on(server: ModelServer, model: LiteLLMModel) -> None:
    server.enqueue("{}")
    schema = {"type": "object", "title": "My Crew"}
    await model.complete(request(server).model_copy(update={"answer_schema": schema}))
    sent = server.ledger[0].request["response_format"]
    assert sent == {"type": "json_schema", "json_schema": {"name": "My_Crew", "schema": schema}}


FAILURES: list[tuple[str, Behaviour, type[errors.ModelError], bool]] = [
    ("400", model_server.error(400), errors.ModelRefused, False),
    ("401", model_server.error(401), errors.KeyRejected, False),
    ("403", model_server.error(403), errors.KeyRejected, False),
    ("404", model_server.error(404), errors.ModelUnknown, False),
    ("408", model_server.error(408), errors.ModelTimeout, True),
    ("409", model_server.error(409), errors.ModelUnavailable, True),
    ("413", model_server.error(413), errors.ModelRefused, False),
    ("422", model_server.error(422), errors.ModelRefused, False),
    ("429", model_server.error(429), errors.RateLimited, True),
    ("429 for good", model_server.error(429, "You exceeded your current quota"), errors.ModelRefused, False),
    ("500", model_server.error(500), errors.ModelUnavailable, True),
    ("502", model_server.error(502), errors.ModelUnavailable, True),
    ("503", model_server.error(503), errors.ModelUnavailable, True),
    ("504", model_server.error(504), errors.ModelTimeout, True),
    ("529", model_server.error(529), errors.ModelUnavailable, True),
    ("too long", model_server.too_long(), errors.ContextTooLong, False),
    ("half sent", model_server.half_sent(), errors.ModelUnavailable, True),
]
BROKEN: dict[str, str] = {
    "cut": '{"choices": [{"mess',
    "empty": "",
    "no choices": "{}",
    "null": '{"choices": null}',
    "no message": '{"choices": [{}]}',
    "a list": "[]",
    "a page": "<html>Bad gateway</html>",
}
FAILURES += [(name, model_server.malformed(body), errors.ModelUnavailable, True) for name, body in BROKEN.items()]


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("name", "behaviour", "kind", "retryable"), FAILURES, ids=[case[0] for case in FAILURES])
async def test_each_failure_has_its_error_and_is_asked_once(
    server: ModelServer,
    model: LiteLLMModel,
    streams: bool,
    name: str,
    behaviour: Behaviour,
    kind: type[errors.ModelError],
    retryable: bool,
) -> None:
    server.enqueue(behaviour)
    with pytest.raises(errors.ModelError) as failure:
        await model.complete(request(server), (lambda token: None) if streams else None)
    assert type(failure.value) is kind
    assert failure.value.retryable is retryable
    assert len(server.ledger) == 1
    assert "Traceback" not in str(failure.value)


async def test_a_stream_that_ends_early_is_no_answer(server: ModelServer, model: LiteLLMModel) -> None:
    server.enqueue(model_server.ends_early())
    with pytest.raises(errors.ModelUnavailable, match="its stream broke off"):
        await model.complete(request(server), lambda token: None)


async def test_nobody_there(server: ModelServer, model: LiteLLMModel) -> None:
    with pytest.raises(errors.ModelUnavailable, match="no usable answer"):
        await model.complete(request(server, base_url="http://127.0.0.1:9/v1"))


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_read(server: ModelServer, model: LiteLLMModel, status: int) -> None:
    server.enqueue(model_server.error(status, retry_after="7"))
    with pytest.raises(errors.ModelError) as failure:
        await model.complete(request(server))
    assert failure.value.retry_after == 7


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_a_call_that_hangs_ends_after_its_timeout(
    server: ModelServer, model: LiteLLMModel, streams: bool
) -> None:
    server.enqueue(model_server.hang())
    with pytest.raises(errors.ModelTimeout, match=r"no answer within 0\.2 s"):
        await model.complete(request(server, timeout=0.2), (lambda token: None) if streams else None)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_an_answer_that_came_while_the_process_stood_still_is_read_though_its_time_is_over(
    server: ModelServer, model: LiteLLMModel, streams: bool
) -> None:
    """It was in time, and is paid for: the process was frozen, or its machine asleep."""
    server.enqueue("Here.", replace(text("In time."), latency=0.3))
    await model.complete(request(server))  # so that the connection stands
    asked = asyncio.ensure_future(model.complete(request(server, timeout=1.0), (lambda _: None) if streams else None))
    await asyncio.to_thread(server.ledger.wait_for, lambda made: len(made) == 2)
    time.sleep(2)  # noqa: ASYNC251 - what stands still is this process: its event loop sees nothing of the time that passes
    assert (await asked).text == "In time."


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_a_call_that_does_not_begin_ends_after_its_first_deadline(
    server: ModelServer, model: LiteLLMModel, streams: bool
) -> None:
    server.enqueue(model_server.hang())
    with pytest.raises(errors.ModelTimeout, match=r"within 0\.2 s"):
        await model.complete(request(server, first_byte_timeout=0.2), (lambda token: None) if streams else None)
    await asyncio.to_thread(server.ledger.wait_for, lambda made: made[0].ended is not None)


async def test_a_stream_that_stops_ends_after_its_idle_deadline(server: ModelServer, model: LiteLLMModel) -> None:
    server.enqueue(model_server.stalled("words that come, and words that do not"))
    told: list[str] = []
    with pytest.raises(errors.ModelTimeout, match=r"nothing more of its answer came within 0\.2 s") as failure:
        await model.complete(request(server, idle_timeout=0.2, first_byte_timeout=30), told.append)
    assert failure.value.retryable
    assert "".join(told).startswith("words that come")
    await asyncio.to_thread(server.ledger.wait_for, lambda made: made[0].ended is not None)


async def test_the_idle_deadline_is_not_for_the_beginning(server: ModelServer, model: LiteLLMModel) -> None:
    server.enqueue(Behaviour(message={"content": "one two three four"}, latency=0.5))
    assert (await model.complete(request(server, idle_timeout=0.3), lambda token: None)).text == "one two three four"


async def test_a_server_that_accepts_no_connection_is_given_up_soon(server: ModelServer, model: LiteLLMModel) -> None:
    with ExitStack() as open_sockets:
        full = open_sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # more than its queue holds; the system answers nobody any more
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        deaf = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        began = time.monotonic()
        with pytest.raises(errors.ModelTimeout):
            await model.complete(request(server, base_url=deaf, connect_timeout=0.3, timeout=30))
    assert time.monotonic() - began < 10


async def test_a_cancelled_call_is_aborted_at_the_server(server: ModelServer, model: LiteLLMModel) -> None:
    server.enqueue(model_server.hang())
    asking = asyncio.create_task(model.complete(request(server)))
    await asyncio.to_thread(server.ledger.wait_for, lambda made: len(made) == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.to_thread(server.ledger.wait_for, lambda made: made[0].ended is not None)
    assert server.ledger[0].status is None


async def test_a_key_given_is_the_key_used_and_never_shown(server: ModelServer) -> None:
    load_litellm()
    server.enqueue(model_server.error(401, "The key my-own-secret is not known"))
    with pytest.raises(errors.KeyRejected) as failure:
        await LiteLLMModel(LLMSpec(model="openai/any"), key="my-own-secret").complete(request(server))
    assert "my-own-secret" not in str(failure.value)
    await close_litellm()


async def test_a_whole_task(server: ModelServer, model: LiteLLMModel) -> None:
    server.enqueue(calls(("search", {"query": "crews"})), text("Four."))
    work = brief(llm=LLMSpec(model="openai/any", options={"base_url": server.url}))
    answer = await perform(work, model, Toolbox([search], invoke_directly(THREADS)))
    assert answer.text == "Four."
    assert server.ledger[1].request["messages"][-1]["content"] == "found crews"


async def test_a_server_that_refuses_tools_is_spoken_to_in_words(server: ModelServer, model: LiteLLMModel) -> None:
    server.enqueue(model_server.error(400, "any does not support tools"), "Final Answer: Four.")
    work = brief(llm=LLMSpec(model="openai/any", options={"base_url": server.url}))
    assert (await perform(work, model, Toolbox([search], invoke_directly(THREADS)))).text == "Four."
    assert "tools" not in server.ledger[1].request


async def test_the_server_as_a_process_keeps_its_ledger_in_a_file(tmp_path: Path, model: LiteLLMModel) -> None:
    ledger = tmp_path / "ledger.jsonl"
    prompts = ("[[say Hello]]", "sums", '[[call add {"a": 1}]]')
    command = [sys.executable, model_server.__file__, "--ledger", str(ledger)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().strip()
        answers = [await _directed(model, url, prompt) for prompt in prompts]
    finally:
        process.terminate()
        assert await process.wait() == 0
    assert [answer.text for answer in answers] == ["Hello", "Answer to: sums", ""]
    assert answers[2].tool_calls[0].arguments == '{"a": 1}'
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [(line["event"], line["number"]) for line in lines[:4]] == [
        ("started", 1),
        ("finished", 1),
        ("started", 2),
        ("finished", 2),
    ]


async def _directed(model: LiteLLMModel, url: str, prompt: str) -> ModelAnswer:
    messages = ({"role": "user", "content": prompt},)
    return await model.complete(ModelRequest(model="openai/any", messages=messages, options={"base_url": url}))


@pytest.mark.parametrize(
    ("variable", "lighter"), [("OPENAI_ORGANIZATION", ""), ("OPENAI_PROJECT_ID", ""), ("X", "True")]
)
async def test_litellms_lighter_path_is_left_where_only_openais_own_client_heeds_what_is_set(
    variable: str, lighter: str
) -> None:
    """In a process of its own, as litellm is loaded once."""
    code = "import os; from crewq.agent.llm import LIGHTER, load_litellm; load_litellm(); print(os.environ.get(LIGHTER, ''))"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        env={**{k: v for k, v in os.environ.items() if k != LIGHTER}, variable: "one"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == lighter
