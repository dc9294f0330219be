"""`LLM`: which model to ask, and how, with CrewAI's names. Agents give it to the workers; `call` asks it here and now."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field, PrivateAttr, SecretStr, field_validator, model_validator

from crewq import lacking
from crewq.literal_keys import literal_keys
from crewq.member import Member
from crewq.model import BaseLLM, Features, Message, note_beside
from crewq.outputs import UsageMetrics
from crewq.spec import LLMSpec

HEADERS = ("extra_headers", "headers", "default_headers")
KEY_FOUND = (
    "{where} holds what looks like a key, and a key never leaves this process. Set the provider's own variable where the "
    "workers run, or write a model of your own (BaseLLM) that reads the key there"
)
PRICES = ("input_cost_per_token", "output_cost_per_token")
NOT_SENT = ("rpm", "tpm", "max_concurrency", "fallbacks", *PRICES)  # what crewq itself goes by


class LLM(Member):
    """Which model to ask, and how: any model that litellm knows, as `provider/model`.

    `api_key` stays in this process, so it works with the embedded worker only; for a fleet, set the provider's variable
    (OPENAI_API_KEY and the like) where the workers run.

    Fields, beside litellm's own meaning, in seconds:
        timeout: for an answer in all; 600.
        connect_timeout: until the provider is reached; 10.
        first_byte_timeout: until the answer begins: 300 for one that is streamed; any other comes at once, and has `timeout`.
        idle_timeout: between two pieces of an answer that is streamed; 120.

    A call that is late is aborted and tried again, like one that the provider refused for the moment.

    Fields that no provider is sent:
        rpm, tpm: calls and tokens per minute, over the whole fleet, of this model under this key.
        max_concurrency: calls of it under way at once, likewise. CREWQ_LIMITS of the workers can set all three, too; of
            several, the least counts.
        fallbacks: models that are asked, one after the other, where this one fails for good or cannot be reached.
        input_cost_per_token, output_cost_per_token: its price in US dollars, both or neither; default: as litellm knows it.
    """

    lacks = lacking.OF_AN_LLM

    model: str
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: list[str] | str | None = None
    seed: int | None = None
    timeout: float | None = None
    connect_timeout: float | None = None
    first_byte_timeout: float | None = None
    idle_timeout: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    reasoning_effort: str | None = None
    base_url: str | None = None
    api_base: str | None = None
    api_version: str | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    additional_params: dict[str, Any] = Field(default_factory=dict)
    rpm: int | None = Field(default=None, ge=1)
    tpm: int | None = Field(default=None, ge=1)
    max_concurrency: int | None = Field(default=None, ge=1)
    fallbacks: list[str | LLM | BaseLLM] = Field(default_factory=list)
    input_cost_per_token: float | None = Field(default=None, ge=0)
    output_cost_per_token: float | None = Field(default=None, ge=0)

    _used: UsageMetrics = PrivateAttr(default_factory=UsageMetrics)

    if not TYPE_CHECKING:  # a type checker knows the fields

        def __init__(self, model: str | None = None, /, **given: Any) -> None:
            super().__init__(**({} if model is None else {"model": model}) | given)

    @model_validator(mode="after")
    def _whole_price(self) -> Self:
        if (self.input_cost_per_token is None) != (self.output_cost_per_token is None):
            raise ValueError("a price is both: input_cost_per_token and output_cost_per_token")
        return self

    @property
    def price(self) -> tuple[float, float] | None:
        """US dollars for a token of a question and for one of an answer, if they were given."""
        if self.input_cost_per_token is None or self.output_cost_per_token is None:
            return None
        return self.input_cost_per_token, self.output_cost_per_token

    @field_validator("fallbacks")
    @classmethod
    def _one_level(cls, given: list[str | LLM | BaseLLM]) -> list[str | LLM | BaseLLM]:
        if any(isinstance(one, LLM) and one.fallbacks for one in given):
            raise ValueError("a fallback has none of its own: put them all into this one list, in their order")
        return given

    @field_validator("additional_params")
    @classmethod
    def _without_key(cls, given: dict[str, Any]) -> dict[str, Any]:
        if "api_key" in given:
            raise ValueError("a key does not belong there: pass it as LLM(api_key=...), and it stays in this process")
        headers = {name: given[name] for name in HEADERS if name in given}
        others = {name: value for name, value in given.items() if name not in headers}
        for where in (*literal_keys(headers, strict=True), *literal_keys(others)):
            raise ValueError(KEY_FOUND.format(where=where))
        return given

    @field_validator("base_url", "api_base")
    @classmethod
    def _without_password(cls, given: str | None) -> str | None:
        for _ in literal_keys(given):
            raise ValueError(KEY_FOUND.format(where="it"))
        return given

    @property
    def chain(self) -> tuple[str | LLM | BaseLLM, ...]:
        """Which models to ask, in order, until one answers."""
        return (self, *self.fallbacks)

    def options(self) -> dict[str, Any]:
        """What is passed to litellm with each call: all that was set, but the model's name and the key."""
        named = self.model_dump(mode="json", exclude={"model", "additional_params", *NOT_SENT}, exclude_none=True)
        return named | self.additional_params

    # -- asked by itself ---------------------------------------------------------------------------------

    def call(
        self,
        messages: str | Sequence[Message],
        tools: Sequence[dict[str, Any]] | None = None,
        callbacks: Any = None,
        available_functions: Mapping[str, Callable[..., Any]] | None = None,
        from_task: Any = None,
        from_agent: Any = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        """Ask the model in this process: the key is this process's, and nothing of it is kept but what
        `get_token_usage_summary` counts. If a tool asks that a worker uses, what it used counts in that task's usage, too,
        once the tool has ended. Its arguments are CrewAI's.

        Args:
            messages: a question, or a conversation in the form of OpenAI's chat API.
            tools: what it may call, likewise.
            callbacks: without effect, and so are
            from_task: and
            from_agent: they are what CrewAI tells its own listeners.
            available_functions: the functions of these tools, by name. The first that the model calls is called.
            response_model: the answer must fit it, and comes back as one.

        Returns:
            The text of the answer; or what the function returned; or, without that function, the calls as OpenAI's API
            has them.

        Raises:
            KeyMissingHere, ModelError: no model of it answered.
            AnswerUnusable: it does not fit the `response_model`.
        """
        return _asking().call(self, messages, tools or (), available_functions or {}, response_model)

    async def acall(self, messages: str | Sequence[Message], *args: Any, **kwargs: Any) -> Any:
        """As `call`, in a thread."""
        return await asyncio.to_thread(self.call, messages, *args, **kwargs)

    def supports_function_calling(self) -> bool:
        """Whether it can call tools, as far as litellm knows; one that litellm does not know is taken to."""
        return self._features().native_tools

    def supports_stop_words(self) -> bool:
        """Whether `stop` may be set: always."""
        return True

    def get_context_window_size(self) -> int | None:
        """The tokens that it can read; None: litellm does not know."""
        return self._features().context_window

    def get_token_usage_summary(self) -> UsageMetrics:
        """What `call` has used so far. What agents used is in the outputs of their runs."""
        return self._used

    def note(self, used: UsageMetrics) -> None:
        """Add what a call has used."""
        self._used = self._used + used
        note_beside(used)

    def spec(self) -> LLMSpec:
        """It as it travels, without its fallbacks."""
        limits = self.model_dump(include={"rpm", "tpm", "max_concurrency"})
        return LLMSpec(model=self.model, options=self.options(), price=self.price, **limits)

    def _features(self) -> Features:
        found: Features = _asking().features(self)
        return found


def _asking() -> Any:
    """What knows litellm, which takes seconds to load: only when a model is really asked in this process."""
    return importlib.import_module("crewq.asking")


__all__ = ["LLM"]
