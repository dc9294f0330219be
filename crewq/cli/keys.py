"""The variables that hold providers' keys. crewq tells whether they are set, and never what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crewq.settings import MODEL_VARIABLES

# litellm's variable for each provider, and a small model of theirs that can use tools.
MODELS: Final[dict[str, str]] = {
    "OPENAI_API_KEY": "openai/gpt-4.1-mini",
    "ANTHROPIC_API_KEY": "anthropic/claude-haiku-4-5",
    "GEMINI_API_KEY": "gemini/gemini-2.5-flash",
    "MISTRAL_API_KEY": "mistral/mistral-small-latest",
    "GROQ_API_KEY": "groq/openai/gpt-oss-120b",
    "DEEPSEEK_API_KEY": "deepseek/deepseek-v3.2",
    "XAI_API_KEY": "xai/grok-4.3",
    "TOGETHERAI_API_KEY": "together_ai/openai/gpt-oss-120b",
    "CEREBRAS_API_KEY": "cerebras/gpt-oss-120b",
    "OPENROUTER_API_KEY": "openrouter/openai/gpt-4.1-mini",
}
# Kept by litellm under these names, but a model cannot be guessed from them.
OTHERS: Final = (
    "AZURE_API_KEY", "AWS_ACCESS_KEY_ID", "COHERE_API_KEY", "FIREWORKS_API_KEY", "NVIDIA_NIM_API_KEY", "OLLAMA_API_BASE",
    "PERPLEXITYAI_API_KEY", "VERTEXAI_PROJECT",
)  # fmt: skip


def present(environ: Mapping[str, str]) -> list[str]:
    """The names of those that are set."""
    return [name for name in (*MODELS, *OTHERS) if environ.get(name)]


def suggested_model(environ: Mapping[str, str]) -> str | None:
    """The model to ask where none was named: the environment's own choice, else one whose key is there."""
    if chosen := environ.get("CREWQ_MODEL"):
        return chosen
    if not present(environ):
        return None
    named = (environ[name] for name in MODEL_VARIABLES if environ.get(name))
    return next(named, None) or next((MODELS[name] for name in MODELS if environ.get(name)), None)


__all__ = ["MODELS", "present", "suggested_model"]
