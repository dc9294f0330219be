"""What looks like a key, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from crewq.literal_keys import literal_keys


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"api_key": "abc"}, ["api_key"]),
        ({"apiKey": "abc", "OPENAI_API_KEY": "x"}, ["apiKey", "OPENAI_API_KEY"]),
        ({"db": {"password": "p", "hosts": [{"auth_token": "t"}]}}, ["db.password", "db.hosts.0.auth_token"]),
        ({"note": "use sk-proj-AbCdEfGh0123456789"}, ["note"]),
        ({"note": "ghp_" + "a1" * 18}, ["note"]),
        ({"note": "AKIA" + "ABCD1234" * 2}, ["note"]),
        ({"note": "-----BEGIN RSA PRIVATE KEY-----\nMII"}, ["note"]),
        ({"note": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-_123"}, ["note"]),
        ({"url": "https://x.org/?q=1&token=abc"}, ["url"]),
        ({"dsn": "postgres://me:secret@db/x"}, ["dsn"]),
        ({"password": "${DB_PASSWORD}", "url": "https://x.org/?key=${A_KEY}", "dsn": "redis://me:${PASSWORD}@r"}, []),
        (
            {"max_tokens": 5, "token": None, "secret": "", "tokens": "a b", "tokenizer": "cl100k", "sort_key": "name"},
            [],
        ),
        ({"note": "sk-learn-based-classification, a task-management-2024-system-for-teams, basic knowledge"}, []),
        ({"url": "https://[broken/?token=abc"}, []),
        ({"keys": ["a", "b"], "author": "x", "secretary": "y"}, []),
    ],
)
def test_what_looks_like_a_key(value: dict[str, Any], where: list[str]) -> None:
    assert list(literal_keys(value)) == where


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"SERVICE_KEY": "abc"}, ["SERVICE_KEY"]),
        ({"args": ["--key", "abc", "--port", "80"]}, ["args.1 (--key)"]),
        ({"args": ["--secret=abc", "--verbose", "--token", "--more"]}, ["args.0 (--secret)"]),
        ({"args": ["--header", "Authorization: Bearer abcdef"]}, ["args.1 (--header)"]),
        ({"args": ["--header", "Authorization: Bearer ${A_TOKEN}", "--key", "${A_KEY}"]}, []),
        ({"headers": {"Accept": "text/html", "X-Api-Key": "abc"}}, ["headers.X-Api-Key"]),
    ],
)
def test_what_looks_like_one_among_headers_variables_and_arguments(value: dict[str, Any], where: list[str]) -> None:
    assert list(literal_keys(value, strict=True)) == where
