"""Every error that crewq raises. An error's docstring is its message; its facts fill the blanks. Beside
them stands one warning, `FieldIgnored`.

    CrewqError
    ├── UsageError (also a ValueError)       the caller's code or command is wrong; nothing was started
    │   ├── CrewUnloadable                   a name on the command line that does not lead to a crew
    │   ├── FieldError                       UnknownField, UnsupportedField, InvalidField
    │   ├── UnsupportedMethod (an AttributeError)  a method of CrewAI's that is not here
    │   ├── UnsupportedName (an ImportError)       a name of CrewAI's module that is not here
    │   ├── CrewError                        EmptyCrew, AgentMissing, ContextComesLater, ContextNotInCrew,
    │   │                                    DuplicateToolName, DuplicateTaskName, LiteralKey, SandboxMissing,
    │   │                                    ConditionMisplaced, ManagerMissing, ManagerUnfit,
    │   │                                    KeyInServer, McpMissing
    │   ├── InputError                       MissingInputs, UnsupportedInput, InputsNotMapping, InputFileBroken,
    │   │                                    InputFileUnusable
    │   ├── ProjectError                     ConfigMissing, ConfigBroken, EntryMissing, NameUnknown, NotAProject,
    │   │                                    CrewMethodMissing, WrongResult, NeedsItself
    │   ├── NotPortable                      something that cannot travel to a worker
    │   ├── ReplayMismatch                   today's crew is not the one that ran
    │   ├── NotNow                           the run's state does not allow it
    │   ├── BudgetTooSmall                   a new budget that is no more than what was spent
    │   ├── KeyReused                        an idempotency key that named another kickoff
    │   ├── ScheduleError                    ScheduleInvalid, ScheduleKnown
    │   ├── SettingInvalid                   an environment variable with a value that cannot be meant
    │   ├── EncryptionMissing                keys, and not the package that encrypts
    │   ├── FlowerExposed                    Flower for other machines, without a password
    │   ├── StreamUnread                     the result of a stream before its end
    │   └── NestedKickoff                    a kickoff that would wait for itself
    ├── NotFound (also a LookupError)        UnknownId, AmbiguousId, NothingYet, UnknownSchedule
    ├── StoreError                           StoreUnreachable, StoreUnfit, StoreFull, SpecTooNew, ServerMissing,
    │   │                                    ServerBroken
    │   └── RecordBroken                     NotAuthentic, EncryptionKeyUnknown
    ├── RunError                             RunFailed, RunCancelled, BatchFailed
    │   └── ResultTimeout (a TimeoutError)   StillPaused
    ├── TaskError                            what ends one task in a worker
    │   ├── ModelError                       ModelRefused, ModelUnknown, KeyMissing, KeyMissingHere, KeyRejected,
    │   │                                    RateLimited, ModelUnavailable, ModelTimeout, ContextTooLong,
    │   │                                    AnswerUnusable, NotRecorded, RecordingUnusable, PriceUnknown
    │   ├── ReferenceRefused                 a name that this worker may not load, or that is not of its kind
    │   ├── ToolBroken                       a tool that cannot be built
    │   ├── McpRefused                       a server of tools that this worker may not, or cannot, use
    │   ├── McpUnreachable                   one that does not start or answer
    │   ├── OutputInvalid                    an answer that does not fit the schema asked for
    │   ├── GuardrailFailed                  no answer that a guardrail accepts
    │   ├── OutputFileRefused                a path outside the output directory
    │   ├── OutputFileUnwritable             a path that the worker cannot write
    │   ├── TimeExceeded                     max_execution_time or timeout is over
    │   ├── Crashed                          a worker died in each of the attempts allowed
    │   ├── CallInDoubt                      a tool that must not be repeated was at work when its worker died
    │   ├── JobBroken                        an error of crewq's own, or of the user's code outside a tool
    │   │   └── FunctionBroken               a guardrail, a condition or a filter that failed itself
    │   └── JobFailed                        what Celery and Flower see of any of these: a name, and no content
    └── SandboxError                         SandboxUnavailable

The store keeps an error with its facts, so a fact is plain JSON, or is kept as its text.
"""

from crewq.errors import base, lookup, runs, tasks, usage
from crewq.errors.base import *
from crewq.errors.lookup import *
from crewq.errors.runs import *
from crewq.errors.tasks import *
from crewq.errors.usage import *

__all__: list[str] = []
__all__ += base.__all__
__all__ += lookup.__all__
__all__ += runs.__all__
__all__ += tasks.__all__
__all__ += usage.__all__
