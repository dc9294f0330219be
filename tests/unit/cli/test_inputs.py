from __future__ import annotations

from pathlib import Path

import click
import pytest

from crewq import errors
from crewq.cli.inputs import read_inputs, read_pairs, read_texts


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_value_is_json_if_it_can_be_and_else_text() -> None:
    assert read_pairs(["a=1", "b=[25, 30]", "c=AI in 2026", 'd={"x": null}', "e=", "f=1=2", "g=01", "h=NaN"]) == {
        "a": 1,
        "b": [25, 30],
        "c": "AI in 2026",
        "d": {"x": None},
        "e": "",
        "f": "1=2",
        "g": "01",
        "h": "NaN",
    }


@pytest.mark.parametrize("pair", ["ages", "=5", " =5"])
def test_a_pair_without_a_name_or_a_value_is_refused(pair: str) -> None:
    with pytest.raises(click.BadParameter, match="not of the form name=value") as caught:
        read_pairs([pair])
    assert caught.value.exit_code == 2


def test_the_text_of_an_output_stays_text() -> None:
    assert read_texts(["research=[1, 2]", "report= a = b"], "--output") == {"research": "[1, 2]", "report": " a = b"}
    with pytest.raises(click.BadParameter):
        read_texts(["research"], "--output")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[{"topic": "AI", "n": "1"}, {"topic": "Ä", "n": "2"}]'),
        ("a.jsonl", '{"topic": "AI", "n": "1"}\n\n{"topic": "Ä", "n": "2"}\n'),
        ("a.csv", "topic,n\r\nAI,1\r\n\r\nÄ,2\r\n"),
        ("a.CSV", "\ufefftopic, n\nAI,1\nÄ,2"),
    ],
)
def test_a_list_in_a_file_is_a_list_of_inputs(tmp_path: Path, name: str, text: str) -> None:
    file = _file(tmp_path, name, text)
    assert read_inputs([], file) == [{"topic": "AI", "n": "1"}, {"topic": "Ä", "n": "2"}]


def test_an_object_in_a_file_is_the_inputs_of_one_run(tmp_path: Path) -> None:
    assert read_inputs(["n=2"], _file(tmp_path, "a.json", '{"topic": "AI", "n": 1}')) == {"topic": "AI", "n": 2}


def test_pairs_are_added_to_every_row(tmp_path: Path) -> None:
    file = _file(tmp_path, "a.csv", "topic\nAI\nML\n")
    assert read_inputs(["year=2026"], file) == [{"topic": "AI", "year": 2026}, {"topic": "ML", "year": 2026}]


def test_a_value_of_a_csv_file_may_hold_lines_and_commas(tmp_path: Path) -> None:
    file = _file(tmp_path, "a.csv", 'topic,note\nAI,"one,\ntwo\u2028three"\n')
    assert read_inputs([], file) == [{"topic": "AI", "note": "one,\ntwo\u2028three"}]


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("a.jsonl", '{"a": 1}\n\n{"a": \n', 3, "it is not JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', 2, "not a JSON object"),
        ("a.jsonl", '{"a": NaN}\n', 1, "it is not JSON"),
        ("a.json", '{\n"a": 1,\n}\n', 3, "it is not JSON"),
        ("a.csv", "a,b\n1,2\n1\n", 3, "it has 1 values, and the header names 2"),
        ("a.csv", "a,b\n1,2,3\n", 2, "it has 3 values, and the header names 2"),
        ("a.csv", 'a\n"x" y\n', 2, "it is not CSV"),
        ("a.csv", "a,,b\n", 1, "has no name"),
        ("a.csv", "a,b,a\n", 1, "'a' is there twice"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, name: str, text: str, line: int, reason: str) -> None:
    file = _file(tmp_path, name, text)
    with pytest.raises(errors.InputFileBroken) as caught:
        read_inputs([], file)
    assert caught.value.facts["line"] == line
    assert str(file) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.txt", "hello", "'.txt' is not known"),
        ("inputs", "{}", "a name without an ending"),
        ("a.json", "[]", "it holds no inputs"),
        ("a.json", "3", "an object, or a list of objects"),
        ("a.json", '[{"a": 1}, 2]', "item 2 of its list"),
        ("a.jsonl", "\n\n", "it holds no inputs"),
        ("a.csv", "", "must name the columns"),
        ("a.csv", "a,b\n", "it holds no inputs"),
    ],
)
def test_a_file_that_holds_no_inputs_says_why(tmp_path: Path, name: str, text: str, reason: str) -> None:
    with pytest.raises(errors.InputFileUnusable) as caught:
        read_inputs([], _file(tmp_path, name, text))
    assert reason in str(caught.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(errors.InputFileUnusable, match="No such file"):
        read_inputs([], tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(errors.InputFileUnusable, match="not UTF-8"):
        read_inputs([], tmp_path / "a.csv")
