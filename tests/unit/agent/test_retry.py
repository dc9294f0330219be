"""Which failures are tried again, how often, and after what pause."""

from __future__ import annotations

import random

import pytest

from crewq import errors
from crewq.agent import RetryingModel
from crewq.agent.retry import FIRST_WAIT, LONGEST_WAIT, LONGEST_WAIT_ASKED, TRIES
from crewq.model import Features, ModelRequest
from tests.unit.agent.fakes import FakeModel

pytestmark = pytest.mark.asyncio

REQUEST = ModelRequest(model="fake/model", messages=())
LOST = errors.ModelUnavailable(model="m", status="HTTP 503", reason="down")
LATE = errors.ModelTimeout(model="m", reason="late")


def busy(seconds: float) -> errors.ModelUnavailable:
    return errors.ModelUnavailable(model="m", status="HTTP 503", reason="busy", retry_after=seconds)


class LargestChance(random.Random):
    """Draws the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


def retrying(model: FakeModel, **options: int) -> tuple[RetryingModel, list[float]]:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return RetryingModel(model, sleep=sleep, chance=LargestChance(), **options), pauses


async def test_what_passes_is_tried_again_with_growing_pauses() -> None:
    model, pauses = retrying(FakeModel(LOST, LATE, LOST, "Here."))
    assert (await model.complete(REQUEST)).text == "Here."
    assert pauses == [FIRST_WAIT, FIRST_WAIT * 2, FIRST_WAIT * 4]


async def test_pauses_are_capped_and_tries_counted() -> None:
    fake = FakeModel(*[LOST] * 20)
    model, pauses = retrying(fake, tries=9)
    with pytest.raises(errors.ModelUnavailable):
        await model.complete(REQUEST)
    assert len(fake.requests) == 9
    assert max(pauses) == LONGEST_WAIT


async def test_the_usual_number_of_tries() -> None:
    fake = FakeModel(*[LOST] * 20)
    model, pauses = retrying(fake)
    with pytest.raises(errors.ModelUnavailable):
        await model.complete(REQUEST)
    assert len(fake.requests) == TRIES
    assert sum(pauses) <= 62


async def test_what_the_provider_asks_for_is_waited_at_least() -> None:
    model, pauses = retrying(FakeModel(busy(30), "Here."))
    await model.complete(REQUEST)
    assert 30 <= pauses[0] <= 31


async def test_nobody_waits_for_hours() -> None:
    model, pauses = retrying(FakeModel(busy(LONGEST_WAIT_ASKED + 1), "Here."))
    with pytest.raises(errors.ModelUnavailable):
        await model.complete(REQUEST)
    assert pauses == []


@pytest.mark.parametrize(
    "error",
    [
        errors.ModelRefused(model="m", status=400, reason="no"),
        errors.KeyRejected(model="m", status=401, reason="no"),
        errors.KeyMissing(model="m", variables="K"),
        errors.ModelUnknown(model="m", reason="no"),
        errors.ContextTooLong(model="m", reason="no"),
        errors.RateLimited(model="m", status=429, reason="slow down", retry_after=1),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_does_not_pass_or_is_waited_for_elsewhere_is_not_tried_again(error: errors.ModelError) -> None:
    fake = FakeModel(error, "Here.")
    model, _ = retrying(fake)
    with pytest.raises(type(error)):
        await model.complete(REQUEST)
    assert len(fake.requests) == 1


async def test_jitter_is_full() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    for seed in range(50):
        model = RetryingModel(FakeModel(LOST, "Here."), sleep=sleep, chance=random.Random(seed))
        await model.complete(REQUEST)
    assert min(pauses) < FIRST_WAIT / 4
    assert max(pauses) > FIRST_WAIT * 3 / 4
    assert all(0 <= pause <= FIRST_WAIT for pause in pauses)


async def test_features_are_the_models() -> None:
    assert RetryingModel(FakeModel(features=Features(context_window=7))).features().context_window == 7
