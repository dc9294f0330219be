"""JSON as models write it: what is read, what is mended, and what is too much."""

from __future__ import annotations

import time

import pytest

from crewq.agent.json_text import DEEPEST, LONGEST_MENDED, decoded, first_value, mended
from crewq.agent.react import parse
from crewq.agent.review import fitting

ENDLESS = "[" * 200_000


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_what_is_json_is_read() -> None:
    assert decoded('{"a": [1, "[[[["]}') == {"a": [1, "[[[["]}
    assert decoded(nested(DEEPEST)) is not None
    assert decoded(f'"{ENDLESS}"') == ENDLESS, "brackets in a text are no depth"
    assert decoded('"' + r"\"[" * 200 + '"') == '"[' * 200
    assert first_value('so: {"a": 1} and more', 4) == '{"a": 1}'


@pytest.mark.parametrize("text", [nested(DEEPEST + 1), nested(5000), ENDLESS, '{"a":' * 3000 + "1" + "}" * 3000])
def test_what_is_nested_without_end_is_no_json(text: str) -> None:
    for read in (decoded, lambda text: first_value(text, 0)):
        with pytest.raises(ValueError, match=f"nested more than {DEEPEST} deep"):
            read(text)
    assert mended(text) is None


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_python_takes_for_json_and_others_do_not(constant: str) -> None:
    with pytest.raises(ValueError, match=f"{constant} is no value of JSON"):
        decoded(f'{{"a": {constant}}}')


def test_what_is_nearly_json_is_mended() -> None:
    assert mended("{'a': 1,") == {"a": 1}
    assert mended("nothing of the kind") is None
    assert mended('{"a": "' + "x" * LONGEST_MENDED) is None


@pytest.mark.parametrize(
    "text",
    [
        "{" * 100_000,
        'Action: add\nAction Input: {"left": "' + "x" * 10_000_000,
        "Action: add\n" * 100_000,
        "```" + "\n" * 100_000,
        "```json\n" * 100_000,
        '{"' * 200_000,
        r'{"a": "' + r"\"[" * 200_000,
    ],
    ids=["braces", "10 MB", "actions", "an open fence", "fences", "quotes", "escapes"],
)
def test_no_reply_holds_a_worker_up(text: str) -> None:
    begun = time.perf_counter()
    parse(text)
    assert fitting(text, {"type": "object", "required": ["b"]})[1]
    assert time.perf_counter() - begun < 8  # it was minutes
