"""A model server for tests: OpenAI's chat API over real HTTP, which does what it is told and writes down every call.

In a test, with the server in a thread of this process:

    with ModelServer() as server:
        server.enqueue(error(503), calls(("search", {"q": "x"})), text("Done."))
        ...                                  # LLM(model="openai/any", base_url=server.url)
        assert [call.status for call in server.ledger] == [503, 200, 200]

As a process, which outlives the workers that a test kills:

    python tests/model_server.py --port 0 --ledger calls.jsonl --latency 0.2

It prints its URL as the first line, and appends one JSON line to the ledger when a call starts and one when it ends.

What was enqueued is answered first, in order of arrival; then the responder decides. The default responder reads the
prompt: the n-th directive in it, `[[say TEXT]]` or `[[call TOOL {"x": 1}]]`, is the n-th reply of that conversation;
with no directive left it says "Answer to: " and the beginning of the prompt.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from aiohttp import web

Request = dict[str, Any]


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one call.

    Fields:
        status: of HTTP.
        message: the assistant's message, as in OpenAI's API.
        finish_reason: likewise.
        body: what is sent instead of a completion, as it is.
        headers: added to the answer.
        latency: seconds before anything is sent, besides the server's own.
        ends: `whole`, or `half` (the connection breaks in the middle of the body), or `early` (a stream ends properly, but
            before the answer does), or `stalled` (a stream comes half, and then nothing more), or `never`.
        cached: how many of the tokens of the question the provider had read before; None: it says nothing of that.
        reasoning: how many tokens, beside those of the words, it thought with; None: it says nothing of that.
    """

    status: int = 200
    message: dict[str, Any] = field(default_factory=dict)
    finish_reason: str = "stop"
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    latency: float = 0.0
    ends: Literal["whole", "half", "early", "stalled", "never"] = "whole"
    cached: int | None = None
    reasoning: int | None = None


def text(content: str, finish_reason: str = "stop") -> Behaviour:
    """Say something."""
    return Behaviour(message={"role": "assistant", "content": content}, finish_reason=finish_reason)


def calls(*wanted: tuple[str, dict[str, Any]]) -> Behaviour:
    """Call tools, all in one reply."""
    tool_calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for at, (name, arguments) in enumerate(wanted)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": tool_calls}
    return Behaviour(message=message, finish_reason="tool_calls")


def error(
    status: int, message: str = "told to fail", code: str | None = None, retry_after: str | None = None
) -> Behaviour:
    """Fail with a status, and an error in the form of OpenAI's."""
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": code}})
    return Behaviour(status=status, body=body, headers={"Retry-After": retry_after} if retry_after else {})


def too_long() -> Behaviour:
    """Fail as OpenAI does when a conversation is longer than the model's context."""
    reason = "This model's maximum context length is 128 tokens. However, your messages resulted in 256 tokens."
    return error(400, reason, code="context_length_exceeded")


def malformed(body: str = '{"choices": [{"mess') -> Behaviour:
    """Answer 200 with a body that is no completion."""
    return Behaviour(body=body)


def half_sent(content: str = "words " * 100) -> Behaviour:
    """Break the connection in the middle of an answer."""
    return replace(text(content), ends="half")


def ends_early(content: str = "words that come, and words that do not") -> Behaviour:
    """End a stream before the answer does, as a proxy may."""
    return replace(text(content), ends="early")


def stalled(content: str) -> Behaviour:
    """Stream half of an answer, and then nothing more."""
    return replace(text(content), ends="stalled")


def hang() -> Behaviour:
    """Accept the call and never answer."""
    return Behaviour(ends="never")


@dataclass
class Call:
    """One call in the ledger; `ended` and `status` are None while it is under way, and `status` if its answer was not sent
    whole: the client left, or the server broke off, which `broken` tells. `key` is the API key that came with it."""

    number: int
    model: str
    prompt: str
    digest: str
    started: float
    request: Request
    key: str = ""
    ended: float | None = None
    status: int | None = None
    broken: bool = False


class Ledger(list[Call]):
    """The calls, in order of arrival; `file` gets a JSON line for each start and end."""

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        self._file = file
        self._changed = threading.Condition()

    def start(self, request: Request, key: str = "") -> Call:
        """Write down that a call has come in."""
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]
        with self._changed:
            call = Call(len(self) + 1, str(request.get("model")), prompt_of(request), digest, time.time(), request, key)
            self.append(call)
            self._note("started", call)
        return call

    def end(self, call: Call, status: int | None) -> None:
        """Write down how it ended."""
        with self._changed:
            call.ended, call.status = time.time(), status
            self._note("finished" if status else "aborted", call)

    def wait_for(self, condition: Callable[[Ledger], bool], timeout: float = 10.0) -> None:
        """Wait until the ledger fits a condition, for example `lambda calls: len(calls) == 2`."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), timeout), f"the ledger stayed at {list(self)}"

    def _note(self, event: str, call: Call) -> None:
        self._changed.notify_all()
        if self._file:
            line = {"event": event, **{name: value for name, value in asdict(call).items() if name != "request"}}
            with self._file.open("a") as file:  # one write of one line: whole, whoever else appends
                file.write(json.dumps(line) + "\n")


def prompt_of(request: Request) -> str:
    """The first user message of a conversation."""
    messages = request.get("messages", [])
    return next((str(message["content"]) for message in messages if message["role"] == "user"), "")


_DIRECTIVE = re.compile(r"\[\[(say|call) (.*?)\]\]", re.DOTALL)


def by_directives(request: Request) -> Behaviour:
    """The default responder: see the head of this file."""
    prompt = prompt_of(request)
    spoken = sum(message["role"] == "assistant" for message in request["messages"])
    directives = _DIRECTIVE.findall(prompt)
    if spoken >= len(directives):
        return text(f"Answer to: {prompt[:200]}")
    verb, rest = directives[spoken]
    if verb == "say":
        return text(rest)
    name, _, arguments = rest.partition(" ")
    return calls((name, json.loads(arguments or "{}")))


class ModelServer:
    """The server, as a context manager. `url` is its base URL, `ledger` what it was asked.

    Args:
        responder: what to do with a call when nothing is enqueued.
        latency: seconds that every answer takes.
        port: 0 takes a free one.
        host: whose callers it answers; 127.0.0.1: those of this machine.
        ledger_file: gets the ledger too, as JSON lines.
    """

    def __init__(
        self,
        responder: Callable[[Request], Behaviour] = by_directives,
        *,
        latency: float = 0.0,
        port: int = 0,
        host: str = "127.0.0.1",
        ledger_file: Path | None = None,
    ) -> None:
        self.ledger = Ledger(ledger_file)
        self.url = ""
        self._responder = responder
        self._latency = latency
        self._port = port
        self._host = host
        self._queue: deque[Behaviour] = deque()
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="model-server", daemon=True)

    def enqueue(self, *behaviours: Behaviour | str) -> None:
        """What to do with the next calls; a str is said."""
        self._queue.extend(text(one) if isinstance(one, str) else one for one in behaviours)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10), "the model server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        runner = self._loop.run_until_complete(self._listen())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _listen(self) -> web.AppRunner:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._complete)
        # Cancelled when the client goes away, so that the ledger tells an abandoned call from an answered one.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    async def _complete(self, http: web.Request) -> web.StreamResponse:
        request = await http.json()
        call = self.ledger.start(request, http.headers.get("Authorization", "").removeprefix("Bearer "))
        behaviour = self._queue.popleft() if self._queue else self._responder(request)
        status = None
        try:
            await asyncio.sleep(self._latency + behaviour.latency)
            call.broken = behaviour.ends in ("half", "early")
            if behaviour.ends == "never":
                await asyncio.Event().wait()
            response = await _send(http, request, call, behaviour)
            status = behaviour.status if behaviour.ends == "whole" else None
            return response
        finally:
            self.ledger.end(call, status)


async def _send(http: web.Request, request: Request, call: Call, behaviour: Behaviour) -> web.StreamResponse:
    streamed = bool(request.get("stream")) and behaviour.body is None
    parts = _stream(request, call, behaviour) if streamed else [_body(request, call, behaviour)]
    response = web.StreamResponse(status=behaviour.status, headers=behaviour.headers)
    response.content_type = "text/event-stream" if streamed else "application/json"
    if not streamed:
        response.content_length = len(parts[0].encode())
    await response.prepare(http)
    if behaviour.ends == "half":
        await response.write(parts[0].encode()[: len(parts[0]) // 2] if len(parts) == 1 else parts[0].encode())
        assert http.transport is not None
        http.transport.abort()
        return response
    sent = {"early": 2, "stalled": len(parts) // 2}.get(behaviour.ends, len(parts))
    for part in parts[:sent]:
        await response.write(part.encode())
    if behaviour.ends == "stalled":
        await asyncio.Event().wait()
    await response.write_eof()
    return response


def _body(request: Request, call: Call, behaviour: Behaviour) -> str:
    return _completion(request, call, behaviour) if behaviour.body is None else behaviour.body


def _completion(request: Request, call: Call, behaviour: Behaviour) -> str:
    choice = {"index": 0, "message": behaviour.message, "finish_reason": behaviour.finish_reason}
    return json.dumps(
        _envelope(request, call, "chat.completion") | {"choices": [choice], "usage": _usage(request, behaviour)}
    )


def _stream(request: Request, call: Call, behaviour: Behaviour) -> list[str]:
    envelope = _envelope(request, call, "chat.completion.chunk")
    words = re.findall(r"\S+\s*", behaviour.message.get("content") or "")
    tool_calls = [{"index": at, **one} for at, one in enumerate(behaviour.message.get("tool_calls", []))]
    deltas: list[Request] = [{"role": "assistant", "content": word} for word in words]
    deltas += [{"role": "assistant", "tool_calls": [one]} for one in tool_calls]
    choices: list[list[Request]] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": behaviour.finish_reason}])
    chunks = [envelope | {"choices": choice} for choice in choices]
    chunks.append(envelope | {"choices": [], "usage": _usage(request, behaviour)})
    return [*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"]


def _envelope(request: Request, call: Call, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{call.number}",
        "object": kind,
        "created": int(call.started),
        "model": request.get("model"),
    }


def _usage(request: Request, behaviour: Behaviour) -> dict[str, Any]:
    prompt = sum(len(str(message.get("content")).split()) for message in request["messages"])
    words = len((behaviour.message.get("content") or "").split())
    completion = words + 5 * len(behaviour.message.get("tool_calls", [])) + (behaviour.reasoning or 0)
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if behaviour.cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": behaviour.cached}
    if behaviour.reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": behaviour.reasoning}
    return usage


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ModelServer(latency=given.latency, port=given.port, ledger_file=given.ledger) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
