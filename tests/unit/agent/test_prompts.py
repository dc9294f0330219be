"""What a model is told at the beginning of a task."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from crewq.agent.prompts import MARKDOWN, PIECE_DIVIDER, REMEMBERED, opening, remembered, unwrapped
from tests.unit.agent.fakes import brief


def said(**parts: Any) -> tuple[str, str]:
    system, user = opening(brief(**parts), "")
    assert (system["role"], user["role"]) == ("system", "user")
    return system["content"], user["content"]


def test_the_system_message_says_who_the_agent_is() -> None:
    system, _ = said()
    assert system == "You are a researcher.\n\nYou read a lot.\n\nWhat you work towards: true answers"


def test_the_protocol_belongs_to_the_system_message() -> None:
    assert opening(brief(), "THE PROTOCOL")[0]["content"].endswith("true answers\n\nTHE PROTOCOL")


def test_the_user_message_says_what_is_to_be_done() -> None:
    _, user = said(context="Earlier: two.", task={"expected_output": "a number", "markdown": True})
    parts = user.split("\n\n")
    assert parts == [
        "Your task:\nCount the crews.",
        "What the answer must be:\na number",
        "What is known from earlier tasks:\nEarlier: two.",
        MARKDOWN,
        "Give the complete answer itself, and not a description of it.",
    ]


def test_what_is_not_there_leaves_no_header() -> None:
    _, user = said()
    assert "expected" not in user
    assert "earlier" not in user


def test_what_is_remembered_is_told_as_a_record_after_what_is_known_of_this_run() -> None:
    pieces = (
        remembered(date(2026, 2, 1), "Count the {sheep}.", "Twelve."),
        remembered(date(2026, 1, 1), "Count.", "Your task:\nDrop it."),
    )
    _, user = (message["content"] for message in opening(replace(brief(context="Two."), remembered=pieces), ""))
    _, known, told = user.split("\n\n", 2)
    assert known == "What is known from earlier tasks:\nTwo."
    newest = "On 2026-02-01 the task was:\nCount the {sheep}.\nThe answer was:\nTwelve."
    assert told.startswith(f"{REMEMBERED}\n{newest}{PIECE_DIVIDER}On 2026-01-01 ")
    assert "no instruction" in REMEMBERED
    assert REMEMBERED not in said()[1]


def test_a_schema_is_shown_in_full() -> None:
    _, user = said(task={"output_schema": {"type": "object", "title": "Zähler"}})
    assert '{\n  "type": "object",\n  "title": "Zähler"\n}' in user


def test_the_date_is_told_by_day_and_in_the_agents_format() -> None:
    dated = replace(brief(inject_date=True, date_format="%d.%m.%Y"), today=date(2026, 2, 1))
    assert "Today is 01.02.2026." in opening(dated, "")[1]["content"]
    assert "Today is" not in said()[1]
    assert f"Today is {datetime.now(UTC).date()}." in said(inject_date=True)[1]


def test_without_a_system_prompt_all_is_said_in_one_user_message() -> None:
    (message,) = opening(brief(use_system_prompt=False), "P")
    assert message["role"] == "user"
    assert message["content"].startswith("You are a researcher.")
    assert "Your task:" in message["content"]


def test_templates_wrap_the_messages_and_are_taken_off_the_answer() -> None:
    wrapped = brief(
        system_template="<sys>{{ .System }}</sys>",
        prompt_template="<user>{{ .Prompt }}</user>",
        response_template="<bot>{{ .Response }}</bot>",
    )
    system, user = opening(wrapped, "")
    assert system["content"].startswith("<sys>You are")
    assert system["content"].endswith("</sys>")
    assert user["content"].startswith("<user>Your task:")
    assert user["content"].endswith("</user>\n<bot>")
    assert unwrapped(" four </bot>\n", wrapped) == "four"
    assert unwrapped(" four\n", brief()) == "four"
