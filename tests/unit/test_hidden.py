"""What an error or a log line says, without the secrets of the environment."""

from __future__ import annotations

import logging

import pytest

from crewq import errors
from crewq.hidden import Hidden, HidingFormatter

ENVIRON = {
    "SHOP_API_KEY": "marzipan+7391",
    "GITHUB_TOKEN": "marzipan+7391-and-more",
    "CREWQ_REDIS_URL": "redis://me:strudel4711@server:6379/0",
    "CREWQ_BROKER_URL": "redis+sentinel://:pretzel88@a:1,b:2/shop?sentinel_password=nougat551",
    "SHORT_SECRET": "true",
    "HOME": "/home/marzipan",
    "BROKEN_URL": "redis://[::1",
}
hide = Hidden(ENVIRON)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("GET https://shop.example/?key=marzipan%2B7391 failed", "GET https://shop.example/?key=*** failed"),
        ("The key marzipan+7391 is wrong, and marzipan+7391-and-more too", "The key *** is wrong, and *** too"),
        ("strudel4711", "***"),
        ("pretzel88 and nougat551, at shop", "*** and ***, at shop"),
        ("true: there is no /home/marzipan", "true: there is no /home/marzipan"),
    ],
)
def test_secrets_of_the_environment_are_hidden(said: str, shown: str) -> None:
    assert hide(said) == shown


def test_an_error_is_of_its_kind_without_its_secrets() -> None:
    told = errors.KeyRejected(model="openai/any", status="401", reason="not marzipan+7391", retry_after=None)
    shown = hide.error(told)
    assert type(shown) is errors.KeyRejected
    assert (shown.facts["reason"], "marzipan" in str(shown)) == ("not ***", False)
    plain = errors.ToolBroken(tool="t", reason="of marzipan")
    assert hide.error(plain) is plain


def test_a_log_line_hides_them_in_its_traceback_too() -> None:
    formatter = HidingFormatter(logging.Formatter("%(levelname)s %(message)s"), hide)
    try:
        raise ValueError("https://x.example/?token=marzipan+7391")
    except ValueError as error:
        about = (type(error), error, error.__traceback__)
    record = logging.LogRecord("crewq", logging.ERROR, __file__, 1, "%s", ("strudel4711",), about)
    line = formatter.format(record)
    assert line.startswith("ERROR ***\nTraceback")
    assert line.endswith("ValueError: https://x.example/?token=***")
