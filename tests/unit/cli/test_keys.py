from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from crewq.cli.keys import MODELS, present, suggested_model

PRICES = "model_prices_and_context_window_backup.json"


@pytest.mark.parametrize(
    ("environ", "model"),
    [
        ({}, None),
        ({"OPENAI_API_KEY": ""}, None),
        ({"MODEL": "gpt-4.1"}, None),
        ({"CREWQ_MODEL": "ollama_chat/llama3"}, "ollama_chat/llama3"),
        ({"ANTHROPIC_API_KEY": "x"}, MODELS["ANTHROPIC_API_KEY"]),
        ({"ANTHROPIC_API_KEY": "x", "OPENAI_API_KEY": "x"}, MODELS["OPENAI_API_KEY"]),
        ({"ANTHROPIC_API_KEY": "x", "MODEL": "anthropic/claude-opus-4-5"}, "anthropic/claude-opus-4-5"),
        ({"AZURE_API_KEY": "x"}, None),
    ],
)
def test_the_model_is_the_one_whose_key_is_there(environ: dict[str, str], model: str | None) -> None:
    assert suggested_model(environ) == model


def test_only_names_are_told() -> None:
    assert present({"OPENAI_API_KEY": "sk-secret", "AZURE_API_KEY": "y", "OTHER": "z"}) == [
        "OPENAI_API_KEY",
        "AZURE_API_KEY",
    ]


# OpenRouter passes on whatever model it has, so litellm keeps no list of them.
@pytest.mark.parametrize("model", [model for model in MODELS.values() if not model.startswith("openrouter/")])
def test_litellm_knows_the_models_suggested(model: str) -> None:
    package = find_spec("litellm")
    assert package is not None
    assert package.origin is not None
    known = json.loads((Path(package.origin).parent / PRICES).read_text())
    about = known.get(model) or known[model.partition("/")[2]]
    assert about["supports_function_calling"]
