"""What a limit is, how CREWQ_LIMITS says so, and how limits and fallbacks travel."""

from __future__ import annotations

import pytest

from crewq import LLM, errors
from crewq.freeze import freeze, lent_keys, modules_of
from crewq.limits import Limit, ModelLimit, limit_of, read_limits, tightest
from tests.unit import parts
from tests.unit.parts import EMBEDDED, HERE, REMOTE, agent, plan, task

KEY = "sk-hunter2"


def test_limits_are_read() -> None:
    text = " openai/* rpm=500 tpm=200000; ollama_chat/llama3 max_concurrency=2 ;"
    assert read_limits(text, "V") == (
        ModelLimit("openai/*", Limit(rpm=500, tpm=200_000)),
        ModelLimit("ollama_chat/llama3", Limit(max_concurrency=2)),
    )
    assert read_limits("", "V") == ()


@pytest.mark.parametrize(
    "text",
    [
        "openai/*",
        "rpm=5",
        "openai/* rpm",
        "openai/* rpm=0",
        "openai/* rpm=-1",
        "openai/* rpm=1.5",
        "openai/* rpd=5",
        "openai/* rpm=5 fast",
    ],
)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(errors.SettingInvalid, match="CREWQ_LIMITS"):
        read_limits(text, "CREWQ_LIMITS")


def test_of_several_the_least_counts() -> None:
    limits = read_limits("* rpm=100; openai/* rpm=50 tpm=10; openai/gpt-4o max_concurrency=3 tpm=20", "V")
    assert limit_of("openai/gpt-4o", limits) == Limit(rpm=50, tpm=10, max_concurrency=3)
    assert limit_of("openai/other", limits) == Limit(rpm=50, tpm=10)
    assert limit_of("anthropic/x", limits) == Limit(rpm=100)
    assert not limit_of("anthropic/x", limits[1:])
    assert tightest([]) == Limit()
    assert tightest([Limit(rpm=5), Limit(rpm=3, max_concurrency=1)]) == Limit(rpm=3, max_concurrency=1)


def test_limits_and_fallbacks_travel_and_so_does_a_key_of_a_fallback() -> None:
    second = LLM(model="openai/second", api_key=KEY, seed=1)
    first = LLM(model="openai/first", rpm=1, tpm=2, max_concurrency=3, fallbacks=[second, "third", parts.Model()])
    crew = plan(task(by=agent(llm=first)))
    spec = freeze(crew, EMBEDDED)
    frozen = spec.agents[0].llm
    assert (frozen.rpm, frozen.tpm, frozen.max_concurrency) == (1, 2, 3)
    assert [one.model for one in frozen.chain] == ["openai/first", "openai/second", "third", "my-model"]
    assert (frozen.chain[1].options, frozen.chain[3].reference) == ({"seed": 1}, f"{HERE}:Model")
    assert KEY not in spec.to_json()
    assert lent_keys(crew, spec) == {frozen.chain[1].model_dump_json(): KEY}
    assert modules_of(spec) == {HERE}
    with pytest.raises(errors.LiteralKey):
        freeze(crew, REMOTE)
