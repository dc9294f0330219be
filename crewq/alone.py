"""An agent or a task by itself: a run of a crew of one task, as durable as any other, and as easy to find again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Unpack

from pydantic import BaseModel

from crewq import errors, lacking, members
from crewq.crew import Crew
from crewq.member import without
from crewq.model import Message
from crewq.outputs import CrewOutput, LiteAgentOutput, TaskOutput
from crewq.run import Run
from crewq.template import names_in
from crewq.terms import TermsGiven
from crewq.tools import BaseTool

MESSAGE, CONTEXT = "crewq_message", "crewq_context"  # what is said stands in inputs, whose values are never expanded
SAID_BEFORE = "What was said before:"
KNOWN = "What is known about it:"


class Agent(members.Agent):  # noqa: D101 - it is that of the fields
    __doc__ = members.Agent.__doc__

    @without(lacking.OF_A_KICKOFF)
    def kickoff(
        self,
        messages: str | Sequence[Message],
        response_format: type[BaseModel] | None = None,
        **terms: Unpack[TermsGiven],
    ) -> LiteAgentOutput:
        """Have the agent answer by itself, and wait: a run of a crew of one task.

        Args:
            messages: what it is to do or to answer; or a conversation, whose last message of a `user` that is.
            response_format: the answer must fit this class, and comes back as one.
            terms: `tenant`, `priority`, `max_cost` (US dollars) and `max_tokens`; see `crewq.terms.TermsGiven`.

        Raises:
            UsageError: the agent or the messages are wrong; nothing was started.
            StoreUnreachable: there is no Redis; nothing was started.
            RunFailed, RunCancelled: that is how it ended.
        """
        crew, inputs = self._asked(messages, response_format)
        output: Any = crew.kickoff(inputs, **terms)
        answer: LiteAgentOutput = output  # by `_as_answer`
        return answer

    @without(lacking.OF_A_KICKOFF)
    def kickoff_async(
        self,
        messages: str | Sequence[Message],
        response_format: type[BaseModel] | None = None,
        **terms: Unpack[TermsGiven],
    ) -> Run:
        """As `kickoff`, but returns at once: the handle of the run, whose result is the `LiteAgentOutput`."""
        crew, inputs = self._asked(messages, response_format)
        return crew.start(inputs, **terms)

    akickoff: ClassVar[Any] = kickoff_async

    def execute_task(
        self, task: members.Task, context: str | None = None, tools: Sequence[BaseTool] | None = None
    ) -> str:
        """Do a task, in a run of its own, and wait: the text of its output.

        Args:
            task: what to do; whose it is otherwise makes no difference.
            context: what is known about it.
            tools: instead of its own or the agent's.

        Raises:
            UsageError, StoreUnreachable, RunFailed, RunCancelled: as of `kickoff`.
        """
        return _done(_crew_of(task, self, context, tools)).raw

    async def aexecute_task(
        self, task: members.Task, context: str | None = None, tools: Sequence[BaseTool] | None = None
    ) -> str:
        """As `execute_task`, for a coroutine."""
        output: Any = await _started(_crew_of(task, self, context, tools))
        return str(output.raw)

    def _asked(self, messages: Any, response_format: type[BaseModel] | None) -> tuple[Crew, dict[str, Any]]:
        task = members.Task(
            name="answer",
            description=f"{{{MESSAGE}}}",
            agent=self,
            output_pydantic=response_format,
            guardrail=self.guardrail,
            guardrail_max_retries=self.guardrail_max_retries,
        )
        crew = _crew(self.role, self, task, _as_answer)
        return crew, {MESSAGE: _said(messages), **_as_they_are(self)}


class Task(members.Task):  # noqa: D101 - likewise
    __doc__ = members.Task.__doc__

    def execute_sync(
        self,
        agent: members.Agent | None = None,
        context: str | None = None,
        tools: Sequence[BaseTool] | None = None,
    ) -> TaskOutput:
        """Do the task by itself, in a run of its own, and wait. Its `{placeholders}` stay as they are.

        Args:
            agent: who does it; None: its own.
            context: what is known about it, as text.
            tools: instead of its own or the agent's.

        Raises:
            UsageError, StoreUnreachable, RunFailed, RunCancelled: as of `Crew.kickoff`.
        """
        return _done(_crew_of(self, agent, context, tools))

    def execute_async(
        self,
        agent: members.Agent | None = None,
        context: str | None = None,
        tools: Sequence[BaseTool] | None = None,
    ) -> Run:
        """As `execute_sync`, but returns at once: the handle of the run, whose result is the `TaskOutput`."""
        return _started(_crew_of(self, agent, context, tools))

    aexecute_sync: ClassVar[Any] = execute_async


class ConditionalTask(Task, members.ConditionalTask):  # noqa: D101 - likewise
    __doc__ = members.ConditionalTask.__doc__


# -- a crew of one task ------------------------------------------------------------------------------------

Asked = tuple[Crew, dict[str, Any]]


def _crew(name: str, agent: members.Agent, task: members.Task, finish: Callable[[CrewOutput], Any]) -> Crew:
    return Crew(name=name, agents=[agent], tasks=[task], verbose=agent.verbose, after_kickoff_callbacks=[finish])


def _crew_of(
    task: members.Task, agent: members.Agent | None, context: str | None, tools: Iterable[BaseTool] | None
) -> Asked:
    doer = agent or task.agent
    if doer is None:
        raise errors.AgentMissing(crew="of one task", task=repr(task.name or task.description[:60]))
    one = task.copy()
    one.agent, one.context = doer, None
    one.tools = one.tools if tools is None else list(tools)
    inputs = _as_they_are(one, doer)
    if context:
        one.description += f"\n\n{KNOWN}\n{{{CONTEXT}}}"
        inputs[CONTEXT] = context

    def finish(output: CrewOutput) -> TaskOutput:
        task.start_time, task.end_time, task.prompt_context = one.start_time, one.end_time, context
        task.output = output.tasks_output[0]
        return task.output

    return _crew(task.name or doer.role, doer, one, finish), inputs


def _done(asked: Asked) -> TaskOutput:
    crew, inputs = asked
    output: Any = crew.kickoff(inputs)
    done: TaskOutput = output  # by `finish`
    return done


def _started(asked: Asked) -> Run:
    crew, inputs = asked
    return crew.start(inputs)


def _as_answer(output: CrewOutput) -> LiteAgentOutput:
    (task,) = output.tasks_output
    return LiteAgentOutput(
        raw=task.raw,
        pydantic=task.pydantic,
        agent_role=task.agent,
        usage_metrics=output.token_usage.model_dump(),
        messages=task.messages,
        tool_failures=task.tool_failures,
        run_id=output.run_id,
    )


def _as_they_are(*parts: BaseModel) -> dict[str, Any]:
    """Inputs that leave the placeholders of these as they stand, as CrewAI does where there is nobody to give values."""
    texts = [value for part in parts for _, value in part if isinstance(value, str)]
    return {name: f"{{{name}}}" for text in texts for name in names_in(text)}


def _said(messages: Any) -> str:
    """Messages as one text: what is asked for, and before it what was said."""
    if isinstance(messages, str):
        return messages
    said = list(messages) if isinstance(messages, Iterable) and not isinstance(messages, Mapping) else []
    if not said or not all(isinstance(one, Mapping) and {"role", "content"} <= one.keys() for one in said):
        reason = "it must be a text, or a list of messages such as {'role': 'user', 'content': 'Why?'}."
        raise errors.InvalidField(owner="Agent.kickoff", field="messages=...", reason=reason)
    last = max((at for at, one in enumerate(said) if one["role"] == "user"), default=len(said) - 1)
    others = [f"{one['role']}: {one['content']}" for at, one in enumerate(said) if at != last]
    asked = str(said[last]["content"])
    return "\n\n".join([SAID_BEFORE, *others, asked]) if others else asked


__all__ = ["Agent", "ConditionalTask", "Task"]
