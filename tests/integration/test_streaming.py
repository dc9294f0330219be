"""Streaming, from a model server over HTTP through a real worker: what is read, by whom, and what a crash leaves of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from crewq import LLM, Crew, CrewStreamingOutput, Run, StreamChunk, Task, errors
from crewq.events import Token
from crewq.server import Server
from crewq.stream import StreamChunkType
from tests.integration.conftest import StartWorker
from tests.integration.crews import Echo, add, agent, crew
from tests.integration.worker_process import ROOT, WorkerProcess, environment
from tests.model_server import ModelServer, calls, ends_early, error, stalled, text

STORY = "Once upon a time there was a queue, and in it stood a task that waited for its worker."


def stories(server: ModelServer, *descriptions: str, **fields: object) -> Crew:
    """A crew that streams, of one task after the other."""
    return told(crew(*descriptions or ("Tell a story.",), llm=LLM(model="openai/any", base_url=server.url)), **fields)


def told(work: Crew, **fields: object) -> Crew:
    for name, value in {"stream": True, **fields}.items():
        setattr(work, name, value)
    return work


def streamed(work: Crew) -> CrewStreamingOutput:
    output: object = work.kickoff()
    assert isinstance(output, CrewStreamingOutput)
    return output


def said(chunks: list[StreamChunk]) -> str:
    return "".join(chunk.content for chunk in chunks if chunk.chunk_type == StreamChunkType.TEXT)


def tokens(run: Run) -> list[Token]:
    return [event for event in run.events() if isinstance(event, Token)]


# -- reading ---------------------------------------------------------------------------------------------------------


def test_what_a_model_says_comes_as_chunks(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(STORY, "The end.")
    stream = streamed(stories(model_server, "Tell a story.", "End it."))
    with pytest.raises(RuntimeError, match="has not been read to its end"):
        _ = stream.result
    chunks = list(stream)
    assert said(chunks) == stream.get_full_text() == f"{STORY}The end."
    assert stream.result.raw == "The end."
    assert stream.is_completed
    assert not stream.is_cancelled
    about = [(chunk.task_index, chunk.task_name, chunk.task_id, chunk.agent_role) for chunk in chunks]
    ids = stream.run.task_ids
    assert list(dict.fromkeys(about)) == [(0, "a", ids[0], "Tester"), (1, "b", ids[1], "Tester")]
    assert chunks == stream.chunks
    assert stream.results == [stream.result]
    assert {chunk.agent_id for chunk in chunks} == {"Tester"}
    assert [bool(call.request.get("stream")) for call in model_server.ledger] == [True, True]
    assert stream.result.token_usage.successful_requests == 2
    assert stream.result.token_usage.completion_tokens == len(STORY.split()) + 2


def test_crewais_own_way_to_read_it_asynchronously(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(STORY)

    async def read() -> tuple[str, str]:
        streaming = await stories(model_server).kickoff_async()
        pieces = [chunk.content async for chunk in streaming]  # type: ignore[attr-defined]
        return "".join(pieces), streaming.result.raw

    assert asyncio.run(read()) == (STORY, STORY)


def test_the_text_comes_while_the_model_still_speaks(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(stalled(STORY))
    stream = streamed(stories(model_server))
    first = next(iter(stream))
    assert first.content
    assert STORY.startswith(first.content)
    assert model_server.ledger[0].ended is None
    assert stream.run.status == "running"
    stream.run.cancel()
    with pytest.raises(errors.RunCancelled):
        list(stream)
    assert stream.is_completed
    with pytest.raises(errors.RunCancelled):
        _ = stream.result


def test_tools_that_a_model_calls_are_chunks_too(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(calls(("add", {"left": 2, "right": 3})), "It is 5.")
    who = agent(LLM(model="openai/any", base_url=model_server.url), tools=[add])
    stream = streamed(Crew(agents=[who], tasks=[Task(description="Add.", agent=who)], stream=True))
    kinds = [chunk.chunk_type for chunk in stream]
    assert kinds[0] == "tool_call"
    assert set(kinds[1:]) == {"text"}
    tool = stream.chunks[0].tool_call
    assert tool is not None
    assert (tool.tool_name, tool.arguments) == ("add", '{"left": 2, "right": 3}')
    assert stream.get_full_text() == "It is 5."


def test_what_a_model_is_asked_besides_is_not_told(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(STORY, '{"accepted": true, "feedback": ""}')
    work = stories(model_server)
    work.tasks[0].guardrail = "It is a story."
    stream = streamed(work)
    assert said(list(stream)) == STORY
    assert [call.status for call in model_server.ledger] == [200, 200]


def test_a_model_that_does_not_stream_is_one_chunk(fleet: WorkerProcess) -> None:
    stream = streamed(told(crew("Say a")))
    assert len(list(stream)) == 1
    assert stream.chunks[0].content == stream.result.raw


def test_a_fast_model_costs_no_write_for_each_token(fleet: WorkerProcess, model_server: ModelServer) -> None:
    long = " ".join(str(at) for at in range(3000))
    model_server.enqueue(long)
    stream = streamed(stories(model_server))
    assert said(list(stream)) == long
    assert len(tokens(stream.run)) < 100


def test_a_crew_that_does_not_stream_tells_nothing(fleet: WorkerProcess, model_server: ModelServer) -> None:
    run = told(stories(model_server), stream=False).kickoff_async()
    assert run.result(20).raw.startswith("Answer to:")
    assert tokens(run) == []
    assert not model_server.ledger[0].request.get("stream")


def test_a_run_that_fails_says_so_at_the_end_of_the_stream(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(text("Well begun."), error(400, "no more"))
    stream = streamed(stories(model_server, "Begin.", "Go on."))
    with pytest.raises(errors.RunFailed, match="no more"):
        list(stream)
    assert stream.get_full_text() == "Well begun."


def test_who_stops_to_listen_goes_on_later(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(STORY, "The end.")
    stream = streamed(stories(model_server, "Tell a story.", "End it."))
    for _chunk in stream:
        break
    assert len(stream.chunks) == 1
    list(stream)
    assert stream.get_full_text() == f"{STORY}The end."
    closed = CrewStreamingOutput(stream.run)
    for _chunk in closed:
        closed.close()
    assert closed.is_cancelled
    assert len(closed.chunks) == 1


READER = """
import sys
from crewq import CrewStreamingOutput, Run
stream = CrewStreamingOutput(Run(sys.argv[1]), after=sys.argv[2])
for chunk in stream:
    print(chunk, end="")
print("|", stream.result.raw)
"""


def test_another_process_goes_on_from_the_last_chunk_read(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(STORY, "The end.")
    stream = streamed(stories(model_server, "Tell a story.", "End it."))
    first = next(iter(stream))
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    command = [sys.executable, "-c", READER, stream.run.id, first.id]
    rest = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert rest.returncode == 0, rest.stderr
    assert f"{first.content}{rest.stdout}" == f"{STORY}The end.| The end.\n"


def test_a_command_follows_tokens_tools_and_tasks_live(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(calls(("add", {"left": 2, "right": 3})), stalled(STORY))
    who = agent(LLM(model="openai/any", base_url=model_server.url), tools=[add])
    run = Crew(tasks=[Task(name="a", description="Add.", agent=who)], stream=True).start()
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    command = [sys.executable, "-m", "crewq", "watch", run.id, "--json"]
    with subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        told = (json.loads(line) for line in watching.stdout)
        before = []
        for event in told:
            before.append(event)
            if event["type"] == "token" and not event["tool"]:
                break
        assert model_server.ledger[1].ended is None, "the model still speaks"
        run.cancel()
        after = list(told)
        assert watching.wait(20) == 1
    assert STORY.startswith(before[-1]["text"])
    assert [one["tool"] for one in before if one["type"] == "token"] == ["add", ""]
    kinds = [one["type"] for one in before if one["type"] != "token"]
    assert kinds[:3] == ["run_queued", "run_started", "task_started"]
    assert [one["name"] for one in before if one["type"] == "call_finished"] == ["openai/any", "add"]
    assert after[-1]["type"] == "run_cancelled"


def test_a_batch_streams_each_of_its_runs(fleet: WorkerProcess) -> None:
    batch = told(crew("Say {x}")).kickoff_for_each_async([{"x": 1}, {"x": 2}])
    assert len(batch.results(20)) == 2
    assert ["Say 1" in said(list(CrewStreamingOutput(run))) for run in batch.runs] == [True, False]


# -- what breaks -----------------------------------------------------------------------------------------------------


def test_a_stream_that_breaks_off_begins_anew_and_says_so(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue(ends_early("words that will be forgotten"), STORY)
    stream = streamed(stories(model_server))
    chunks = list(stream)
    broken = chunks[0].content == "words that "  # else it was tried again before anybody was told
    assert [chunk.chunk_type == "restart" for chunk in chunks].count(True) == int(broken)
    assert said(chunks) == ("words that " if broken else "") + STORY
    assert stream.get_full_text() == stream.result.raw == STORY


def _until(stream: CrewStreamingOutput, words: str) -> Iterator[StreamChunk]:
    for chunk in stream:
        yield chunk
        if words in stream.get_full_text():
            return


def test_a_crash_in_the_middle_of_a_stream(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer
) -> None:
    first = start_worker(own_redis.url).ready()
    thought = calls(("add", {"left": 2, "right": 3}))
    thought.message["content"] = "First I add."
    model_server.enqueue("Here is the beginning.", thought, stalled(STORY))
    who = agent(LLM(model="openai/any", base_url=model_server.url), tools=[add])
    tasks = [Task(name=name, description=f"Tell {name}.", agent=who) for name in ("a", "b")]
    stream = streamed(Crew(agents=[who], tasks=tasks, stream=True))
    before = list(_until(stream, "Once upon"))
    first.kill()
    model_server.ledger.wait_for(lambda made: made[-1].ended is not None)
    model_server.enqueue(STORY)
    start_worker(own_redis.url).ready()
    after = list(stream)
    assert [chunk.chunk_type.value for chunk in after].count("restart") == 1
    assert stream.get_full_text() == f"Here is the beginning.First I add.{STORY}"
    assert said(before).startswith("Here is the beginning.First I add.Once upon")
    assert said(after).endswith(STORY)
    assert stream.result.raw == STORY
    _check_what_the_crash_left(stream, model_server)


def _check_what_the_crash_left(stream: CrewStreamingOutput, model_server: ModelServer) -> None:
    assert [call.status for call in model_server.ledger] == [200, 200, None, 200], "no finished call was made again"
    again = [token for token in tokens(stream.run) if token.task == 1 and token.attempt == 2]
    assert next(token.text for token in again if not token.tool) == "First I add.", "from the journal, in one piece"
    places = [tuple(map(int, chunk.id.split("-"))) for chunk in stream.chunks]
    assert places == sorted(places)
    late = CrewStreamingOutput(stream.run)
    assert Counter(chunk.chunk_type.value for chunk in late)["restart"] == 1
    assert late.get_full_text() == stream.get_full_text()
    assert [task.repeated for task in stream.run.tasks] == [0, 1]


def test_nobody_has_to_listen(fleet: WorkerProcess) -> None:
    run = told(crew("Say {x}", llm=Echo(latency=0.1))).start({"x": "all"})
    assert "Say all" in run.result(20).raw
    assert "Say all" in said(list(CrewStreamingOutput(run)))
