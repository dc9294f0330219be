"""Keys of providers that stand in a program: lent to the worker in the same process, and in nothing that travels."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.freeze import freeze, lent_keys
from crewq.language_model import LLM
from tests.unit.parts import EMBEDDED, REMOTE, agent, plan, task

KEY = "sk-hunter2"


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("gpt-4o", "OPENAI_API_KEY"),
        ("openai/gpt-4o", "OPENAI_API_KEY"),
        ("anthropic/claude", "ANTHROPIC_API_KEY"),
        ("together-ai/x/y", "TOGETHER_AI_API_KEY"),
    ],
)
def test_a_literal_key_is_refused_for_a_worker_elsewhere(model: str, variable: str) -> None:
    with pytest.raises(errors.LiteralKey, match=variable) as caught:
        freeze(plan(task(by=agent(llm=LLM(model=model, api_key=KEY)))), REMOTE)
    assert KEY not in str(caught.value)


def test_a_literal_key_is_lent_to_the_worker_in_this_process_and_is_in_no_spec() -> None:
    keyed = LLM(model="openai/gpt-4o", api_key=KEY, temperature=0.5)
    crew = plan(task("a", agent(llm=keyed)), task("b", agent("Other")))
    spec = freeze(crew, EMBEDDED)
    assert KEY not in spec.to_json()
    assert KEY not in repr(spec)
    assert lent_keys(crew, spec) == {spec.agents[0].llm.model_dump_json(): KEY}
    assert lent_keys(plan(task()), freeze(plan(task()), EMBEDDED)) == {}
