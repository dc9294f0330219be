"""Trying again when a provider is busy, slow or down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from crewq.errors import ModelError, RateLimited
from crewq.model import Features, Model, ModelAnswer, ModelRequest, OnToken

# Six tries wait about half a minute in all, and at most a minute: what lasts longer is not a hiccup but an outage, in which
# a task had better fail and be replayed.
TRIES = 6
FIRST_WAIT = 2.0  # seconds; doubled each time
LONGEST_WAIT = 60.0
# A provider may ask for hours (a daily limit); nobody is served by a worker that sleeps that long.
LONGEST_WAIT_ASKED = 120.0


class RetryingModel:
    """A model that is asked again, after a pause, when its failure is of a kind that passes. A limit of rate is not: whoever
    knows what all workers ask waits for that.

    Each try is a call of its own to `model`, which may end the matter instead: in a worker that is the journal, and it
    refuses every call of a task that was cancelled or lost meanwhile.

    Pauses grow exponentially with full jitter, so that many workers do not come back at the same moment; where the
    provider says how long to wait, that is what is waited, and a little more.
    """

    def __init__(
        self,
        model: Model,
        *,
        tries: int = TRIES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: random.Random | None = None,
    ) -> None:
        self._model = model
        self._tries = tries
        self._sleep = sleep
        self._chance = chance or random.Random()  # noqa: S311 - jitter, not a secret

    def features(self) -> Features:
        """What the model can do."""
        return self._model.features()

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """Answer `request`. What a try streamed before it failed is streamed again.

        Raises:
            ModelError: of a kind that does not pass, or of the last try.
        """
        for tried in range(1, self._tries):
            try:
                return await self._model.complete(request, on_token)
            except RateLimited:
                raise
            except ModelError as error:
                if not error.retryable or (error.retry_after or 0) > LONGEST_WAIT_ASKED:
                    raise
                await self._sleep(self._pause(tried, error.retry_after))
        return await self._model.complete(request, on_token)

    def _pause(self, tried: int, asked: float | None) -> float:
        jitter = self._chance.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tried - 1)))
        return jitter if asked is None else asked + min(jitter, 1.0)


__all__ = ["FIRST_WAIT", "LONGEST_WAIT_ASKED", "TRIES", "RetryingModel"]
