"""Every error of litellm, and every status, as one of crewq's errors."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from inspect import getmembers, isclass, signature
from typing import Any

import httpx
import pytest

from crewq import errors
from crewq.agent import load_litellm
from crewq.agent.failures import retry_after, translate

BY_CLASS: dict[str, type[errors.ModelError]] = {
    "APIConnectionError": errors.ModelUnavailable,
    "APIError": errors.ModelUnavailable,
    "APIResponseValidationError": errors.ModelUnavailable,
    "AuthenticationError": errors.KeyRejected,
    "BadGatewayError": errors.ModelUnavailable,
    "BadRequestError": errors.ModelRefused,
    "BlockedPiiEntityError": errors.ModelRefused,
    "BudgetExceededError": errors.ModelRefused,
    "ContentPolicyViolationError": errors.ModelRefused,
    "ContextWindowExceededError": errors.ContextTooLong,
    "GuardrailRaisedException": errors.ModelRefused,
    "ImageFetchError": errors.ModelRefused,
    "InternalServerError": errors.ModelUnavailable,
    "InvalidRequestError": errors.ModelRefused,
    "JSONSchemaValidationError": errors.ModelUnavailable,
    "LiteLLMUnknownProvider": errors.ModelUnknown,
    "MidStreamFallbackError": errors.ModelUnavailable,
    "MockException": errors.ModelUnavailable,
    "ModelNotMappedError": errors.ModelUnknown,
    "ModifyResponseException": errors.ModelRefused,
    "NotFoundError": errors.ModelUnknown,
    "OpenAIError": errors.ModelUnavailable,
    "PermissionDeniedError": errors.KeyRejected,
    "RateLimitError": errors.RateLimited,
    "RejectedRequestError": errors.ModelRefused,
    "SensitiveDataRouteException": errors.ModelRefused,
    "ServiceUnavailableError": errors.ModelUnavailable,
    "Timeout": errors.ModelTimeout,
    "UnprocessableEntityError": errors.ModelRefused,
    "UnsupportedParamsError": errors.ModelRefused,
    "VectorStoreSearchError": errors.ModelRefused,
}

# What the errors of litellm are made with, whichever of it each one takes.
FACTS: dict[str, Any] = {
    "message": "told to fail",
    "model": "m",
    "llm_provider": "p",
    "status_code": 500,
    "request": httpx.Request("POST", "http://x"),
    "request_data": {},
    "current_cost": 2.0,
    "max_budget": 1.0,
    "custom_llm_provider": "p",
    "raw_response": "",
    "schema": "{}",
    "entity_type": "PERSON",
    "failures": [],
    "response": httpx.Response(422, request=httpx.Request("POST", "http://x")),
    "route_to_model": "other",
    "session_id": "s",
}


def litellm_errors() -> dict[str, type[Exception]]:
    module = load_litellm().exceptions
    return {
        name: item
        for name, item in getmembers(module, isclass)
        if issubclass(item, Exception) and item.__module__ == module.__name__
    }


def of_status(status: int | None, text: str = "told to fail", headers: dict[str, str] | None = None) -> Exception:
    error = Exception(text)
    error.status_code = status  # type: ignore[attr-defined]
    error.response = httpx.Response(status or 500, headers=headers)  # type: ignore[attr-defined]
    return error


def test_the_table_names_every_error_of_litellm() -> None:
    assert set(litellm_errors()) == set(BY_CLASS)


@pytest.mark.parametrize(("name", "expected"), BY_CLASS.items(), ids=BY_CLASS)
def test_each_error_of_litellm_is_translated(name: str, expected: type[errors.ModelError]) -> None:
    kind = litellm_errors()[name]
    parameters = signature(kind.__init__).parameters.values()
    needed = [
        FACTS.get(one.name, "told to fail")
        for one in parameters
        if one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty
    ]
    translated = translate(kind(*needed[1:]), "openai/m")
    assert type(translated) is expected
    assert type(pickle.loads(pickle.dumps(translated))) is expected


@pytest.mark.parametrize(
    ("status", "expected", "retryable"),
    [
        (400, errors.ModelRefused, False),
        (401, errors.KeyRejected, False),
        (403, errors.KeyRejected, False),
        (404, errors.ModelUnknown, False),
        (408, errors.ModelTimeout, True),
        (409, errors.ModelUnavailable, True),
        (413, errors.ModelRefused, False),
        (422, errors.ModelRefused, False),
        (429, errors.RateLimited, True),
        (500, errors.ModelUnavailable, True),
        (502, errors.ModelUnavailable, True),
        (503, errors.ModelUnavailable, True),
        (504, errors.ModelTimeout, True),
        (529, errors.ModelUnavailable, True),
        (None, errors.ModelUnavailable, True),
    ],
)
def test_each_status_is_translated(status: int | None, expected: type[errors.ModelError], retryable: bool) -> None:
    error = translate(of_status(status), "openai/m")
    assert type(error) is expected
    assert error.retryable is retryable
    assert "told to fail" in str(error)


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (500, "Missing credentials. Please pass an `api_key`", errors.KeyMissing),
        (400, "LLM Provider NOT provided. You passed model=x", errors.ModelUnknown),
        (400, "This model's maximum context length is 8192 tokens", errors.ContextTooLong),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", errors.ContextTooLong),
        (413, "input is too long for requested model", errors.ContextTooLong),
        (429, "You exceeded your current quota, please check your plan", errors.ModelRefused),
    ],
)
def test_the_text_decides_where_the_status_does_not(status: int, text: str, expected: type[errors.ModelError]) -> None:
    assert type(translate(of_status(status, text), "openai/m")) is expected


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-abc123def456.",
        "Incorrect API key provided: my-own-kind-of-secret.",
        "GET https://x.test/v1?key=my-own-kind-of-secret&alt=sse failed",
        "header Authorization: Bearer my-own-kind-of-secret was refused",
        "bad key AIzaSyAbc123def456",
        "the key s3cret-of-mine is bad",
    ],
)
def test_no_key_is_in_an_error(text: str) -> None:
    shown = str(translate(of_status(401, text), "openai/m", key="s3cret-of-mine"))
    assert "***" in shown
    for secret in ("sk-abc", "my-own-kind-of-secret", "AIzaSy", "s3cret-of-mine"):
        assert secret not in shown


def test_a_reason_is_a_line_or_two_in_the_providers_own_words() -> None:
    text = (
        "litellm.RateLimitError: RateLimitError: OpenAIException - Slow down.\nTraceback (most recent call last): ..."
    )
    assert translate(of_status(429, text), "m").facts["reason"] == "Slow down."
    assert len(str(translate(of_status(400, "word " * 1000), "m"))) < 500


def test_a_connection_that_failed_is_not_shown_as_an_answer() -> None:
    assert "(no usable answer)" in str(translate(of_status(500), "m"))
    assert "(HTTP 500)" in str(translate(of_status(500, headers={"date": "today"}), "m"))


NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 2026 12:01:30 GMT"}, 90),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
