"""Spans of OpenTelemetry: one trace from the kickoff through every job, in the process of the kickoff and in others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crewq import Crew, Task, errors
from crewq.server import Server
from crewq.testing import call
from tests.integration.conftest import StartWorker
from tests.integration.crews import Echo, add, agent, scripted
from tests.integration.worker_process import WorkerProcess, environment

SECRET = "TOP-SECRET-7391"

# A program that traces by itself, in embedded mode: the kickoff and the worker are in one process, on threads of its own.
PROGRAM = """
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)

from crewq import Crew, Task
from crewq.producer import disconnect
from crewq.testing import call
from tests.integration.crews import add, agent, scripted

llm = scripted(call("add", left=1, right=2), "Three, SECRET.", "SECRET indeed.")
who = agent(llm, tools=[add])
tasks = [Task(name="sum", description="Ask SECRET", agent=who), Task(name="say", description="Say", agent=who)]
with trace.get_tracer("mine").start_as_current_span("request") as request:
    crew = Crew(name="counters", tasks=tasks)
    run = crew.kickoff_async()
    run.result(30)
again = crew.replay(run.task_ids[1])
crew.kickoff_for_each([{"at": at} for at in range(2)])
disconnect()
print(json.dumps([json.loads(span.to_json()) for span in kept.get_finished_spans()]))
""".replace("SECRET", SECRET)


def named(spans: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [span for span in spans if span["name"] == name]


def trace_of(span: dict[str, Any]) -> str:
    return str(span["context"]["trace_id"])


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, list[dict[str, Any]]]:
    """What the program traced: as it is, and where contents are asked for."""
    folder = tmp_path_factory.mktemp("tracing")
    (folder / "program.py").write_text(PROGRAM)

    def run(**env: str) -> list[dict[str, Any]]:
        command = [sys.executable, "program.py"]
        own = environment(CREWQ_NOTES=str(folder / "notes"), **env)
        done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
        return found

    return {False: run(), True: run(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true")}


def test_a_run_is_one_trace_from_whoever_kicked_it_off(spans: dict[bool, list[dict[str, Any]]]) -> None:
    found = spans[False]
    (request,) = named(found, "request")
    trace = [span for span in found if trace_of(span) == trace_of(request)]
    (kickoff,) = named(trace, "invoke_workflow counters")
    assert kickoff["parent_id"] == request["context"]["span_id"]
    attempts = named(trace, "invoke_agent Tester")
    assert [span["attributes"]["crewq.task.name"] for span in attempts] == ["sum", "say"]
    assert {span["parent_id"] for span in attempts} == {kickoff["context"]["span_id"]}
    assert {span["attributes"]["gen_ai.conversation.id"] for span in attempts} == {
        kickoff["attributes"]["gen_ai.conversation.id"]
    }
    of_first = [span for span in trace if span["parent_id"] == attempts[0]["context"]["span_id"]]
    assert [span["name"] for span in sorted(of_first, key=lambda span: span["start_time"])] == [
        "chat scripted",
        "execute_tool add",
        "chat scripted",
    ]
    (tool,) = named(of_first, "execute_tool add")
    assert tool["attributes"] == {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "add"}
    assert {(span["kind"], span["attributes"]["gen_ai.operation.name"]) for span in named(trace, "chat scripted")} == {
        ("SpanKind.CLIENT", "chat")
    }
    assert {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"} <= set(of_first[0]["attributes"]) | set(
        of_first[-1]["attributes"]
    )


def test_a_replay_has_a_trace_of_its_own_outside_of_any_request(spans: dict[bool, list[dict[str, Any]]]) -> None:
    kickoffs = named(spans[False], "invoke_workflow counters")
    assert len({trace_of(span) for span in kickoffs}) == len(kickoffs) == 3
    replayed = [span for span in spans[False] if trace_of(span) == trace_of(kickoffs[1])]
    assert [span["attributes"]["crewq.task.name"] for span in named(replayed, "invoke_agent Tester")] == ["say"]


def test_the_runs_of_a_batch_have_traces_of_their_own_that_are_linked_with_its_kickoff(
    spans: dict[bool, list[dict[str, Any]]],
) -> None:
    batch = named(spans[False], "invoke_workflow counters")[2]
    assert "crewq.batch.id" in batch["attributes"]
    linked = [
        span
        for span in named(spans[False], "invoke_agent Tester")
        if [link["context"]["span_id"] for link in span["links"]] == [batch["context"]["span_id"]]
    ]
    assert len(linked) == 4
    assert len({trace_of(span) for span in linked}) == 2


def test_what_is_said_is_in_no_span_unless_somebody_asks_for_it(spans: dict[bool, list[dict[str, Any]]]) -> None:
    assert SECRET not in json.dumps(spans[False])
    told = named(spans[True], "chat scripted")[0]["attributes"]
    assert SECRET in told["gen_ai.input.messages"]
    assert json.loads(told["gen_ai.output.messages"])[0]["tool_calls"][0]["name"] == "add"
    tool = named(spans[True], "execute_tool add")[0]["attributes"]
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"left": 1, "right": 2}
    assert tool["gen_ai.tool.call.result"] == "3"


def told(worker: WorkerProcess) -> list[dict[str, Any]]:
    """The spans in a worker's log: each a JSON object of several lines."""
    decoder, text, found = json.JSONDecoder(), worker.log, []
    at = text.find("{\n")
    while at >= 0:
        span, end = decoder.raw_decode(text, at)
        found.append(span)
        at = text.find("{\n", end)
    return found


def test_a_run_that_nobody_traced_before_is_one_trace_over_several_workers(
    own_redis: Server, start_worker: StartWorker
) -> None:
    console = {"OTEL_TRACES_EXPORTER": "console", "CREWQ_CONCURRENCY": "1"}
    workers = [start_worker(own_redis.url, **console).ready(), start_worker(own_redis.url, **console).ready()]
    llm = scripted(call("add", left=1, right=2), "Three.")
    crew = Crew(
        name="both",
        tasks=[
            Task(name="sum", description="Sum", agent=agent(llm, tools=[add])),
            Task(name="break", description="poison", agent=agent(Echo(poison="poison"), max_retry_limit=0)),
        ],
    )
    run = crew.kickoff_async()
    with pytest.raises(errors.RunFailed):
        run.result(30)
    for worker in workers:
        worker.terminate()
        worker.exit_status()
    found = [span for worker in workers for span in told(worker)]
    assert {trace_of(span) for span in found} == {"0x" + run.id.replace("-", "")}
    attempts = {span["attributes"]["crewq.task.name"]: span for span in named(found, "invoke_agent Tester")}
    assert (attempts["sum"]["status"]["status_code"], attempts["break"]["status"]["status_code"]) == ("UNSET", "ERROR")
    assert attempts["break"]["attributes"]["error.type"]
    assert named(found, "execute_tool add")


def test_a_worker_says_what_it_lacks(own_redis: Server, start_worker: StartWorker) -> None:
    worker = start_worker(own_redis.url, OTEL_TRACES_EXPORTER="zipkin")
    assert worker.exit_status() == 1
    assert "OTEL_TRACES_EXPORTER" in worker.log
    assert "Traceback" not in worker.log


def test_without_opentelemetry_nothing_is_amiss(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = sys.modules['opentelemetry.trace'] = None\n"
        "from crewq import Crew, Task\nfrom tests.integration.crews import agent\n"
        "print(Crew(tasks=[Task(description='Hi', agent=agent())]).kickoff().raw)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Hi" in done.stdout
