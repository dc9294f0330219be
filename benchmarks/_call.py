"""The model call that plain jobs make, as litellm's documentation has it."""

from __future__ import annotations

import os


def ask_model(context: str, text: str) -> str:
    """One model call, as a task of a crew makes it."""
    import litellm

    answer = litellm.completion(
        model=os.environ["BENCH_MODEL"],
        api_base=os.environ["BENCH_MODEL_URL"],
        messages=[
            {"role": "system", "content": "You are a writer."},
            {"role": "user", "content": f"{text}\n{context}"},
        ],
        num_retries=0,
        max_retries=0,
    )
    return str(answer.choices[0].message.content)
