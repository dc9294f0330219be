"""Tools in words, for models that cannot call functions: Thought, Action, Action Input, Observation, Final Answer.

Only a renderer and a parser: the loop is the same as with native tools. The parser takes whatever can be understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from crewq.agent.dialect import Reply
from crewq.agent.json_text import decoded, first_value, mended
from crewq.agent.toolbox import ToolResult
from crewq.model import Message, ModelAnswer, ToolCall

STOP = "\nObservation:"  # what comes after it is the tools' to say, and not the model's

FEEDBACK = (
    "Your reply was in neither of the two forms, so nothing came of it. To use a tool, write a line `Action:` with its "
    "name and a line `Action Input:` with its arguments as JSON. To end the task, write `Final Answer:` and the answer."
)

_START = r"(?im)^[ \t>*#_`-]*"  # a line's beginning, with the Markdown that models like to put there
_FINAL_LINE = re.compile(_START + r"final[ _]answer[*_`]*[ \t]*:[*_`]*")
_FINAL_INLINE = re.compile(r"Final Answer[*_`]*\s*:[*_`]*")
_ACTION = re.compile(_START + r"action[*_`]*[ \t]*\d*[ \t]*:[*_`]*[ \t]*(?P<name>[^\n({]+)")
_INPUT = re.compile(r"(?i)[*_`]*action[ _]*input[*_`]*[ \t]*\d*[ \t]*:[*_`]*")
_OBSERVATION = re.compile(_START + r"observation[*_`]*[ \t]*\d*[ \t]*:")
_THOUGHT = re.compile(_START + r"thought[*_`]*[ \t]*\d*[ \t]*:[*_`]*[ \t]*")

# The names under which models put a call into JSON of its own, with or without `Action:`.
_NAME_KEYS = ("action", "tool", "tool_name", "name", "function")
_ARGUMENT_KEYS = ("action_input", "arguments", "parameters", "input", "args")


class Text:
    """Tools in words."""

    def protocol(self, schemas: Sequence[dict[str, Any]]) -> str:
        """The list of the tools, and the two forms that a reply may have."""
        listed = "\n".join(_listed(schema["function"]) for schema in schemas)
        return (
            f"You can use these tools, one at a time:\n{listed}\n\n"
            "To use one, reply in this form, and stop there; its result will be given to you after `Observation:`.\n"
            "Thought: why you need it\nAction: the name of the tool\nAction Input: its arguments, as one JSON object\n\n"
            "When you know enough, or need no tool, reply in this form:\n"
            "Thought: why you are done\nFinal Answer: the complete answer"
        )

    def tools(self, schemas: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        """None: the system message says it."""
        return ()

    def read(self, answer: ModelAnswer) -> Reply:
        """The final answer in its text, or the call, or what is wrong with it."""
        return parse(answer.text, cut_off=answer.finish_reason == "length")

    def said(self, reply: Reply) -> Message:
        """An assistant's message, without what the model made up for the tools."""
        return {"role": "assistant", "content": reply.said}

    def results(self, calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> list[Message]:
        """The observation."""
        return [{"role": "user", "content": f"Observation: {result.text}"} for result in results]


def _listed(function: dict[str, Any]) -> str:
    schema = json.dumps(function["parameters"], ensure_ascii=False)
    return f"- {function['name']}: {function['description']}\n  Arguments (JSON schema): {schema}"


def parse(text: str, *, cut_off: bool = False) -> Reply:
    """What a reply in words means.

    A final answer wins over an action, unless it stands behind an observation that the model made up for itself.
    """
    said = _without_made_up_results(text.strip())
    if final := _FINAL_LINE.search(said) or _FINAL_INLINE.search(said):
        return Reply(said=said, answer=said[final.end() :].strip(), cut_off=cut_off)
    if found := _action(said, cut_off) or _call_in_json(said, cut_off):
        at, name, arguments = found
        call = ToolCall(id="call_0", name=name, arguments=arguments)
        return Reply(said=said, thought=_THOUGHT.sub("", said[:at]).strip(), calls=(call,), cut_off=cut_off)
    return Reply(said=said, problem=FEEDBACK if said else None, cut_off=cut_off)


def _without_made_up_results(text: str) -> str:
    action = _ACTION.search(text)
    made_up = _OBSERVATION.search(text, action.end()) if action else None
    final = _FINAL_LINE.search(text)
    if made_up is None or (final and final.start() < made_up.start()):
        return text
    return text[: made_up.start()].rstrip()


def _action(text: str, cut_off: bool) -> tuple[int, str, str] | None:
    action = _ACTION.search(text)
    if action is None:
        return None
    name = _INPUT.split(action["name"])[0]
    given = _INPUT.search(text, action.start("name"))
    rest = text[given.end() :] if given else text[action.end() :]
    another = _ACTION.search(rest)
    return action.start(), _bare(name), _arguments(rest[: another.start()] if another else rest, cut_off)


def _bare(name: str) -> str:
    return name.strip().strip("`*_\"'[]<>. ")


def _arguments(text: str, cut_off: bool) -> str:
    """The JSON object in `text`; as it is if there is none, so that the model hears what it wrote."""
    start = text.find("{")
    if start < 0:
        return _bare(text.strip().removeprefix("```json").strip("`"))
    try:
        return first_value(text, start)
    except ValueError:
        pass
    if cut_off:
        return text[start:]  # mended, it would be a call that the model did not mean
    meant = mended(text[start:])
    return json.dumps(meant, ensure_ascii=False) if isinstance(meant, dict) and meant else text[start:]


def _call_in_json(text: str, cut_off: bool) -> tuple[int, str, str] | None:
    start = text.find("{")
    if start < 0:
        return None
    try:
        value = decoded(_arguments(text, cut_off))
    except ValueError:
        return None
    name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    arguments = next((value[key] for key in _ARGUMENT_KEYS if key in value), None)
    if name is None or arguments is None:
        return None
    return start, name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


__all__ = ["FEEDBACK", "STOP", "Text", "parse"]
