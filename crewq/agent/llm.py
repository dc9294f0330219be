"""Models by litellm, which is imported only when a worker starts: it takes seconds and 180 MB."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cache, cached_property, partial
from typing import Any, TypeAlias

import httpx
from pydantic import ValidationError

from crewq import errors
from crewq.agent.deadlines import Deadlines, within
from crewq.agent.failures import translate
from crewq.agent.fallback import FallbackModel, Substitute
from crewq.amounts import LARGEST
from crewq.model import DEADLINES, BaseLLM, Features, Front, Model, ModelAnswer, ModelRequest, OnToken, ToolCall
from crewq.outputs import UsageMetrics
from crewq.references import Imports
from crewq.spec import LLMSpec

# Providers that ask for no key, or find credentials on the machine (an instance's role) that no variable tells of.
KEYLESS = ("ollama", "ollama_chat", "bedrock", "sagemaker", "vertex_ai")
# Of litellm's, each of which writes lines at INFO for every call: what they tell is in the journal.
LOGGERS = ("LiteLLM", "LiteLLM Router")
# Has litellm ask OpenAI's models as it asks most others, for a quarter less of the processor than by OpenAI's own client, which
# alone heeds these variables.
LIGHTER = "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"
OPENAIS_OWN = ("OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
# For a server of the user's own (`base_url`) that wants none, where the client insists on one.
NO_KEY = "not-needed"


@cache  # asked in every call, and to set a logger's level is to have all of them look up theirs again
def load_litellm() -> Any:
    """The litellm module. A worker calls this when it starts; after that it costs nothing."""
    # Without it the import fetches a price list from the network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    if not any(os.environ.get(name) for name in OPENAIS_OWN):
        os.environ.setdefault(LIGHTER, "True")
    import litellm

    litellm.suppress_debug_info = True
    if not os.environ.get("LITELLM_LOG"):  # its own variable, which asks for more
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
    return litellm


async def close_litellm() -> None:
    """Close the connections to providers that litellm keeps, for this event loop and for those who ask without one. A worker
    calls this when it stops."""
    litellm = load_litellm()
    await litellm.close_litellm_async_clients()
    kept = litellm.in_memory_llm_clients_cache
    for client in list(kept.cache_dict.values()):
        if isinstance(client, (httpx.Client, litellm.exceptions.openai.OpenAI)):
            client.close()
    kept.flush_cache()


def build_model(llm: LLMSpec, imports: Imports, key: str | None = None) -> Provider:
    """Who answers for `llm`: litellm, or the user's own class.

    Args:
        llm: the model's name and options, or the reference of a class.
        imports: what this worker may load.
        key: the key to use instead of the one in the environment.

    Raises:
        ReferenceRefused: this worker may not load the class, or it is no model.
        ModelUnknown: the class does not accept its fields.
    """
    if llm.reference is None:
        return LiteLLMModel(llm, key)
    kind = imports.resolve(llm.reference, _is_model_class, "a subclass of crewq.BaseLLM")
    try:
        model: BaseLLM = kind(**llm.fields) if llm.behind is None else kind(of=llm.behind, **llm.fields)
    except (ValidationError, TypeError) as error:  # the latter by a constructor of its own
        raise errors.ModelUnknown(
            model=llm.model, reason=f"{llm.reference} does not accept its fields: {error}"
        ) from error
    if isinstance(model, Front) and llm.behind:
        model.stand_before(partial(_build_behind, llm.behind, imports))
    return model


def _build_behind(llm: LLMSpec, imports: Imports) -> Model:
    if any(one.reference is None for one in llm.chain):
        load_litellm()  # here, where it may take its seconds: the first question is asked on the event loop
    first = build_model(llm, imports)
    others = [Substitute(build_model(one, imports), one, llm) for one in llm.fallbacks]
    return FallbackModel([first, *others]) if others else first


def account_of(llm: LLMSpec, key: str | None = None) -> str:
    """What a provider counts the calls of `llm` under: the model, and a mark of the key and the address. The key cannot be
    had back from it.

    Args:
        llm: the model.
        key: the key that is used instead of the one in the environment.
    """
    provider = llm.model.partition("/")[0] if "/" in llm.model else "openai"
    used = key or os.environ.get(f"{provider.upper().replace('-', '_')}_API_KEY", "")
    address = llm.options.get("base_url") or llm.options.get("api_base") or ""
    mark = hashlib.sha256(f"{used}\0{address}\0{llm.reference or ''}".encode()).hexdigest()[:8]
    return f"{llm.model}@{mark}"


def _is_model_class(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseLLM)


class LiteLLMModel:
    """One model by litellm, without any retries of its own."""

    def __init__(self, llm: LLMSpec, key: str | None = None) -> None:
        self._llm = llm
        self._key = key

    def features(self) -> Features:
        """What litellm knows of the model; one that it does not know is taken to be able to use tools."""
        return self._features

    @cached_property
    def _features(self) -> Features:
        litellm = load_litellm()
        try:
            provider = litellm.get_llm_provider(self._llm.model)[1]
            if provider in ("ollama", "ollama_chat"):
                # litellm would ask the Ollama server, and block the event loop while it does.
                return Features(native_tools=provider == "ollama_chat")
            known = litellm.get_model_info(self._llm.model)
        except _foreign(litellm):
            return Features(answer_schema=litellm.supports_response_schema(self._llm.model))
        return Features(
            native_tools=bool(known.get("supports_function_calling")),
            answer_schema=litellm.supports_response_schema(self._llm.model),
            context_window=known.get("max_input_tokens"),
        )

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What a call costs in US dollars, by the price that was given or litellm's; None: nobody knows."""
        if self._llm.price:
            asked, answered = self._llm.price
            return prompt_tokens * asked + completion_tokens * answered
        litellm = load_litellm()
        try:
            known = litellm.model_cost[litellm.get_model_info(self._llm.model)["key"]]
            parts = litellm.cost_per_token(
                model=self._llm.model, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
            )
        except _foreign(litellm):
            return None
        free = known.get("input_cost_per_token") == 0  # as it says; of what it has no price for, litellm says 0 too
        return sum(parts) or (0.0 if free else None)

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """Answer `request`, in one call.

        Raises:
            KeyMissing, ModelUnknown: without any call.
            ModelError: what came of the call, if not an answer.
        """
        litellm = load_litellm()
        deadlines = Deadlines.of(request.options, streamed=on_token is not None)
        arguments = self._arguments(litellm, request, deadlines)
        patience = deadlines.total if on_token else min(deadlines.total, deadlines.first_byte)
        try:
            async with within(patience):
                response = await (
                    _streamed(litellm, arguments, on_token, deadlines) if on_token else litellm.acompletion(**arguments)
                )
            return self._read(litellm, request.model, response)
        except errors.ModelError:
            raise
        except TimeoutError:
            raise errors.ModelTimeout(model=request.model, reason=f"no answer within {patience:g} s.") from None
        except _foreign(litellm) as error:
            raise translate(error, request.model, self._key) from None

    def ask(self, request: ModelRequest) -> ModelAnswer:
        """As `complete`, for whoever waits in a thread of their own and has no event loop."""
        litellm = load_litellm()
        deadlines = Deadlines.of(request.options, streamed=False)
        try:
            response = litellm.completion(**self._arguments(litellm, request, deadlines))
            return self._read(litellm, request.model, response)
        except errors.ModelError:
            raise
        except _foreign(litellm) as error:
            raise translate(error, request.model, self._key) from None

    def _read(self, litellm: Any, model: str, response: Any) -> ModelAnswer:
        answer = _read(litellm, model, response)
        if not self._llm.price:
            return answer
        used = answer.usage
        cost = self.price(used.prompt_tokens, used.completion_tokens)
        return answer.model_copy(update={"usage": used.model_copy(update={"cost": cost, "unpriced_requests": 0})})

    def _arguments(self, litellm: Any, request: ModelRequest, deadlines: Deadlines) -> dict[str, Any]:
        options = {name: value for name, value in request.options.items() if name not in ("stream", *DEADLINES)}
        if "stop" in options and "stop" not in self._parameters(litellm):
            del options["stop"]  # the answers are cut at it anyway
        if request.tools:
            options["tools"] = list(request.tools)
        if request.answer_schema:
            options["response_format"] = _response_format(request.answer_schema)
        if key := self._key_for(litellm, request):
            options["api_key"] = key
        if request.metadata:
            options["metadata"] = request.metadata | (options.get("metadata") or {})
        return options | {
            "model": request.model,
            "messages": list(request.messages),
            "timeout": httpx.Timeout(deadlines.total, connect=deadlines.connect),
            # Retries are made outside, where each one is counted; litellm's and openai's own would hide them.
            "num_retries": 0,
            "max_retries": 0,
            # Without it litellm 1.106 looks for a package that is not installed as soon as there are tools.
            "_skip_mcp_handler": True,
        }

    def _parameters(self, litellm: Any) -> list[str]:
        return litellm.get_supported_openai_params(self._llm.model) or []

    def _key_for(self, litellm: Any, request: ModelRequest) -> str | None:
        """The key to name in the call; None: litellm finds it, or needs none.

        Raises:
            ModelUnknown: no provider is known for the model's name.
            KeyMissing: the provider needs a key, and there is none.
        """
        try:
            provider = litellm.get_llm_provider(request.model)[1]
        except _foreign(litellm):
            raise errors.ModelUnknown(model=request.model, reason="no provider of that name is known.") from None
        missing = litellm.validate_environment(request.model)["missing_keys"]
        if self._key or not missing or provider in KEYLESS:
            return self._key
        if request.options.get("base_url") or request.options.get("api_base"):
            return NO_KEY
        raise errors.KeyMissing(model=request.model, variables=", ".join(missing))


def _foreign(litellm: Any) -> tuple[type[BaseException], ...]:
    """What litellm raises: its own errors, and those of a body or a model that it did not expect."""
    # Versions of litellm without a class for it raise a plain Exception for a model that has no price.
    unmapped = getattr(litellm.exceptions, "ModelNotMappedError", Exception)
    own = (litellm.exceptions.openai.OpenAIError, litellm.BudgetExceededError, unmapped)
    return (*own, httpx.HTTPError, OSError, ValueError, TypeError, AttributeError, LookupError)


async def _streamed(litellm: Any, arguments: dict[str, Any], on_token: OnToken, deadlines: Deadlines) -> Any:
    chunks = []
    streams = []

    async def opened() -> AsyncGenerator[Any, None]:
        streams.append(await litellm.acompletion(**arguments, stream=True, stream_options={"include_usage": True}))
        async for chunk in streams[0]:
            yield chunk

    async with aclosing(opened()) as stream:
        async for chunk in deadlines.hold(stream, arguments["model"]):
            chunks.append(chunk)
            if chunk.choices and (text := chunk.choices[0].delta.content):
                on_token(text)
    if getattr(streams[0], "received_finish_reason", "stop") is None:
        # litellm takes the end of the connection for the end of the answer.
        raise errors.ModelUnavailable(
            model=arguments["model"], status="no usable answer", reason="its stream broke off."
        )
    return litellm.stream_chunk_builder(chunks, messages=arguments["messages"])


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title", "answer")))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def _read(litellm: Any, model: str, response: Any) -> ModelAnswer:
    if not getattr(response, "choices", None):
        raise errors.ModelUnavailable(model=model, status="no usable answer", reason="it holds no choice.")
    choice = response.choices[0]
    calls = choice.message.tool_calls or []
    text = choice.message.content or _refusal(choice.message)
    if choice.finish_reason == "content_filter" and not text and not calls:
        raise errors.ModelRefused(model=model, status=200, reason="its provider's content filter held the answer back.")
    return ModelAnswer(
        text=text,
        tool_calls=tuple(
            ToolCall(id=call.id or "", name=call.function.name or "", arguments=call.function.arguments or "{}")
            for call in calls
        ),
        finish_reason=choice.finish_reason or "stop",
        usage=_usage(litellm, model, response),
    )


def _refusal(message: Any) -> str:
    """Why the model will not answer, which OpenAI's API has beside the text, and litellm beside what it knows."""
    return getattr(message, "refusal", None) or (message.provider_specific_fields or {}).get("refusal") or ""


def _usage(litellm: Any, model: str, response: Any) -> UsageMetrics:
    usage = getattr(response, "usage", None)
    prompt = getattr(usage, "prompt_tokens_details", None)
    completion = getattr(usage, "completion_tokens_details", None)
    cost = _cost(litellm, model, response)
    return UsageMetrics(
        total_tokens=_number(usage, "total_tokens"),
        prompt_tokens=_number(usage, "prompt_tokens"),
        cached_prompt_tokens=_number(prompt, "cached_tokens"),
        completion_tokens=_number(usage, "completion_tokens"),
        reasoning_tokens=_number(completion, "reasoning_tokens"),
        cache_creation_tokens=_number(prompt, "cache_creation_tokens"),
        successful_requests=1,
        cost=cost or 0.0,
        unpriced_requests=int(cost is None),
    )


def _number(part: Any, name: str) -> int:
    # Some servers count wrongly; what is below nothing, or beyond what can be added up, would spoil all sums.
    return min(max(0, int(getattr(part, name, None) or 0)), LARGEST)


def _cost(litellm: Any, model: str, response: Any) -> float | None:
    # litellm has priced an answer that came whole (its documentation calls this the cost of the response); to ask it again
    # costs as much as all that this module does beside the call.
    hidden = getattr(response, "_hidden_params", None) or {}
    if "response_cost" in hidden:
        priced = hidden["response_cost"]
        return None if priced is None else float(priced)
    try:
        return float(litellm.completion_cost(completion_response=response, model=model))
    except _foreign(litellm):
        return None


Provider: TypeAlias = LiteLLMModel | BaseLLM  # who answers in the end: a provider's model, or the user's own

__all__ = ["LiteLLMModel", "Provider", "account_of", "build_model", "close_litellm", "load_litellm"]
