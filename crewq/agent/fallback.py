"""Asking another model where one fails for good or cannot be reached."""

from __future__ import annotations

from collections.abc import Sequence

from crewq.errors import ContextTooLong, ModelError
from crewq.model import Features, Model, ModelAnswer, ModelRequest, OnToken
from crewq.spec import LLMSpec


class FallbackModel:
    """Several models, of which the first that answers counts. What is asked of them is what all of them can do.

    Args:
        models: in their order. Each is given the request as it was made for the first.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = models

    def features(self) -> Features:
        """What each of them can do."""
        all_of_them = [model.features() for model in self._models]
        windows = [one.context_window for one in all_of_them if one.context_window is not None]
        return Features(
            native_tools=all(one.native_tools for one in all_of_them),
            answer_schema=all(one.answer_schema for one in all_of_them),
            context_window=min(windows, default=None),
        )

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """The answer of the first that has one. What another streamed before it failed is streamed again.

        Raises:
            ContextTooLong: at once, as the conversation can be shortened.
            ModelError: none has; it is the first failure of a kind that passes, else the first one.
        """
        failures: list[ModelError] = []
        for model in self._models:
            try:
                return await model.complete(request, on_token)
            except ContextTooLong:
                raise
            except ModelError as failure:
                failures.append(failure)
        raise next((failure for failure in failures if failure.retryable), failures[0])


class Substitute:
    """A model that is asked what was meant for another one, under its own name and with its own options.

    Args:
        model: it.
        llm: what it is called, and how it is asked.
        asked: the model that requests are made for.
    """

    def __init__(self, model: Model, llm: LLMSpec, asked: LLMSpec) -> None:
        self._model = model
        self._llm = llm
        self._asked = asked

    def features(self) -> Features:
        """What it can do."""
        return self._model.features()

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """Its answer, which says whose it is.

        Raises:
            ModelError: as the model.
        """
        answer = await self._model.complete(put_to(self._llm, request, self._asked), on_token)
        return answer.model_copy(update={"answered_by": self._llm.model})


def put_to(llm: LLMSpec, request: ModelRequest, asked: LLMSpec) -> ModelRequest:
    """A request that was made for the model `asked`, as it is put to another one: under its name, with its options."""
    if llm == asked:
        return request
    added = {name: value for name, value in request.options.items() if name not in asked.options}
    return request.model_copy(update={"model": llm.model, "options": {**added, **llm.options}})


__all__ = ["FallbackModel", "Substitute", "put_to"]
