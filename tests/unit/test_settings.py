"""Settings from the environment: every variable, and every value that cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crewq import errors
from crewq.addresses import without_password
from crewq.limits import Limit, ModelLimit
from crewq.settings import DAY, DEFAULT_MODEL, Settings


def read(**environ: str) -> Settings:
    return Settings.from_env(environ)


def test_nothing_is_needed() -> None:
    assert read() == Settings()
    assert read().embedded
    assert read().broker == ""
    assert read().default_model == DEFAULT_MODEL


def test_an_empty_variable_is_none() -> None:
    names = [
        "REDIS_URL",
        "BROKER_URL",
        "IMPORTS",
        "NAMESPACE",
        "QUEUE",
        "LEASE_SECONDS",
        "OUTPUT_DIR",
        "MODEL",
        "SANDBOX",
        "SANDBOX_IMAGE",
        "SANDBOX_SECONDS",
        "SANDBOX_MEMORY_MB",
    ]
    assert read(**{f"CREWQ_{name}": "" for name in names}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "path", "expected"),
    [
        ("CREWQ_REDIS_URL", "redis://h:1/2", "redis_url", "redis://h:1/2"),
        ("REDIS_URL", "rediss://h", "redis_url", "rediss://h"),
        ("CREWQ_REDIS_URL", "redis+cluster://h", "redis_url", "redis+cluster://h"),
        ("CREWQ_BROKER_URL", "amqp://h//", "broker", "amqp://h//"),
        ("CREWQ_IMPORTS", " shop , a.b,,", "imports.allowed", ("shop", "a.b")),
        ("CREWQ_MODEL", "m", "default_model", "m"),
        ("MODEL", "m", "default_model", "m"),
        ("MODEL_NAME", "m", "default_model", "m"),
        ("OPENAI_MODEL_NAME", "m", "default_model", "m"),
        ("CREWQ_NAMESPACE", "n", "namespace", "n"),
        ("CREWQ_QUEUE", "q", "queue", "q"),
        ("CREWQ_LEASE_SECONDS", "2.5", "lease", 2.5),
        ("CREWQ_MAX_ATTEMPTS", "5", "max_attempts", 5),
        ("CREWQ_CONCURRENCY", "8", "concurrency", 8),
        ("CREWQ_SANDBOX", "container", "sandbox", "container"),
        ("CREWQ_SANDBOX_IMAGE", "me/data:1", "sandbox_image", "me/data:1"),
        ("CREWQ_SANDBOX_SECONDS", "2.5", "sandbox_seconds", 2.5),
        ("CREWQ_SANDBOX_MEMORY_MB", "1024", "sandbox_memory_mb", 1024),
        ("CREWQ_OUTPUT_DIR", "/o", "output_dir", Path("/o")),
        ("CREWQ_DATA_DIR", "/d", "data_dir", Path("/d")),
        ("CREWQ_LIMITS", "openai/* rpm=5", "limits", (ModelLimit("openai/*", Limit(rpm=5)),)),
        ("CREWQ_HEARTBEAT_FILE", "/h", "heartbeat_file", Path("/h")),
        ("CREWQ_LOG", "json", "log", "json"),
        ("CREWQ_KEEP_COMPLETED_DAYS", "1", "retention.completed", DAY),
        ("CREWQ_KEEP_FAILED_DAYS", "0.5", "retention.failed", DAY // 2),
        ("CREWQ_KEEP_CANCELLED_DAYS", "2", "retention.cancelled", 2 * DAY),
    ],
)
def test_each_variable_is_read(variable: str, value: str, path: str, expected: Any) -> None:
    found: Any = read(**{variable: value})
    for part in path.split("."):
        found = getattr(found, part)
    assert found == expected


@pytest.mark.parametrize(
    ("url", "password", "expected"),
    [
        ("redis://h:1/2", "p@ss/word", "redis://:p%40ss%2Fword@h:1/2"),
        ("redis://me@h", "x", "redis://me:x@h"),
        ("rediss://[::1]:1/0?ssl_cert_reqs=none", "x", "rediss://:x@[::1]:1/0?ssl_cert_reqs=none"),
        ("redis://:own@h", "x", "redis://:own@h"),
        ("redis://h", "", "redis://h"),
    ],
)
def test_a_password_may_come_by_itself(url: str, password: str, expected: str) -> None:
    settings = read(CREWQ_REDIS_URL=url, CREWQ_REDIS_PASSWORD=password)
    assert settings.redis_url == expected
    assert not password or password not in settings.where
    assert read(CREWQ_REDIS_PASSWORD="x").embedded


def test_secrets_are_read_from_files_too(tmp_path: Path) -> None:
    files = {"url": "redis://h", "password": "x", "broker": "amqp://b"}
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    settings = read(
        CREWQ_REDIS_URL_FILE=str(tmp_path / "url"),
        CREWQ_REDIS_PASSWORD_FILE=str(tmp_path / "password"),
        CREWQ_BROKER_URL_FILE=str(tmp_path / "broker"),
    )
    assert (settings.redis_url, settings.broker) == ("redis://:x@h", "amqp://b")


def test_crewqs_own_variables_win() -> None:
    assert read(CREWQ_REDIS_URL="redis://a", REDIS_URL="redis://b").redis_url == "redis://a"
    assert read(CREWQ_MODEL="a", MODEL="b", MODEL_NAME="c").default_model == "a"
    assert read(MODEL="", MODEL_NAME="c").default_model == "c"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CREWQ_REDIS_URL", "localhost:6379"),
        ("CREWQ_REDIS_URL", "http://h"),
        ("CREWQ_REDIS_URL", "unix:///tmp/s"),
        ("REDIS_URL", "amqp://h"),
        ("CREWQ_LEASE_SECONDS", "0.5"),
        ("CREWQ_LEASE_SECONDS", "soon"),
        ("CREWQ_LEASE_SECONDS", "inf"),
        ("CREWQ_MAX_ATTEMPTS", "0"),
        ("CREWQ_MAX_ATTEMPTS", "2.5"),
        ("CREWQ_CONCURRENCY", "-1"),
        ("CREWQ_CONCURRENCY", "nan"),
        ("CREWQ_CONCURRENCY", "inf"),
        ("CREWQ_SANDBOX", "exec"),
        ("CREWQ_KEEP_FAILED_DAYS", "0"),
        ("CREWQ_LIMITS", "openai/*"),
        ("CREWQ_KEEP_COMPLETED_DAYS", "1e300"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(errors.SettingInvalid) as caught:
        read(**{variable: value})
    assert f"{variable}={value!r}" in str(caught.value)


@pytest.mark.parametrize("url", ["https://u:hunter2@h", "redis://:hunter2@[h"])
def test_a_refused_url_does_not_tell_its_password(url: str) -> None:
    with pytest.raises(errors.SettingInvalid, match="CREWQ_REDIS_URL") as caught:
        read(CREWQ_REDIS_URL=url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:hunter2@h:6379/0", "redis://:***@h:6379/0"),
        ("redis://u:hunter2@h", "redis://u:***@h"),
        ("redis://u@h", "redis://u@h"),
        ("redis://u:hunt@er2@h/1", "redis://u:***@h/1"),
        ("rediss://:hunter2@[::1]:6379/0?ssl_cert_reqs=none", "rediss://:***@[::1]:6379/0?ssl_cert_reqs=none"),
        ("unix:///s.sock?db=1&password=hunter2", "unix:///s.sock?db=1&password=***"),
        ("redis://h?password=hunter2&db=1", "redis://h?password=***&db=1"),
        ("redis://[h", "a URL that cannot be read"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert "hunter2" not in Settings(redis_url=url).where


def test_settings_change_by_copy() -> None:
    settings = Settings()
    changed = settings.with_(redis_url="redis://h", lease=1.0)
    assert (changed.redis_url, changed.lease, changed.broker) == ("redis://h", 1.0, "redis://h")
    assert not changed.embedded
    assert settings == Settings()
