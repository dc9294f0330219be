"""Keys as somebody wrote them down; and an error never shows one."""

from __future__ import annotations

import base64

import pytest
from click.testing import CliRunner

from crewq import errors
from crewq.cli import main
from crewq.cli.doctor import _encryption
from crewq.keyring import PLAIN, Key, new_key, read_keys
from crewq.settings import Settings

SECRET = base64.b64encode(b"s" * 32).decode()


def test_the_first_of_several_is_the_first() -> None:
    keys = read_keys(f" new:{SECRET}, plain ,old.1:{base64.b64encode(b'o' * 32).decode()},", "X")
    assert keys == (Key("new", b"s" * 32), Key(PLAIN, b""), Key("old.1", b"o" * 32))
    assert read_keys("", "X") == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SECRET, "ID:BASE64"),
        (f":{SECRET}", "ID:BASE64"),
        (f"a b:{SECRET}", "ID:BASE64"),
        (f"{'a' * 41}:{SECRET}", "ID:BASE64"),
        (f"ü:{SECRET}", "ID:BASE64"),
        (f"plain:{SECRET}", "ID:BASE64"),
        (f"k:{SECRET[:-4]}", "32 bytes"),
        (f"k:{SECRET}{SECRET}", "32 bytes"),
        (f"k:{SECRET[:-2]}!=", "32 bytes"),
        ("k:", "32 bytes"),
        ("k:ü", "32 bytes"),
        (f"k:{SECRET},k:{SECRET}", "same id"),
        ("plain", "leave the variable empty"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_shows_no_key(text: str, why: str) -> None:
    with pytest.raises(errors.SettingInvalid, match=why) as raised:
        Settings.from_env({"CREWQ_ENCRYPTION_KEYS": text})
    assert "CREWQ_ENCRYPTION_KEYS" in str(raised.value)
    assert SECRET[:20] not in str(raised.value)


def test_no_key_is_shown_with_the_settings() -> None:
    settings = Settings.from_env({"CREWQ_ENCRYPTION_KEYS": f"k:{SECRET}"})
    assert settings.encryption_keys[0].secret == b"s" * 32
    assert SECRET not in repr(settings)
    assert "sss" not in repr(settings)


def test_a_new_key_is_one_and_no_two_are_equal() -> None:
    (first,), (second,) = (read_keys(new_key("k"), "X") for _ in range(2))
    assert first.id == second.id == "k"
    assert first.secret != second.secret


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        ("", "", ""),
        (f"new:{SECRET}", "ok", "with the key new."),
        (f"new:{SECRET},old:{SECRET}", "ok", "with the key new; old may be read, too."),
        (f"new:{SECRET},plain", "warn", "with the key new; plain may be read, too."),
        (f"plain,new:{SECRET}", "warn", "what is written now is not encrypted; new may be read, too."),
    ],
)
def test_the_doctor_tells_what_is_encrypted_with(text: str, level: str, said: str) -> None:
    found = list(_encryption(Settings.from_env({"CREWQ_ENCRYPTION_KEYS": text})))
    assert [one.level for one in found] == [level] * bool(level)
    assert all(one.found.startswith(said) and SECRET not in str(one) for one in found)


def test_the_command_makes_one() -> None:
    told = CliRunner().invoke(main, ["key", "mine"])
    assert (told.exit_code, read_keys(told.stdout, "X")[0].id) == (0, "mine")
    assert read_keys(CliRunner().invoke(main, ["key"]).stdout, "X")
    assert CliRunner().invoke(main, ["key", "plain"]).exit_code == 2
