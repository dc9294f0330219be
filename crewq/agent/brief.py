"""What one agent is given to do, what it reports on the way, and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from crewq.model import Message
from crewq.outputs import TaskOutput
from crewq.spec import AgentSpec, TaskSpec


@dataclass(frozen=True)
class Brief:
    """One task, ready to be worked on: its templates and its agent's are interpolated already.

    Fields:
        agent: who works on it.
        task: what is to be done.
        context: the outputs of earlier tasks that it stands on, as one text.
        remembered: what earlier runs of the crew put out, as far as this one is told of it.
        today: the date that an agent with `inject_date` is told; None: the current one, in UTC. A run that may go on
            after midnight gives its own first day, so that the same questions are asked again.
    """

    agent: AgentSpec
    task: TaskSpec
    context: str = ""
    remembered: tuple[str, ...] = ()
    today: date | None = None

    def output(self, text: str, value: Any = None) -> TaskOutput:
        """The task's output, made of an answer and, if the task has a schema, the value in it."""
        task = self.task
        return TaskOutput(
            description=task.description,
            name=task.name,
            expected_output=task.expected_output,
            raw=text,
            json_dict=value,
            agent=self.agent.role,
            output_format=task.output_format,
        )

    def skipped(self) -> TaskOutput:
        """The output, without a text, of a task that is not needed."""
        return TaskOutput(description=self.task.description, name=self.task.name, agent=self.agent.role)


@dataclass(frozen=True)
class Step:
    """What a `step_callback` is given: a tool that was used, or the answer.

    Fields:
        kind: `tool` or `answer`.
        text: what the model said: its thought before a tool, or the answer itself.
        tool: the name of the tool.
        arguments: its arguments, the JSON text as the model wrote it.
        result: what the tool gave back, or why it did not.
    """

    kind: Literal["tool", "answer"]
    text: str
    tool: str | None = None
    arguments: str | None = None
    result: str | None = None


@dataclass(frozen=True)
class Answer:
    """What came of a task.

    Fields:
        output: the answer that was accepted; its `json_dict` fits the schema, if the task has one.
        messages: the whole conversation.
    """

    output: TaskOutput
    messages: list[Message]

    @property
    def text(self) -> str:
        """The answer in words."""
        return self.output.raw


__all__ = ["Answer", "Brief", "Step"]
