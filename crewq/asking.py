"""A model asked by itself, in this process: what `LLM.call` does. No run stands behind it, so nothing of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

from crewq import errors
from crewq.agent import LiteLLMModel, prompts
from crewq.agent.json_text import decoded
from crewq.agent.review import RE_ASKS, fitting
from crewq.language_model import LLM
from crewq.model import Features, Message, ModelAnswer, ModelRequest, ToolCall

Functions: TypeAlias = Mapping[str, Callable[..., Any]]


def call(
    llm: LLM,
    messages: str | Sequence[Message],
    tools: Sequence[dict[str, Any]],
    functions: Functions,
    answer_class: type[BaseModel] | None,
) -> Any:
    """Ask a model, or where that fails its fallbacks; arguments, result and errors are those of `LLM.call`."""
    conversation = _conversation(messages)
    failures: list[errors.ModelError] = []
    for one in llm.chain:
        try:
            if not isinstance(one, (str, LLM)):
                return one.call(conversation, tools=list(tools) or None)
            return _Asked(llm, one, tools).answer(conversation, functions, answer_class)
        except errors.ModelError as failure:
            failures.append(failure)
    raise failures[0]


def features(llm: LLM) -> Features:
    """What litellm knows of a model."""
    return LiteLLMModel(llm.spec()).features()


class _Asked:
    """One of the models that an `LLM` stands for, and what is asked of it."""

    def __init__(self, llm: LLM, one: str | LLM, tools: Sequence[dict[str, Any]]) -> None:
        one = LLM(model=one) if isinstance(one, str) else one
        self._counts = llm
        self._spec = one.spec()
        self._tools = tuple(tools)
        self._model = LiteLLMModel(self._spec, one.api_key.get_secret_value() if one.api_key else None)

    def answer(self, conversation: list[Message], functions: Functions, answer_class: type[BaseModel] | None) -> Any:
        if answer_class is not None:
            return self._fitting(conversation, answer_class)
        answer = self._ask(conversation)
        if not answer.tool_calls:
            return answer.text
        called = answer.tool_calls[0]
        if called.name not in functions:
            return [_as_openai_has_it(one) for one in answer.tool_calls]
        return functions[called.name](**_arguments(called, self._spec.model))

    def _fitting(self, conversation: list[Message], answer_class: type[BaseModel]) -> BaseModel:
        schema = answer_class.model_json_schema()
        native = self._model.features().answer_schema
        if not native:
            conversation = [*conversation, {"role": "user", "content": prompts.wanted(schema)}]
        for _ in range(1 + RE_ASKS):
            text = self._ask(conversation, schema if native else None).text
            value, problems = fitting(text, schema)
            if not problems:
                try:
                    return answer_class.model_validate(value)
                except ValidationError as error:  # a rule that its JSON schema does not hold
                    problems = [f"{detail['loc']}: {detail['msg']}" for detail in error.errors()]
            said: Message = {"role": "assistant", "content": text or prompts.NOTHING_SAID}
            conversation = [*conversation, said, {"role": "user", "content": prompts.misfit(problems, cut_off=False)}]
        reason = f"they do not fit {answer_class.__name__}: {'; '.join(problems)}"
        raise errors.AnswerUnusable(model=self._spec.model, tries=1 + RE_ASKS, reason=reason)

    def _ask(self, conversation: list[Message], schema: dict[str, Any] | None = None) -> ModelAnswer:
        request = ModelRequest(
            model=self._spec.model,
            messages=tuple(conversation),
            tools=self._tools,
            options=self._spec.options,
            answer_schema=schema,
        )
        try:
            answer = self._model.ask(request)
        except errors.KeyMissing as missing:
            raise errors.KeyMissingHere(**missing.facts) from None
        self._counts.note(answer.usage)
        return answer


def _conversation(messages: Any) -> list[Message]:
    given = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages or ())
    if not given or not all(isinstance(one, Mapping) and {"role", "content"} <= one.keys() for one in given):
        reason = "it must be a question, or a list of messages such as {'role': 'user', 'content': 'Why?'}."
        raise errors.InvalidField(owner="LLM.call", field="messages=...", reason=reason)
    return [dict(one) for one in given]


def _arguments(called: ToolCall, model: str) -> dict[str, Any]:
    try:
        arguments = decoded(called.arguments)
    except ValueError as error:
        reason = f"it calls {called.name} with arguments that are not JSON ({error})."
        raise errors.AnswerUnusable(model=model, tries=1, reason=reason) from error
    if not isinstance(arguments, dict):
        reason = f"it calls {called.name} with arguments that are no JSON object."
        raise errors.AnswerUnusable(model=model, tries=1, reason=reason)
    return arguments


def _as_openai_has_it(called: ToolCall) -> dict[str, Any]:
    return {"id": called.id, "type": "function", "function": {"name": called.name, "arguments": called.arguments}}


__all__ = ["call", "features"]
