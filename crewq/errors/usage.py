"""What is wrong with the caller's code or command; nothing was started."""

from __future__ import annotations

from typing import Any, Self

from crewq.errors.base import CrewqError


class FieldIgnored(UserWarning):
    """A field of CrewAI's that is taken, and has no effect: a warning, and no error."""


class UsageError(CrewqError, ValueError):
    """{reason}"""


class CrewUnloadable(UsageError):
    """{name!r} does not lead to a crew: {reason}
    {advice}"""


class FieldError(UsageError):
    """{reason}"""


class UnknownField(FieldError):
    """{owner} has no field {field!r}.{hint} Its fields are: {known}."""


class UnsupportedField(FieldError):
    """{owner}({field}) is CrewAI's, and crewq does not have it yet: {advice}"""


class UnsupportedMethod(UsageError, AttributeError):
    """{owner}.{method} is CrewAI's, and crewq does not have it: {advice}"""


class UnsupportedName(UsageError, ImportError):
    """{name} is CrewAI's, and crewq has none: {advice}"""


class InvalidField(FieldError):
    """{owner}({field}) is not valid: {reason}"""


class CrewError(UsageError):
    """{reason}"""


class EmptyCrew(CrewError):
    """The crew {crew!r} has no tasks. Give it at least one: Crew(agents=[...], tasks=[Task(...)])."""


class AgentMissing(CrewError):
    """Task {task} of the crew {crew!r} has no agent. Give it one: Task(..., agent=my_agent)."""


class ManagerMissing(CrewError):
    """The crew {crew!r} is hierarchical and has no manager. Give it one: Crew(manager_llm="provider/model"), or an agent of
    your own: Crew(manager_agent=Agent(...))."""


class ManagerUnfit(CrewError):
    """The manager of the crew {crew!r} cannot manage it: {reason}"""


class ContextComesLater(CrewError):
    """Task {task} has task {context} in its context, which comes later in the crew {crew!r}.
    A task can only use the output of tasks before it: change the order in Crew(tasks=[...])."""


class ContextNotInCrew(CrewError):
    """Task {task} has in its context a task ({context}) that is not one of the tasks of the crew {crew!r}.
    Add that task to Crew(tasks=[...]), before the one that uses it."""


class ConditionMisplaced(CrewError):
    """Task {task} of the crew {crew!r} is a ConditionalTask, and {reason}"""


class DuplicateToolName(CrewError):
    """Two tools of {owner} are both called {tool!r}, so the model could not tell them apart. Rename one."""


class DuplicateTaskName(CrewError):
    """Two tasks of the crew {crew!r} are both called {task!r}, so a replay could not tell them apart. Rename one."""


class LiteralKey(CrewError):
    """LLM({model!r}, api_key=...) holds a literal key, and a key never leaves this process: not in Redis, not in a log.
    Leave api_key out and set {variable} in the environment of the workers."""


class KeyInServer(CrewError):
    """The MCP server {server!r} has what looks like a literal key in {field}, and a key never leaves this process.
    Set it as a variable in the environment of the workers, and write ${{ITS_NAME}} in its place."""


class McpMissing(CrewError):
    """Agent {agent!r} has mcps, but the package mcp is not installed here: pip install 'crewq[mcp]'."""


class SandboxMissing(CrewError):
    """Agent {agent!r} has allow_code_execution=True, but the sandbox {sandbox!r} is not available here: {reason}
    {advice} Code that a model writes is never run without a sandbox."""


class InputError(UsageError):
    """{reason}"""

    def __init__(self, *, item: int | None = None, **facts: Any) -> None:
        super().__init__(**facts)
        if item is not None:  # of the inputs of a batch
            self.facts["item"] = item
            self.args = (f"inputs[{item}]: {self.args[0]}",)

    def of_item(self, item: int) -> Self:
        """This error, of the item at that position in the inputs of a batch."""
        return type(self)(**{**self.facts, "item": item})


class MissingInputs(InputError):
    """The crew {crew!r} needs inputs that were not given: {names}. They are used in: {places}.{unused}
    Pass them to kickoff: inputs={{{example}}}."""


class UnsupportedInput(InputError):
    """The input {path} is of type {type}, which cannot be sent to a worker.
    Only str, int, float, bool, None, and dicts and lists of them can: convert it first, for example with str()."""


class InputsNotMapping(InputError, TypeError):
    """{argument} must be {wanted}, and what was given is of type {type}."""


class InputFileBroken(InputError):
    """{file}, line {line}: {reason} Mend that line, or leave it out; nothing was started."""


class InputFileUnusable(InputError):
    """The input file {file} cannot be used: {reason}"""


class NotPortable(UsageError):
    """{what} cannot travel to a worker: {reason}
    {advice}"""


class ReplayMismatch(UsageError):
    """The crew given is not the one that ran as {run}: {difference}
    Go on with the crew as it was (`run.resume()`, `crewq resume`, `crewq replay` without --crew), or start a new run."""


class NotNow(UsageError):
    """The run {run} is {state}, so it cannot be {verb}. {advice}"""


class BudgetTooSmall(UsageError):
    """The {kind} {id} has spent {spent} already, and the new budget is no more than that. Give it a larger one."""


class KeyReused(UsageError):
    """The idempotency key {key!r} already names the run {run}, which was started with another crew or other inputs, or for
    another tenant. Use a new key for new work, or the same crew and inputs to get that run back."""


class ScheduleError(UsageError):
    """{reason}"""


class ScheduleInvalid(ScheduleError):
    """That is no schedule: {reason}"""


class ScheduleKnown(ScheduleError):
    """There is a schedule {name!r} already, of the crew {crew!r}: {timing}.
    Say that it is to be replaced (`--replace`, or replace=True), or use another name."""


class SettingInvalid(UsageError):
    """{variable}={value!r} is not valid: {reason}"""


class ProjectError(UsageError):
    """{reason}"""


class ConfigMissing(ProjectError):
    """The project {project} cannot read {file}: {reason}
    Put it there, or set {field} in the class to its path, relative to the module of the class."""


class ConfigBroken(ProjectError):
    """{file}, {where}: {reason}"""


class EntryMissing(ProjectError, KeyError):
    """{file} has no entry {entry!r}.{hint} It has: {known}."""

    __str__ = Exception.__str__  # a KeyError's own puts the message in quotes


class NameUnknown(ProjectError):
    """{file}, entry {entry!r}: {key} names {name!r}, and {project} has nothing of that name under @{decorator}.{hint}
    It has: {known}."""


class NotAProject(ProjectError):
    """{method} is under @{decorator}, but its class is not under @CrewBase: write @CrewBase above the class."""


class CrewMethodMissing(ProjectError):
    """{project} is under @CrewBase, but none of its methods is under @crew. Add the one that puts the crew together:
    def crew(self): return Crew(agents=self.agents, tasks=self.tasks)"""


class WrongResult(ProjectError):
    """{method} is under @{decorator}, so it must return {wanted}, and it returned {type}."""


class NeedsItself(ProjectError):
    """{method} needs its own result before it is there. Look at the context of the tasks: it must not go in a circle."""


class EncryptionMissing(UsageError):
    """CREWQ_ENCRYPTION_KEYS is set, but the package cryptography is not installed here: pip install 'crewq[encryption]'.
    Nothing is written without it."""


class FlowerExposed(UsageError):
    """Flower was to listen on {address}, where others could read prompts and press buttons, and it has no password.
    Give it one, in the environment: FLOWER_BASIC_AUTH=NAME:PASSWORD (or a login: --auth and --auth-provider); or keep it on
    this machine: --address=127.0.0.1."""


class StreamUnread(UsageError, RuntimeError):
    """The stream of the run {run} has not been read to its end, so its result is not there yet.
    Read it first: `for chunk in stream: ...`; or wait without reading: stream.run.result()."""


class NestedKickoff(UsageError):
    """kickoff() was called inside crewq's own event loop (from a tool or a callback), where it would wait for itself.
    Use kickoff_async() there, and do not wait for it in the same task."""


__all__ = [
    "AgentMissing",
    "BudgetTooSmall",
    "ConditionMisplaced",
    "ConfigBroken",
    "ConfigMissing",
    "ContextComesLater",
    "ContextNotInCrew",
    "CrewError",
    "CrewMethodMissing",
    "CrewUnloadable",
    "DuplicateTaskName",
    "DuplicateToolName",
    "EmptyCrew",
    "EncryptionMissing",
    "EntryMissing",
    "FieldError",
    "FieldIgnored",
    "FlowerExposed",
    "InputError",
    "InputFileBroken",
    "InputFileUnusable",
    "InputsNotMapping",
    "InvalidField",
    "KeyInServer",
    "KeyReused",
    "LiteralKey",
    "ManagerMissing",
    "ManagerUnfit",
    "McpMissing",
    "MissingInputs",
    "NameUnknown",
    "NeedsItself",
    "NestedKickoff",
    "NotAProject",
    "NotNow",
    "NotPortable",
    "ProjectError",
    "ReplayMismatch",
    "SandboxMissing",
    "ScheduleError",
    "ScheduleInvalid",
    "ScheduleKnown",
    "SettingInvalid",
    "StreamUnread",
    "UnknownField",
    "UnsupportedField",
    "UnsupportedInput",
    "UnsupportedMethod",
    "UnsupportedName",
    "UsageError",
    "WrongResult",
]
