"""The text protocol: what models really write, and what it is taken to mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crewq.agent.react import FEEDBACK, Text, parse
from tests.unit.agent.fakes import search

ARGUMENTS = {"query": "crews"}

CALLS: dict[str, str] = {
    "by the book": 'Thought: I must look.\nAction: search\nAction Input: {"query": "crews"}',
    "no thought": 'Action: search\nAction Input: {"query": "crews"}',
    "another case": 'action: Search\naction input: {"query": "crews"}',
    "on one line": 'Thought: go. \nAction: search Action Input: {"query": "crews"}',
    "decorated": '**Thought:** go\n**Action:** `search`\n**Action Input:** {"query": "crews"}',
    "in a list": '- Action: search\n- Action Input: {"query": "crews"}',
    "numbered": 'Action 1: search\nAction 1 Input: {"query": "crews"}',
    "called": 'Action: search()\nAction Input: {"query": "crews"}',
    "in brackets": 'Action: [search]\nAction Input: {"query": "crews"}',
    "fenced": 'Action: search\nAction Input:\n```json\n{"query": "crews"}\n```',
    "trailing words": 'Action: search\nAction Input: {"query": "crews"}\nNow I wait for the observation.',
    "made-up result": 'Action: search\nAction Input: {"query": "crews"}\nObservation: there are 3\nFinal Answer: 3',
    "two actions": 'Action: search\nAction Input: {"query": "crews"}\nAction: search\nAction Input: {"query": "more"}',
    "single quotes": "Action: search\nAction Input: {'query': 'crews'}",
    "trailing comma": 'Action: search\nAction Input: {"query": "crews",}',
    "unclosed": 'Action: search\nAction Input: {"query": "crews"',
    "bare key": 'Action: search\nAction Input: {query: "crews"}',
    "call as JSON": '{"action": "search", "action_input": {"query": "crews"}}',
    "call as fenced JSON": 'I will search.\n```json\n{"name": "search", "arguments": {"query": "crews"}}\n```',
    "call in tags": '<tool_call>\n{"name": "search", "arguments": {"query": "crews"}}\n</tool_call>',
    "arguments as a string": '{"name": "search", "arguments": "{\\"query\\": \\"crews\\"}"}',
}


@pytest.mark.parametrize("text", CALLS.values(), ids=CALLS)
def test_a_call_is_understood(text: str) -> None:
    reply = parse(text)
    assert (reply.answer, reply.problem) == ("", None)
    assert [call.name.lower() for call in reply.calls] == ["search"]
    assert json.loads(reply.calls[0].arguments) == ARGUMENTS


ANSWERS: dict[str, tuple[str, str]] = {
    "by the book": ("Thought: I know.\nFinal Answer: four", "four"),
    "several lines": ("Final Answer:\n# Crews\n\nfour", "# Crews\n\nfour"),
    "another case": ("final answer: four", "four"),
    "decorated": ("**Final Answer:** four", "four"),
    "a heading": ("## Final Answer: four", "four"),
    "within a line": ("I am sure now. Final Answer: four", "four"),
    "wins over an action": ('Action: search\nAction Input: {"query": "x"}\nFinal Answer: four', "four"),
    "has an observation": (
        "Final Answer: four\nAction: none\nObservation: it rained",
        "four\nAction: none\nObservation: it rained",
    ),
    "nothing": ("Final Answer:", ""),
}


@pytest.mark.parametrize(("text", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_understood(text: str, answer: str) -> None:
    reply = parse(text)
    assert (reply.answer, reply.calls, reply.problem) == (answer, (), None)


MALFORMED: dict[str, str] = {
    "prose": "Let me think about that.",
    "a thought": "Thought: I should search.",
    "prose with the words": "Thought: before I give a final answer: should I search?",
    "other JSON": '{"crews": 4}',
    "a list": '["search"]',
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_reply_in_neither_form_is_a_problem(text: str) -> None:
    reply = parse(text)
    assert (reply.answer, reply.calls, reply.problem) == ("", (), FEEDBACK)


def test_nothing_at_all_is_an_empty_answer() -> None:
    assert parse(" \n") == parse("")
    assert parse("").problem is None


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("Action: search", ""),
        ("Action: search\nAction Input:", ""),
        ("Action: search\nAction Input: crews", "crews"),
        ("Action: search\nAction Input: none", "none"),
    ],
)
def test_arguments_that_are_no_json_are_left_for_the_toolbox_to_judge(text: str, arguments: str) -> None:
    assert parse(text).calls[0].arguments == arguments


def test_a_call_that_was_cut_off_is_not_mended_into_another_one() -> None:
    text = 'Action: write\nAction Input: {"path": "a.txt", "content": "the first half of'
    assert json.loads(parse(text).calls[0].arguments)["path"] == "a.txt"
    with pytest.raises(json.JSONDecodeError):
        json.loads(parse(text, cut_off=True).calls[0].arguments)


def test_the_thought_is_kept_and_the_made_up_result_is_not() -> None:
    reply = parse(CALLS["by the book"] + "\nObservation: I made this up.\nThought: so\nFinal Answer: 3")
    assert reply.thought == "I must look."
    assert "made this up" not in reply.said
    assert reply.answer == ""


def test_the_protocol_lists_the_tools_with_their_schemas() -> None:
    schema: dict[str, Any] = search.schema_for_model()
    text = Text().protocol([schema])
    assert "- search: Look something up." in text
    assert json.dumps(schema["function"]["parameters"]) in text
    for word in ("Thought:", "Action:", "Action Input:", "Observation:", "Final Answer:"):
        assert word in text
