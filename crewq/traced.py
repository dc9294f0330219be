"""The spans of what an agent does: each try of a model call, each tool at work. Contents only where a person has
asked for them, by OpenTelemetry's own variable."""

from __future__ import annotations

import json
from typing import Any

from crewq.agent import Invoke
from crewq.model import Model, ModelAnswer, ModelRequest, OnToken
from crewq.tools import BaseTool
from crewq.tracing import recording


async def ask(model: Model, request: ModelRequest, on_token: OnToken | None, content: bool) -> ModelAnswer:
    """The answer of a model, in a span `chat`.

    Args:
        model: who is asked.
        request: what.
        on_token: as the model takes it.
        content: whether the span tells what is said.

    Raises:
        ModelError: as the model.
    """
    provider, _, name = request.model.rpartition("/")
    attributes = {
        "gen_ai.provider.name": provider.partition("/")[0] or "openai",
        "gen_ai.request.model": name,
        "gen_ai.request.max_tokens": request.options.get("max_tokens"),
        "gen_ai.request.temperature": request.options.get("temperature"),
        "gen_ai.input.messages": json.dumps(list(request.messages), ensure_ascii=False, default=str) if content else "",
    }
    with recording("chat", name, attributes, "CLIENT") as told:
        answer = await model.complete(request, on_token)
        told.note(
            {
                "gen_ai.response.finish_reasons": (answer.finish_reason,),
                "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
                "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
                "gen_ai.output.messages": _said(answer) if content else "",
            }
        )
    return answer


def _said(answer: ModelAnswer) -> str:
    calls = [call.model_dump() for call in answer.tool_calls]
    return json.dumps([{"role": "assistant", "content": answer.text, "tool_calls": calls}], ensure_ascii=False)


def traced(invoke: Invoke, content: bool) -> Invoke:
    """`invoke`, in a span `execute_tool`.

    Args:
        invoke: calls a tool.
        content: whether the span tells what with, and what came of it.
    """

    async def invoke_in_span(tool: BaseTool, arguments: dict[str, Any]) -> str:
        told_of = json.dumps(arguments, ensure_ascii=False, default=str) if content else ""
        attributes = {"gen_ai.tool.name": tool.public_name, "gen_ai.tool.call.arguments": told_of}
        with recording("execute_tool", tool.public_name, attributes) as told:
            result = await invoke(tool, arguments)
            told.note({"gen_ai.tool.call.result": result if content else ""})
        return result

    return invoke_in_span


__all__ = ["ask", "traced"]
