"""The demo's crew, and the stand-in that plays the model where there is no key for a real one."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Final

from crewq.crew import Crew
from crewq.members import Agent, Task
from crewq.model import BaseLLM, Message, ModelAnswer, ModelRequest, OnToken, ToolCall
from crewq.outputs import UsageMetrics

DATASETS: Final = ([25, 30, 35, 40, 45], [20, 22, 24, 28, 30], [31, 38, 44, 52, 60, 67])
LATENCY = 0.05  # seconds that the stand-in takes for an answer, so that progress can be seen

CODE = """\
import json
ages = {ages}
print(json.dumps({{"people": len(ages), "average": sum(ages) / len(ages), "youngest": min(ages), "oldest": max(ages)}}))"""
FINDINGS = (
    "The average age of the {people} people is {average:.1f}: the youngest is {youngest}, and the oldest {oldest}."
)
NUMBER = r"\d+(?:\.\d+)?"
FOUND = re.compile(
    rf"of the (?P<people>\d+) people is (?P<average>{NUMBER}): "
    rf"the youngest is (?P<youngest>{NUMBER}), and the oldest (?P<oldest>{NUMBER})"
)
REPORT = (
    "The group has {people} people, who are {average} years old on average. Their ages go from {youngest} to {oldest}, "
    "a span of {span:g} years, and the middle of that span is {lean} the average."
)


def average_age_crew(llm: str | BaseLLM | None) -> Crew:
    """Two tasks over `{ages}`: the first has Python compute the average, the second reports on what came of it."""
    analyst = Agent(
        role="Data Analyst",
        goal="Find out what a list of numbers says",
        backstory="You are an experienced analyst, and compute with Python rather than in your head.",
        llm=llm,
        allow_code_execution=True,
    )
    writer = Agent(
        role="Report Writer",
        goal="Say what was found in words that everybody understands",
        backstory="You write short, plain reports, and add no numbers of your own.",
        llm=llm,
    )
    analyse = Task(
        name="analyse",
        description="Analyse the ages of a group of people, and compute the average age. Ages: {ages}",
        expected_output="The number of people, the average age, the youngest and the oldest.",
        agent=analyst,
    )
    report = Task(
        name="report",
        description="Write a report of one paragraph on the ages of the group.",
        expected_output="One paragraph of two or three sentences.",
        agent=writer,
    )
    return Crew(name="average-age", agents=[analyst, writer], tasks=[analyse, report])


class StandIn(BaseLLM):
    """Plays the model in the demo's crew: asks for Python where it has a tool for it, and words what came of that.

    It takes every number from the conversation, so its answers rest on what the sandbox really computed. It keeps no
    state, so it is the same in any worker. Words are counted as tokens, and cost nothing.
    """

    model: str = "stand-in"

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """The next reply of the conversation."""
        await asyncio.sleep(LATENCY)
        last = request.messages[-1]
        if last["role"] == "tool":
            return _said(request, _findings(str(last["content"])))
        prompt = str(last["content"])
        if request.tools:
            return _asked_for_python(request, prompt)
        return _said(request, _report(prompt))


def _asked_for_python(request: ModelRequest, prompt: str) -> ModelAnswer:
    arguments = json.dumps({"code": CODE.format(ages=_list_in(prompt))})
    call = ToolCall(id="call_0", name="run_python", arguments=arguments)
    return ModelAnswer(tool_calls=(call,), finish_reason="tool_calls", usage=_usage(request, arguments))


def _said(request: ModelRequest, text: str) -> ModelAnswer:
    return ModelAnswer(text=text, usage=_usage(request, text))


def _list_in(prompt: str) -> str:
    found = re.search(r"\[[\d\s.,-]+\]", prompt)
    return found[0] if found else "[]"


def _findings(printed: str) -> str:
    try:
        facts: dict[str, Any] = json.loads(printed)
    except ValueError:
        return f"The average could not be computed. Python said: {printed}"
    return FINDINGS.format(**facts)


def _report(prompt: str) -> str:
    found = FOUND.search(prompt)
    if found is None:
        return "There is nothing to report on: what was found holds no average."
    youngest, oldest = float(found["youngest"]), float(found["oldest"])
    middle, average = (youngest + oldest) / 2, float(found["average"])
    lean = "above" if middle > average else "below" if middle < average else "exactly"
    return REPORT.format(**found.groupdict(), span=oldest - youngest, lean=lean)


def _usage(request: ModelRequest, said: str) -> UsageMetrics:
    prompt, completion = sum(_words(message) for message in request.messages), len(said.split())
    return UsageMetrics(
        total_tokens=prompt + completion, prompt_tokens=prompt, completion_tokens=completion, successful_requests=1
    )


def _words(message: Message) -> int:
    return len(str(message["content"] or "").split())


__all__ = ["DATASETS", "StandIn", "average_age_crew"]
