"""Output files: below the output directory, whole or not at all."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crewq import errors
from crewq.output_files import write_output
from crewq.outputs import TaskOutput
from crewq.template import interpolate

TEXT = TaskOutput(raw="Zürich 🦀")


def files(base: Path) -> list[str]:
    return sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["a.txt", "sub/deep/a.txt", "./a.txt", "sub/../a.txt", "..a", "a..b", "~", "a b.txt"])
def test_a_file_below_the_base_is_written(tmp_path: Path, name: str) -> None:
    path = write_output(tmp_path, name, TEXT, create_directory=True)
    assert path.read_text(encoding="utf-8") == "Zürich 🦀"
    assert path.is_relative_to(tmp_path.resolve())
    assert len(files(tmp_path)) == 1


def test_a_leading_slash_is_dropped(tmp_path: Path) -> None:
    assert write_output(tmp_path, "/etc/passwd", TEXT, True) == tmp_path.resolve() / "etc/passwd"
    assert write_output(tmp_path, "//x", TEXT, True) == tmp_path.resolve() / "x"


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/../x", ".", "", "/", "a/..", "../base2/x", "x\0y"])
def test_a_file_outside_the_base_is_refused(tmp_path: Path, name: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    with pytest.raises(errors.OutputFileRefused):
        write_output(base, name, TEXT, True)
    assert files(tmp_path) == []


def test_what_is_interpolated_into_a_name_does_not_get_out(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    with pytest.raises(errors.OutputFileRefused):
        write_output(base, interpolate("{x}.txt", {"x": "../../p"}), TEXT, True)
    assert files(tmp_path) == []


def test_a_link_out_of_the_base_is_refused(tmp_path: Path) -> None:
    base, outside = tmp_path / "base", tmp_path / "outside"
    base.mkdir()
    outside.mkdir()
    (outside / "file").write_text("theirs")
    (base / "directory").symlink_to(outside)
    (base / "file").symlink_to(outside / "file")
    for name in ("directory/x", "file"):
        with pytest.raises(errors.OutputFileRefused):
            write_output(base, name, TEXT, True)
    assert (outside / "file").read_text() == "theirs"
    assert files(outside) == ["file"]


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises((errors.OutputFileRefused, errors.OutputFileUnwritable)):
        write_output(tmp_path, "a/x", TEXT, True)


def test_a_link_within_the_base_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert write_output(tmp_path, "link/x", TEXT, True) == tmp_path.resolve() / "real/x"


def test_a_directory_that_must_not_be_made_is_missed(tmp_path: Path) -> None:
    with pytest.raises(errors.OutputFileUnwritable, match="No such file"):
        write_output(tmp_path, "new/x", TEXT, create_directory=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["taken/x", "x" * 300, "directory"])
def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "directory").mkdir()
    with pytest.raises(errors.OutputFileUnwritable):
        write_output(tmp_path, name, TEXT, True)
    assert files(tmp_path) == ["taken"]


def test_json_is_written_for_people(tmp_path: Path) -> None:
    value = {"title": "Zürich", "points": ["a"]}
    path = write_output(tmp_path, "x", TaskOutput(raw="text", json_dict=value), True)
    assert json.loads(path.read_text(encoding="utf-8")) == value
    assert "\n  " in path.read_text(encoding="utf-8")
    assert "Zürich" in path.read_text(encoding="utf-8")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("a long one", "short"):
        write_output(tmp_path, "x", TaskOutput(raw=text), True)
    assert (tmp_path / "x").read_text() == "short"


def test_runs_that_write_the_same_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    texts = [f"{at} " * 20_000 for at in range(8)]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            list(threads.map(lambda text: write_output(tmp_path, "x", TaskOutput(raw=text), True), texts))
            assert (tmp_path / "x").read_text() in texts
    assert files(tmp_path) == ["x"]
