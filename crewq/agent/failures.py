"""What went wrong at a provider, as one of crewq's errors. Foreign ones end here: they cannot be pickled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from crewq import errors

REASON_LENGTH = 300  # a line or two; providers repeat the request in their messages

# litellm's errors that say more than their status, by name, so that litellm need not be imported to know them.
BY_NAME: dict[str, type[errors.ModelError]] = {
    "ContextWindowExceededError": errors.ContextTooLong,
    "LiteLLMUnknownProvider": errors.ModelUnknown,
    "ModelNotMappedError": errors.ModelUnknown,
    "AuthenticationError": errors.KeyRejected,
    "PermissionDeniedError": errors.KeyRejected,
    "NotFoundError": errors.ModelUnknown,
    "RateLimitError": errors.RateLimited,
    "Timeout": errors.ModelTimeout,
    "APITimeoutError": errors.ModelTimeout,
    "TimeoutError": errors.ModelTimeout,
    "TimeoutException": errors.ModelTimeout,
    "BudgetExceededError": errors.ModelRefused,
    "GuardrailRaisedException": errors.ModelRefused,
    "BlockedPiiEntityError": errors.ModelRefused,
    "ModifyResponseException": errors.ModelRefused,
    "SensitiveDataRouteException": errors.ModelRefused,
}
BY_STATUS: dict[int, type[errors.ModelError]] = {
    401: errors.KeyRejected,
    403: errors.KeyRejected,
    404: errors.ModelUnknown,
    408: errors.ModelTimeout,
    409: errors.ModelUnavailable,
    429: errors.RateLimited,
    504: errors.ModelTimeout,
}

_TOO_LONG = re.compile(
    r"(?i)context.{0,10}(length|window)|prompt is too long|input is too long|too many (input )?tokens"
)
_NO_CREDENTIALS = re.compile(r"(?i)missing credentials|api_key client option must be set")
_NO_PROVIDER = re.compile(r"LLM Provider NOT provided|unknown provider", re.IGNORECASE)
# A 429 that no waiting heals.
_OUT_OF_MONEY = re.compile(r"(?i)insufficient_quota|exceeded your current quota|credit balance is too low|billing")
# The names of exceptions that litellm puts before a provider's own words, and the tracebacks it puts after them.
_PREFIX = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)(?: Error)?\s*[:-]\s*)+")
_SUFFIX = re.compile(r"\s*(?:Traceback \(most recent|Original exception: ).*$")
_SECRETS = (
    re.compile(r"\b(?:sk|gsk|xai|pplx|hf|r8|key)[-_][\w-]{6,}|\bAIza[\w-]{6,}"),
    re.compile(r"(?i)(?<=bearer )\S+"),
    re.compile(r"(?i)(?<=[?&]key=)[^&\s\"']+"),
    re.compile(r"(?i)(?<=api key provided: )\S+"),
    re.compile(r"(?i)(?<=api_key=)[^&\s,)]+"),
)


def translate(error: BaseException, model: str, key: str | None = None) -> errors.ModelError:
    """The error of crewq that says what `error`, an error of litellm or of the connection, means.

    Args:
        error: what was raised.
        model: the model that was asked.
        key: the key that was used, if it is known; it is masked wherever it appears.
    """
    text = str(error)
    status = _status(error)
    kind = _kind(error, status, text)
    headers = _headers(error)
    if kind is errors.KeyMissing:
        return errors.KeyMissing(model=model, variables="its API key")
    return kind(
        model=model,
        reason=_reason(text, key) or type(error).__name__,
        status=_shown(status, kind, answered=bool(headers)),
        retry_after=retry_after(headers, datetime.now(UTC)),
    )


def _kind(error: BaseException, status: int | None, text: str) -> type[errors.ModelError]:
    names = [base.__name__ for base in type(error).__mro__]
    if _NO_CREDENTIALS.search(text):
        return errors.KeyMissing
    if _NO_PROVIDER.search(text):
        return errors.ModelUnknown
    if status in (400, 413, 422) and _TOO_LONG.search(text):
        return errors.ContextTooLong
    if status == 429 and _OUT_OF_MONEY.search(text):
        return errors.ModelRefused
    named = next((BY_NAME[name] for name in names if name in BY_NAME), None)
    return named or _by_status(status)


def _by_status(status: int | None) -> type[errors.ModelError]:
    if status in BY_STATUS:
        return BY_STATUS[status]
    return errors.ModelRefused if status is not None and 400 <= status < 500 else errors.ModelUnavailable


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _shown(status: int | None, kind: type[errors.ModelError], *, answered: bool) -> str:
    if kind is errors.ModelUnavailable:
        # litellm says 500 of a connection that failed; only a real answer has headers.
        return f"HTTP {status}" if status and answered else "no usable answer"
    return str(status) if status else "none"


def _headers(error: BaseException) -> Mapping[str, str]:
    response = getattr(error, "response", None)
    for headers in (getattr(response, "headers", None), getattr(error, "litellm_response_headers", None)):
        if headers:
            return {str(name).lower(): str(value) for name, value in headers.items()}
    return {}


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or an HTTP date) among lower-case headers."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, (parsedate_to_datetime(headers["retry-after"]) - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def _reason(text: str, key: str | None) -> str:
    text = _SUFFIX.sub("", _PREFIX.sub("", " ".join(text.split())))
    if key:
        text = text.replace(key, "***")
    for secret in _SECRETS:
        text = secret.sub("***", text)
    return text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]} ..."


__all__ = ["retry_after", "translate"]
