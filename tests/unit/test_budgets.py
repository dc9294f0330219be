from __future__ import annotations

from typing import Any

import pytest

from crewq import LLM, errors
from crewq.agent.llm import LiteLLMModel
from crewq.budgets import Budget, TenantBudget, budget_of, read_budgets
from crewq.settings import Settings
from crewq.spec import LLMSpec
from crewq.terms import Terms
from crewq.testing import ScriptedModel


def test_budgets_are_read_by_tenant() -> None:
    text = "acme max_cost=50; team-* max_cost=0.5 max_tokens=2000000 ; * max_tokens=10;"
    budgets = Settings.from_env({"CREWQ_BUDGETS": text}).budgets
    assert budgets == (
        TenantBudget("acme", Budget(50.0)),
        TenantBudget("team-*", Budget(0.5, 2_000_000)),
        TenantBudget("*", Budget(None, 10)),
    )
    assert budget_of("acme", budgets) == Budget(50.0), "the first that fits counts, though * fits too"
    assert budget_of("team-1", budgets) == Budget(0.5, 2_000_000)
    assert budget_of("anybody", budgets) == Budget(None, 10)
    assert not budget_of("anybody", budgets[:2])
    assert Settings.from_env({}).budgets == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acme", "each part must be a tenant and its budget"),
        ("max_cost=5", "each part must be a tenant and its budget"),
        ("acme max_cost=much", "'max_cost=much' is neither"),
        ("acme max_cost=0", "'max_cost=0' is neither"),
        ("acme max_cost=-1", "'max_cost=-1' is neither"),
        ("acme max_tokens=1.5", "'max_tokens=1.5' is neither"),
        ("acme max_cost=inf", "'max_cost=inf' is neither"),
        ("acme cost=5", "'cost=5' is neither"),
        ("acme max_cost=5 other max_cost=6", "'other' is neither"),
    ],
)
def test_budgets_that_cannot_be_meant_are_refused(text: str, said: str) -> None:
    with pytest.raises(errors.SettingInvalid, match="CREWQ_BUDGETS") as refused:
        read_budgets(text, "CREWQ_BUDGETS")
    assert said in str(refused.value)


@pytest.mark.parametrize("max_cost", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_budget_of_dollars_is_a_number_above_nothing(max_cost: Any) -> None:
    with pytest.raises(errors.InvalidField, match="max_cost"):
        Terms(max_cost=max_cost)


@pytest.mark.parametrize("max_tokens", [0, -1, 1.5, "5", True])
def test_a_budget_of_tokens_is_a_whole_number(max_tokens: Any) -> None:
    with pytest.raises(errors.InvalidField, match="max_tokens"):
        Terms(max_tokens=max_tokens)


def test_a_budget_is_read_as_it_was_written() -> None:
    terms = Terms(max_cost=0.1, max_tokens=5)
    assert Terms.read(terms.fields()) == terms


# -- prices ------------------------------------------------------------------------------------------------


def price(model: str, **fields: Any) -> float | None:
    return LiteLLMModel(LLMSpec(model=model, **fields)).price(1000, 100)


@pytest.mark.parametrize("model", ["gpt-4.1-mini", "openai/gpt-4.1-mini"])
def test_litellm_knows_what_a_call_costs(model: str) -> None:
    assert price(model) == pytest.approx(1000 * 0.4e-6 + 100 * 1.6e-6)


def test_what_is_free_is_known_to_be() -> None:
    assert price("ollama/llama3") == 0.0


@pytest.mark.parametrize("model", ["openai/any", "nowhere/any", "any"])
def test_a_price_that_is_not_known_is_not_nothing(model: str) -> None:
    assert price(model) is None
    assert price(model, price=(0.001, 0.01)) == pytest.approx(2.0)


def test_a_model_of_ones_own_says_its_price_itself() -> None:
    class Mine(ScriptedModel):
        def price(self, prompt_tokens: int, completion_tokens: int) -> float:
            return 0.5

    assert (ScriptedModel().price(1, 1), Mine().price(1, 1)) == (None, 0.5)


def test_half_a_price_is_an_error() -> None:
    with pytest.raises(errors.InvalidField, match="a price is both"):
        LLM(model="openai/any", input_cost_per_token=0.1)


def test_a_price_is_no_part_of_what_is_asked() -> None:
    with_price = LLM(model="openai/any", input_cost_per_token=0.1, output_cost_per_token=0.2)
    assert with_price.price == (0.1, 0.2)
    assert with_price.options() == LLM(model="openai/any").options()
