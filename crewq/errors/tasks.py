"""What ends one task in a worker."""

from __future__ import annotations

from crewq.errors.base import CrewqError


class TaskError(CrewqError):
    """{reason}"""


class ModelError(TaskError):
    """The model {model} failed: {reason}"""

    @property
    def retry_after(self) -> float | None:
        """Seconds that the provider asked to wait, where it did."""
        return self.facts.get("retry_after")


class ModelRefused(ModelError):
    """The model {model} refused the request (HTTP {status}): {reason}"""


class ModelUnknown(ModelError):
    """The model {model!r} is not known: {reason}
    Name it as provider/model, for example openai/gpt-4.1-mini or ollama_chat/llama3, in Agent(llm=...) or CREWQ_MODEL."""


class KeyMissing(ModelError):
    """The model {model} needs {variables} in the environment of the worker, and it is not set there.
    Set it where the workers run, which without a fleet is here (a file `.env` will do); `crewq doctor` shows which keys are
    present. Then `crewq replay` the task."""


class KeyMissingHere(ModelError):
    """The model {model} needs {variables} in the environment of this process, which asks it itself, and it is not set.
    Set it, or pass the key: LLM(api_key=...)."""


class KeyRejected(ModelError):
    """The provider of {model} did not accept the key of this worker (HTTP {status}): {reason}
    Check the key's variable in the environment of the workers, then `crewq replay` the task."""


class RateLimited(ModelError):
    """The provider of {model} limits the rate of calls (HTTP {status}): {reason}"""

    retryable = True


class ModelUnavailable(ModelError):
    """The model {model} could not be reached or failed on its side ({status}): {reason}"""

    retryable = True


class ModelTimeout(ModelError):
    """The model {model} did not answer in time: {reason}"""

    retryable = True


class PriceUnknown(ModelError):
    """The price of the model {model} is not known, and {whose} is one of US dollars, so nobody can tell what a call would
    leave of it, and none is made. Give the budget in tokens (max_tokens), or say the price, in US dollars:
    LLM({model!r}, input_cost_per_token=..., output_cost_per_token=...); a model of your own has a method `price`."""


class ContextTooLong(ModelError):
    """The conversation is longer than the model {model} can read: {reason}
    Use a model with a larger context, shorten the inputs, or set respect_context_window=True to have it summarised."""


class AnswerUnusable(ModelError):
    """The model {model} gave no usable answer in {tries} tries: {reason}"""


class NotRecorded(ModelError):
    """The recording {file} has no answer of {model} to this request. {difference}
    If that is meant, record what is new with CREWQ_RECORD=new, or all of it again with CREWQ_RECORD=all."""


class RecordingUnusable(ModelError):
    """The recording {file} of {model} cannot be used: {reason}
    {advice}"""


class ReferenceRefused(TaskError):
    """This worker does not load {reference!r}: {reason}
    {advice}"""


class ToolBroken(TaskError):
    """The tool {tool!r} could not be built in the worker: {reason}"""


class McpRefused(TaskError):
    """This worker does not use the MCP server {server!r}: {reason}
    {advice}"""


class McpUnreachable(TaskError):
    """The MCP server {server!r} failed: {reason}"""

    retryable = True


class OutputInvalid(TaskError):
    """The answer does not fit the schema of {schema}: {reason}"""


class GuardrailFailed(TaskError):
    """The guardrail {guardrail} refused the answer {tries} times, the last time because: {message}
    Change the task or the guardrail, then `crewq resume` the run, which has the task answered anew."""


class OutputFileRefused(TaskError):
    """The output file {path!r} lies outside the output directory, so it was not written.
    Name a file below it, without '..' or a leading '/'."""


class OutputFileUnwritable(TaskError):
    """The output file {path!r} cannot be written by this worker: {reason}. Give it the directory and the rights, or set
    CREWQ_OUTPUT_DIR where the workers run; then `crewq replay` the task."""


class TimeExceeded(TaskError, TimeoutError):
    """The task did not end within its {seconds:g} s ({limit}). Its finished calls are kept, so a resume goes on from them."""


class Crashed(TaskError):
    """The worker died in each of the {attempts} attempts at this task, so it is not tried again.
    Last seen on {worker}: {reason} Look at that worker's log, then `crewq replay` the task."""


class CallInDoubt(TaskError):
    """The worker died while the tool {tool!r}, which is not idempotent, was at work, so nobody knows whether it had its effect.
    Find out, then go on: `crewq resume {run} --retry-call` makes the call again, `--skip-call` goes on without it."""


class JobBroken(TaskError):
    """{reason}"""


class FunctionBroken(JobBroken):
    """The {kind} {function} failed: {reason}
    Mend it where the workers run, then `crewq resume` the run: what was paid for is kept."""


class JobFailed(TaskError):
    """{error} in task {task} of the run {run}: `crewq show {run}` tells more."""


class SandboxError(CrewqError):
    """{reason}"""


class SandboxUnavailable(SandboxError):
    """The sandbox {sandbox!r} is not available here: {reason} {advice}"""

    retryable = True  # by another worker, or by this one a little later


__all__ = [
    "AnswerUnusable",
    "CallInDoubt",
    "ContextTooLong",
    "Crashed",
    "FunctionBroken",
    "GuardrailFailed",
    "JobBroken",
    "JobFailed",
    "KeyMissing",
    "KeyMissingHere",
    "KeyRejected",
    "McpRefused",
    "McpUnreachable",
    "ModelError",
    "ModelRefused",
    "ModelTimeout",
    "ModelUnavailable",
    "ModelUnknown",
    "NotRecorded",
    "OutputFileRefused",
    "OutputFileUnwritable",
    "OutputInvalid",
    "PriceUnknown",
    "RateLimited",
    "RecordingUnusable",
    "ReferenceRefused",
    "SandboxError",
    "SandboxUnavailable",
    "TaskError",
    "TimeExceeded",
    "ToolBroken",
]
