"""What an agent has done so far in a task: the tools it used, the calls that came to nothing, the answers that were refused."""

from __future__ import annotations

from collections import Counter

from crewq.agent.brief import Brief
from crewq.agent.toolbox import ToolResult
from crewq.model import ToolCall
from crewq.outputs import Effort, TaskOutput, ToolFailure, ToolFailureRecord

FAILURES_KEPT = 50  # they travel with the output, which every later task reads
WORDS_KEPT = 500  # characters, of a failure, and of the name and the arguments that led to it


class Tally:
    """Counts what is done in one task.

    Args:
        brief: the task.
    """

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._used: Counter[str] = Counter()
        self._failures: list[ToolFailureRecord] = []
        self.refusals = 0

    def note(self, call: ToolCall, result: ToolResult) -> None:
        """A call was made, or could not be."""
        if result.called is not None:
            self._used[result.called] += 1
        if result.failure is not None and len(self._failures) < FAILURES_KEPT:
            self._failures.append(
                ToolFailureRecord(
                    tool_name=result.called or call.name[:WORDS_KEPT],
                    failure=ToolFailure(message=result.text[:WORDS_KEPT], reason=result.failure),
                    tool_args=call.arguments[:WORDS_KEPT],
                    agent_role=self._brief.agent.role,
                    task_name=self._brief.task.label,
                )
            )

    def on(self, output: TaskOutput) -> TaskOutput:
        """An output, with what was done for it."""
        effort = Effort(used_tools=dict(self._used), refusals=self.refusals)
        return output.model_copy(update={"tool_failures": list(self._failures), "effort": effort})


__all__ = ["Tally"]
