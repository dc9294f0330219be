"""Secrets from files: which variables name one, and what is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewq import errors
from crewq.secret_files import from_files, value_of


def test_a_mounted_secret_is_the_variable(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1\n")
    assert from_files({"OPENAI_API_KEY_FILE": str(tmp_path / "key")}, tmp_path) == {"OPENAI_API_KEY": "sk-1"}


def test_files_elsewhere_are_for_others(tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("a certificate")
    environ = {"SSL_CERT_FILE": str(tmp_path / "cert"), "LOG_FILE": "", "_FILE": "/etc/passwd"}
    assert from_files(environ) == {}


def test_a_variable_that_is_set_stays(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1")
    assert from_files({"A_KEY": "own", "A_KEY_FILE": str(tmp_path / "key")}, tmp_path) == {}
    assert value_of({"A_KEY": "own", "A_KEY_FILE": "/nowhere"}, "A_KEY") == "own"


def test_an_empty_file_is_an_unset_variable(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    assert from_files({"A_KEY_FILE": str(tmp_path / "key")}, tmp_path) == {}
    assert from_files({"A_KEY_FILE": "/dev/null"}, Path("/dev")) == {}
    assert value_of({}, "A_KEY") == ""


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(errors.SettingInvalid, match=r"A_KEY_FILE='.*/key' is not valid: it cannot be read"):
        from_files({"A_KEY_FILE": str(tmp_path / "key")}, tmp_path)
