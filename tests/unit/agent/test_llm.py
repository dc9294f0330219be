"""Which model a spec leads to, and what is said without any call. The calls themselves are in tests/integration."""

from __future__ import annotations

import subprocess
import sys

import pytest

from crewq import errors
from crewq.agent import LiteLLMModel, account_of, build_model
from crewq.model import Features, ModelRequest
from crewq.references import Imports
from crewq.spec import LLMSpec
from crewq.testing import ScriptedModel

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "OLLAMA_API_BASE", "AWS_ACCESS_KEY_ID")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


def asked(model: str, **options: object) -> ModelRequest:
    return ModelRequest(model=model, messages=({"role": "user", "content": "x"},), options=options)


def test_importing_the_agent_does_not_import_litellm() -> None:
    code = "import sys, crewq.agent, crewq.testing; assert not {'litellm', 'openai'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_name_is_answered_by_litellm() -> None:
    assert isinstance(build_model(LLMSpec(model="openai/x"), Imports()), LiteLLMModel)


def test_calls_are_counted_under_model_key_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one-key")
    at_home = LLMSpec(model="openai/x", options={"base_url": "http://home"})
    accounts = [account_of(LLMSpec(model=name), key) for name in ("openai/x", "gpt-4o") for key in (None, "sk-another")]
    accounts += [account_of(at_home), account_of(LLMSpec(model="openai/x", reference="a:b"))]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-key")
    accounts.append(account_of(LLMSpec(model="openai/x")))
    assert len(set(accounts)) == len(accounts)
    assert account_of(LLMSpec(model="openai/x"), "sk-another") == accounts[1]
    assert account_of(LLMSpec(model="openai/x", rpm=5, options={"seed": 1})) == accounts[-1], "it is one account"
    assert [account.partition("@")[0] for account in accounts[:3]] == ["openai/x", "openai/x", "gpt-4o"]
    assert not any("sk-" in account for account in accounts)


def test_a_class_of_the_users_own_is_answered_by_itself() -> None:
    spec = LLMSpec(model="mine", reference="crewq.testing:ScriptedModel", fields={"answers": ["a"]})
    assert build_model(spec, Imports()) == ScriptedModel(answers=["a"])


@pytest.mark.parametrize("reference", ["os:system", "crewq.testing:call", "crewq.testing:ScriptedCall"])
def test_a_reference_to_something_else_is_refused(reference: str) -> None:
    with pytest.raises(errors.ReferenceRefused):
        build_model(LLMSpec(model="mine", reference=reference), Imports())


def test_fields_that_the_class_does_not_take_are_an_error() -> None:
    spec = LLMSpec(model="mine", reference="crewq.testing:ScriptedModel", fields={"nonsense": 1})
    with pytest.raises(errors.ModelUnknown, match="does not accept its fields"):
        build_model(spec, Imports())


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("model", "variable"),
    [("gpt-4o-mini", "OPENAI_API_KEY"), ("openai/x", "OPENAI_API_KEY"), ("anthropic/x", "ANTHROPIC_API_KEY")],
)
async def test_a_missing_key_is_named_before_any_call(model: str, variable: str) -> None:
    with pytest.raises(errors.KeyMissing, match=f"{model} needs {variable}"):
        await LiteLLMModel(LLMSpec(model=model)).complete(asked(model))


@pytest.mark.asyncio
@pytest.mark.parametrize("model", ["nonsense", "no_such_provider/x"])
async def test_an_unknown_provider_is_named_before_any_call(model: str) -> None:
    with pytest.raises(errors.ModelUnknown, match=model):
        await LiteLLMModel(LLMSpec(model=model)).complete(asked(model))


@pytest.mark.asyncio
@pytest.mark.parametrize("model", ["ollama_chat/llama3", "hosted_vllm/x"])
async def test_a_local_model_needs_no_key(model: str) -> None:
    nobody_listens = "http://127.0.0.1:9"
    with pytest.raises(errors.ModelUnavailable):
        await LiteLLMModel(LLMSpec(model=model)).complete(asked(model, base_url=nobody_listens))


@pytest.mark.parametrize(
    ("model", "features"),
    [
        ("gpt-4o-mini", Features(native_tools=True, answer_schema=True, context_window=128_000)),
        ("openai/no-such-model", Features(native_tools=True)),
        ("hosted_vllm/mine", Features(native_tools=True)),
        ("ollama_chat/llama3", Features(native_tools=True)),
        ("ollama/llama3", Features(native_tools=False)),
        ("nonsense", Features(native_tools=True)),
    ],
)
def test_features_are_known_or_assumed(model: str, features: Features) -> None:
    assert LiteLLMModel(LLMSpec(model=model)).features() == features
