"""The agent loop in a real worker, over real HTTP: what the server is sent says what the agent was told and offered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crewq import LLM, Crew, CrewOutput, Run, Task, errors
from crewq.agent import estimate
from crewq.agent.prompts import LAST_WORD, MARKDOWN, SUMMARISE
from crewq.agent.react import FEEDBACK
from crewq.agent.toolbox import RESULT_LIMIT
from crewq.events import CallFinished
from crewq.model import Message
from tests.integration import crews
from tests.integration.crews import agent
from tests.integration.worker_process import WorkerProcess
from tests.model_server import Behaviour, ModelServer, Request, calls, error, text, too_long

pytestmark = pytest.mark.usefixtures("fleet")


def ask(server: ModelServer, *, model: str = "openai/any", **fields: Any) -> Run:
    """An agent with those fields is asked something."""
    who = agent(LLM(model=model, base_url=server.url), **{"max_retry_limit": 0, "tools": [crews.add]} | fields)
    return Crew(tasks=[Task(description="Ask", expected_output="A number.", agent=who)]).kickoff_async()


def answered(server: ModelServer, **fields: Any) -> CrewOutput:
    return ask(server, **fields).result(20)


def sent(server: ModelServer) -> list[Request]:
    return [call.request for call in server.ledger]


def told_by_tools(request: Request) -> list[str]:
    return [message["content"] for message in request["messages"] if message["role"] == "tool"]


def last(request: Request) -> Message:
    message: Message = request["messages"][-1]
    return message


def sum_of(left: int, right: int) -> Any:
    return calls(("add", {"left": left, "right": right}))


# -- tools in words --------------------------------------------------------------------------------------------------

FENCED = 'Thought: I add.\n**Action:** ADD\nAction Input: ```json\n{"left": 1, "right": 2,}\n```\nObservation: 7\n'


def test_a_model_without_functions_is_spoken_to_in_words(model_server: ModelServer) -> None:
    model_server.enqueue(FENCED, "I know it now.", "final answer: Three, as I said.")
    output = answered(model_server, model="perplexity/sonar")
    assert output.raw == "Three, as I said."
    assert output.token_usage.successful_requests == 3
    first, second, third = sent(model_server)
    assert not any("tools" in request for request in (first, second, third))
    assert "- add: Add two numbers." in first["messages"][0]["content"]
    assert last(second) == {"role": "user", "content": "Observation: 3"}
    assert "7" not in second["messages"][-2]["content"], "what the model made up for the tool is gone"
    assert last(third) == {"role": "user", "content": FEEDBACK}


def test_a_provider_that_refuses_tools_is_spoken_to_in_words_from_then_on(model_server: ModelServer) -> None:
    model_server.enqueue(error(400, "any does not support tools"), FENCED, "Final Answer: Three.")
    assert answered(model_server).raw == "Three."
    offered, worded, third = sent(model_server)
    assert [one["function"]["name"] for one in offered["tools"]] == ["add"]
    assert "tools" not in worded
    assert worded["stop"] == ["\nObservation:"]
    assert last(third)["content"] == "Observation: 3"


# -- when it ends ----------------------------------------------------------------------------------------------------


def test_after_max_iter_the_tools_are_put_away_and_the_best_answer_is_asked_for(model_server: ModelServer) -> None:
    model_server.enqueue(sum_of(1, 2), sum_of(3, 4), "Three and seven.")
    assert answered(model_server, max_iter=2).raw == "Three and seven."
    assert ["tools" in request for request in sent(model_server)] == [True, True, False]
    final = sent(model_server)[2]["messages"]
    assert final[-1] == {"role": "user", "content": LAST_WORD}
    assert [message["content"] for message in final if "Result of the tool" in str(message["content"])] == [
        "Result of the tool add:\n3",
        "Result of the tool add:\n7",
    ]


def test_a_result_that_is_the_answer_ends_the_task(model_server: ModelServer) -> None:
    model_server.enqueue(calls(("verdict", {"text": "4"}), ("add", {"left": 1, "right": 2})))
    run = ask(model_server, tools=[crews.verdict, crews.add])
    assert run.result(20).raw == "It is so: 4"
    assert len(model_server.ledger) == 1, "the model is not asked again"
    used = [event.name for event in run.events() if isinstance(event, CallFinished) and event.kind == "tool"]
    assert used == ["verdict"], "and no tool is used after it"


def test_a_tool_is_used_as_often_as_it_may_be(fleet: WorkerProcess, model_server: ModelServer) -> None:
    notes(fleet).unlink(missing_ok=True)
    model_server.enqueue(calls(("draw_once", {"name": "ace"}), ("draw_once", {"name": "king"})), "One card.")
    assert answered(model_server, tools=[crews.draw_once, crews.add]).raw == "One card."
    got, refused = told_by_tools(sent(model_server)[1])
    assert got == "ace of hearts"
    assert "may be used once in a task, and was" in refused
    assert "The other tools: add." in refused
    assert notes(fleet).read_text().splitlines() == ["draw ace"]


def test_a_model_that_repeats_itself_is_told_so(fleet: WorkerProcess, model_server: ModelServer) -> None:
    notes(fleet).unlink(missing_ok=True)
    model_server.enqueue(*[sum_of(1, 2)] * 3, sum_of(2, 1), "Three.")
    assert answered(model_server).raw == "Three."
    first, again, third, other = told_by_tools(sent(model_server)[-1])
    assert (first, again, other) == ("3", "3", "3")
    assert "The tool add was not called again: you have just called it with these arguments" in third
    assert notes(fleet).read_text().splitlines() == ["add 1 2", "add 1 2", "add 2 1"]


def test_what_is_wrong_with_a_call_is_told_to_the_model(model_server: ModelServer) -> None:
    wrong = calls(
        ("nothing", {}), ("add", {"left": "one", "right": 2}), ("broken", {"reason": "no luck"}), ("ADD", {"left": 1})
    )
    model_server.enqueue(wrong, "I give up.")
    assert answered(model_server, tools=[crews.add, crews.broken]).raw == "I give up."
    unknown, misfit, failed, lacking = told_by_tools(sent(model_server)[1])
    assert unknown == "There is no tool called 'nothing'. The tools there are: add, broken."
    assert "left: Input should be a valid integer" in misfit
    assert "The tool broken failed: ValueError: no luck" in failed
    assert "right: Field required" in lacking


def test_tools_of_one_reply_are_at_work_at_the_same_time(model_server: ModelServer) -> None:
    """Each waits until the other is there: those that block in threads, those that await on the event loop."""
    names = ("meet", "meet", "meet_on_the_loop", "meet_on_the_loop")
    model_server.enqueue(calls(*((name, {"who": str(at)}) for at, name in enumerate(names))), "All met.")
    assert answered(model_server, tools=[crews.meet, crews.meet_on_the_loop]).raw == "All met."
    one, other, loop, same = told_by_tools(sent(model_server)[1])
    assert loop == same
    assert len({one, other, loop}) == 3


def test_tools_of_every_kind(model_server: ModelServer) -> None:
    wanted = [("prefix_it", {"text": "a"}), ("whisper", {"text": "LOUD"}), ("add", {"left": 1, "right": 2})]
    wanted += [("ask_around", {"question": "why"}), ("spell_out", {"text": "bee"})]
    model_server.enqueue(calls(*wanted), "Used.")
    tools = [crews.Prefix(prefix="##"), crews.Whisper(), crews.add, crews.ask_around, crews.spell]
    assert answered(model_server, tools=tools).raw == "Used."
    asked, told = sent(model_server)
    assert [one["function"]["name"] for one in asked["tools"]] == [name for name, _ in wanted]
    assert told_by_tools(told) == ["## a", "loud", "3", "Nobody knows why", "b-e-e"]


def test_a_result_is_used_again_where_the_crew_says_so(fleet: WorkerProcess, model_server: ModelServer) -> None:
    notes(fleet).unlink(missing_ok=True)
    model_server.enqueue(*[sum_of(1, 2), "Three."] * 2)
    who = agent(LLM(model="openai/any", base_url=model_server.url), tools=[crews.add])
    Crew(tasks=[Task(description=text, agent=who) for text in ("Ask", "Ask again")], cache=True).kickoff()
    assert [told_by_tools(request) for request in sent(model_server)] == [[], ["3"], [], ["3"]]
    assert notes(fleet).read_text().splitlines() == ["add 1 2"]


def test_calls_that_came_to_nothing_stand_with_the_output(model_server: ModelServer) -> None:
    wrong = calls(
        ("nothing", {}),
        ("add", {"left": "one", "right": 2}),
        ("broken", {"reason": "no luck"}),
        ("post", {"channel": "x"}),
    )
    model_server.enqueue(wrong, *[sum_of(1, 2)] * 3, "I give up.")
    run = ask(model_server, tools=[crews.add, crews.broken, crews.post])
    output = run.result(20)
    (done,) = output.tasks_output
    found = [(one.tool_name, one.failure.reason) for one in done.tool_failures]
    assert found == [
        ("nothing", "unknown_tool"),
        ("add", "invalid_input"),
        ("broken", "exception"),
        ("post", "exception"),
        ("add", "repeated_call"),
    ]
    assert (
        done.tool_failures[2].summary()
        == "Tool 'broken' failed during 'Ask': The tool broken failed: ValueError: no luck"
    )
    assert done.tool_failures[3].message == "The tool post failed: no such channel (code: channel_not_found)"
    assert json.loads(done.tool_failures[1].tool_args or "") == {"left": "one", "right": 2}
    assert {(one.agent_role, one.task_id) for one in output.tool_failures} == {("Tester", run.task_ids[0])}
    assert output.has_tool_failures
    assert done.effort.used_tools == {"broken": 1, "post": 1, "add": 2}
    assert not Run(run.id).result().to_dict()


def test_what_a_tool_asks_a_model_is_counted_with_its_task(model_server: ModelServer) -> None:
    model_server.enqueue(
        calls(("ask_a_model", {"question": "Why?", "url": model_server.url})), "Because.", "So that is why."
    )
    run = ask(model_server, tools=[crews.ask_a_model])
    output = run.result(20)
    assert output.raw == "So that is why."
    assert len(model_server.ledger) == output.token_usage.successful_requests == 3
    assert output.token_usage.cost > 0
    assert output.token_usage.unpriced_requests == 2, "of the agent's own, which nobody knows the price of"
    (used,) = (event.usage for event in run.events() if isinstance(event, CallFinished) and event.kind == "tool")
    assert used is not None
    assert used.completion_tokens == 1
    assert run.tasks[0].usage == run.record().usage == output.token_usage


def notes(worker: WorkerProcess) -> Path:
    return worker.output_dir.parent / "notes"


# -- a conversation that is too long ---------------------------------------------------------------------------------


def summarises(request: Request) -> Behaviour:
    return text("A dark night." if request["messages"][0]["content"] == SUMMARISE else "Ten in all.")


def test_a_conversation_that_the_provider_finds_too_long_is_summarised() -> None:
    """In pieces of what this one can be thought to read, as nobody knows its window."""
    with ModelServer(summarises) as server:
        server.enqueue(calls(("read_aloud", {"pages": 2})), sum_of(3, 4), too_long())
        output = answered(server, tools=[crews.read_aloud, crews.add])
    assert output.raw == "Ten in all."
    _, _, refused, *summaries, final = sent(server)
    assert len(summaries) > 1
    assert output.token_usage.successful_requests == 3 + len(summaries), "a summary is counted like any other call"
    told = "".join(summary["messages"][1]["content"] for summary in summaries)
    assert f"Result of the tool read_aloud:\n{crews.read_aloud.run(pages=2).strip()}" in told
    assert not any("tools" in summary for summary in summaries)
    assert final["messages"][:2] == refused["messages"][:2], "who it is and what it is to do stays as it was"
    assert final["messages"][2]["content"].endswith("\n\n".join(["A dark night."] * len(summaries)))
    assert told_by_tools(final) == ["7"], "and so does what came last"
    assert final["tools"] == refused["tools"]


def test_it_is_an_error_where_the_agent_says_so(model_server: ModelServer) -> None:
    model_server.enqueue(sum_of(1, 2), too_long())
    run = ask(model_server, respect_context_window=False)
    with pytest.raises(errors.RunFailed, match="maximum context length is 128 tokens") as caught:
        run.result(20)
    assert isinstance(caught.value.__cause__, errors.ContextTooLong)
    assert len(model_server.ledger) == 2
    assert run.status == "failed"


def test_a_conversation_is_summarised_before_it_is_too_long(model_server: ModelServer) -> None:
    """By count: the window of this model is 8,192 tokens, and no request that would pass it is sent."""
    pages = [calls(("read_aloud", {"pages": 6})), calls(("read_aloud", {"pages": 7}))]
    model_server.enqueue(*pages, "A night: dark, and stormy.", "It is about the weather.")
    assert answered(model_server, model="gpt-4", tools=[crews.read_aloud]).raw == "It is about the weather."
    summary, final = sent(model_server)[2:]
    assert summary["messages"][0]["content"] == SUMMARISE
    assert "A night: dark, and stormy." in final["messages"][2]["content"]
    assert max(estimate(request["messages"]) for request in sent(model_server)) < 8192


# -- words and dates -------------------------------------------------------------------------------------------------


def test_templates_and_the_date_reach_the_server(model_server: ModelServer) -> None:
    model_server.enqueue("Four. <|end|>")
    run = ask(
        model_server,
        system_template="<|system|>{{ .System }}<|end|>",
        prompt_template="<|user|>{{ .Prompt }}<|end|>",
        response_template="<|assistant|>{{ .Response }}<|end|>",
        inject_date=True,
        date_format="%d.%m.%Y",
    )
    assert run.result(20).raw == "Four.", "without what the template puts after an answer"
    system, user = sent(model_server)[0]["messages"]
    assert system["content"].startswith("<|system|>You are Tester.")
    assert system["content"].endswith("<|end|>")
    assert user["content"].startswith("<|user|>Your task:\nAsk")
    assert user["content"].endswith("<|end|>\n<|assistant|>")
    assert f"Today is {run.record().created:%d.%m.%Y}." in user["content"]


def test_an_agent_without_a_system_prompt_says_all_in_one_message(model_server: ModelServer) -> None:
    answered(model_server, use_system_prompt=False)
    (message,) = sent(model_server)[0]["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith("You are Tester.")
    assert "Your task:\nAsk" in message["content"]


def test_a_task_in_markdown_says_so(model_server: ModelServer) -> None:
    who = agent(LLM(model="openai/any", base_url=model_server.url))
    tasks = [Task(description="Ask", agent=who, markdown=markdown) for markdown in (False, True)]
    Crew(tasks=tasks).kickoff_async().result(20)
    assert [MARKDOWN in str(last(request)["content"]) for request in sent(model_server)] == [False, True]


# -- code of a model -------------------------------------------------------------------------------------------------

HOSTILE = [
    "import os\nprint(os.environ)",
    "print(open('/etc/passwd').read())",
    "import socket\nsocket.create_connection(('127.0.0.1', 80), 1)",
    "print(().__class__.__bases__[0].__subclasses__())",
    "print(len('a' * 10**10))",
]


def test_hostile_code_is_denied_and_the_run_goes_on(model_server: ModelServer) -> None:
    asked = [calls(("run_python", {"code": code})) for code in HOSTILE]
    model_server.enqueue(*asked, calls(("run_python", {"code": "6 * 7"})), "It is 42.")
    run = ask(model_server, tools=[], allow_code_execution=True, code_execution_mode="safe")
    output = run.result(60)
    assert output.raw == "It is 42."
    assert run.tasks[0].attempt == 1
    *denied, told = told_by_tools(sent(model_server)[-1])
    assert told == "42"
    assert len(denied) == len(HOSTILE)
    for code, what in zip(HOSTILE, denied, strict=True):
        assert "Error" in what, code
        assert "CREWQ_" not in what, "nothing of the worker's environment"
        assert "root:" not in what, "nor of its files"
    assert "MemoryError" in denied[-1]


def test_names_of_code_last_from_call_to_call_and_its_output_is_capped(model_server: ModelServer) -> None:
    codes = ["x = 20", "x + 1", "for at in range(100): print('x' * 10**5)"]
    model_server.enqueue(*[calls(("run_python", {"code": code})) for code in codes], "Done.")
    assert answered(model_server, tools=[], allow_code_execution=True).raw == "Done."
    _, kept, capped = told_by_tools(sent(model_server)[-1])
    assert kept == "21"
    assert len(capped) <= RESULT_LIMIT
