"""The settings of a process: read from the environment once, at the edge, and passed in from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crewq import errors
from crewq.addresses import SERVER_SCHEMES, Address, read_address, with_password, without_password
from crewq.budgets import TenantBudget, read_budgets
from crewq.keyring import Key, read_keys
from crewq.limits import ModelLimit, read_limits
from crewq.references import Imports
from crewq.sandboxes import SANDBOXES
from crewq.secret_files import value_of
from crewq.weights import read_weights

DEFAULT_QUEUE = "crewq"
DEFAULT_MODEL = "gpt-4.1-mini"  # CrewAI's default, so that a crew without `llm` asks the same model
MODEL_VARIABLES = ("CREWQ_MODEL", "MODEL", "MODEL_NAME", "OPENAI_MODEL_NAME")
LOG_FORMS = ("text", "json")
AMQP = ("amqp", "amqps")  # schemes of RabbitMQ's addresses
DAY = 86_400


@dataclass(frozen=True)
class Retention:
    """How long a run is kept after its end, in seconds, by how it ended. A run that has not ended is kept."""

    completed: int = 7 * DAY
    failed: int = 30 * DAY
    cancelled: int = 7 * DAY


@dataclass(frozen=True)
class Settings:
    """What a process of crewq is told from outside. Times are in seconds.

    Fields:
        redis_url: where runs are kept, in one of the forms of `crewq.addresses`; None: the embedded server of the working
            directory.
        broker_url: where Celery's messages go: a Redis that is no cluster, or RabbitMQ (amqp://); None: the same Redis.
        imports: modules whose tools, callbacks and models a worker may load.
        mcp_servers: the servers of tools that a worker may use: commands, and beginnings of addresses.
        litellm_callbacks: who is told of a worker's calls to providers: litellm's names, or `module:name`.
        default_model: for agents without an `llm`.
        namespace: begins every key, so that installations can share a Redis.
        lease: how long a task stays with a worker that gives no sign of life.
        max_attempts: how often a task may lose its worker before it fails.
        concurrency: how many tasks a worker process works on at once.
        output_dir: the directory below which `output_file` writes.
        sandbox: where the code that a model writes is run, unless its agent says where: one of `SANDBOXES`.
        sandbox_image: of the sandbox `container`.
        sandbox_seconds, sandbox_memory_mb: what one call of a model's code may use; None: what its sandbox gives.
        data_dir: where the embedded server and a worker keep their own files.
        log: the form of the lines of a worker's log: `text`, or `json`.
        trace_content: whether spans of OpenTelemetry tell what is said.
        heartbeat_file: what a worker touches for as long as it is fit to work; None: nothing.
        retention: how long runs are kept.
        limits: what models may be asked, over all workers together.
        budgets: what tenants may spend in a day.
        weights: of tenants, and of `*`, everybody else: how they share the slots of the workers.
        encryption_keys: under which texts are encrypted in Redis; the first encrypts, all of them decrypt.
        at_home: whether `redis_url` is that of the embedded server.
    """

    redis_url: str | None = None
    broker_url: str | None = None
    imports: Imports = field(default_factory=Imports)
    mcp_servers: tuple[str, ...] = ()
    litellm_callbacks: tuple[str, ...] = ()
    default_model: str = DEFAULT_MODEL
    namespace: str = "crewq"
    queue: str = DEFAULT_QUEUE
    lease: float = 15.0
    max_attempts: int = 3
    concurrency: int = 32
    output_dir: Path = Path()
    data_dir: Path = Path(".crewq")
    sandbox: str = "monty"
    sandbox_image: str = "python:3.13-slim"
    sandbox_seconds: float | None = None
    sandbox_memory_mb: int | None = None
    heartbeat_file: Path | None = None
    log: str = "text"
    trace_content: bool = False
    retention: Retention = field(default_factory=Retention)
    limits: tuple[ModelLimit, ...] = ()
    budgets: tuple[TenantBudget, ...] = ()
    weights: tuple[tuple[str, float], ...] = ()
    encryption_keys: tuple[Key, ...] = ()
    at_home: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read every variable that crewq knows (the README has the table).

        Raises:
            SettingInvalid: a variable holds a value that cannot be meant, or names a file that cannot be read.
        """
        standard = cls()
        read = _Reader(environ)
        return cls(
            redis_url=read.url(("CREWQ_REDIS_URL", "REDIS_URL"), "CREWQ_REDIS_PASSWORD"),
            broker_url=read.broker("CREWQ_BROKER_URL"),
            imports=Imports(read.names("CREWQ_IMPORTS")),
            mcp_servers=read.names("CREWQ_MCP_SERVERS"),
            litellm_callbacks=read.names("CREWQ_LITELLM_CALLBACKS"),
            default_model=next(filter(None, map(read.text, MODEL_VARIABLES)), DEFAULT_MODEL),
            namespace=read.text("CREWQ_NAMESPACE") or standard.namespace,
            queue=read.text("CREWQ_QUEUE") or standard.queue,
            lease=read.number("CREWQ_LEASE_SECONDS", standard.lease, at_least=1, at_most=DAY),
            max_attempts=read.count("CREWQ_MAX_ATTEMPTS", standard.max_attempts),
            concurrency=read.count("CREWQ_CONCURRENCY", standard.concurrency),
            output_dir=Path(environ.get("CREWQ_OUTPUT_DIR") or standard.output_dir),
            data_dir=Path(environ.get("CREWQ_DATA_DIR") or standard.data_dir),
            sandbox=read.choice("CREWQ_SANDBOX", standard.sandbox, SANDBOXES),
            sandbox_image=read.text("CREWQ_SANDBOX_IMAGE") or standard.sandbox_image,
            sandbox_seconds=read.number("CREWQ_SANDBOX_SECONDS", 0, at_least=0.1, at_most=1800) or None,
            sandbox_memory_mb=int(read.number("CREWQ_SANDBOX_MEMORY_MB", 0, at_least=16, at_most=2**16)) or None,
            heartbeat_file=Path(file) if (file := environ.get("CREWQ_HEARTBEAT_FILE")) else None,
            trace_content=environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").lower() == "true",
            log=read.choice("CREWQ_LOG", standard.log, LOG_FORMS),
            retention=Retention(
                completed=read.days("CREWQ_KEEP_COMPLETED_DAYS", standard.retention.completed),
                failed=read.days("CREWQ_KEEP_FAILED_DAYS", standard.retention.failed),
                cancelled=read.days("CREWQ_KEEP_CANCELLED_DAYS", standard.retention.cancelled),
            ),
            limits=read_limits(read.text("CREWQ_LIMITS"), "CREWQ_LIMITS"),
            budgets=read_budgets(read.text("CREWQ_BUDGETS"), "CREWQ_BUDGETS"),
            weights=read_weights(read.text("CREWQ_WEIGHTS"), "CREWQ_WEIGHTS"),
            encryption_keys=read_keys(read.secret("CREWQ_ENCRYPTION_KEYS"), "CREWQ_ENCRYPTION_KEYS"),
        )

    def with_(self, **changes: Any) -> Settings:
        """These settings with some changed."""
        return replace(self, **changes)

    @property
    def embedded(self) -> bool:
        """Whether runs are kept by, and worked on in, this process's own working directory."""
        return self.redis_url is None

    @property
    def broker(self) -> str:
        """Where Celery's messages go."""
        return self.broker_url or self.redis_url or ""

    @property
    def where(self) -> str:
        """The store's address as it may be shown."""
        if self.redis_url and not self.at_home:
            return without_password(self.redis_url)
        return f"the embedded server in {self.data_dir}"


class _Reader:
    """Reads variables, and names the one that is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def url(self, names: tuple[str, ...], password: str) -> str | None:
        for name in names:
            if value := self.secret(name):
                self._address(name, value, "it must be a Redis URL")
                return with_password(value, self.secret(password))
        return None

    def broker(self, name: str) -> str | None:
        value = self.secret(name)
        if not value:
            return None
        wanted = "it must be the URL of a broker: a Redis that is no cluster, or RabbitMQ (amqp://localhost:5672//)"
        if self._address(name, value, wanted, AMQP).kind == "cluster":
            reason = f"{wanted}. Celery's messages cannot be in a Redis Cluster."
            raise errors.SettingInvalid(variable=name, value=without_password(value), reason=reason)
        return value

    def _address(self, name: str, value: str, wanted: str, others: tuple[str, ...] = ()) -> Address:
        try:
            address = read_address(value)
            if address.kind == "server" and urlsplit(value).scheme not in (*SERVER_SCHEMES, *others):
                raise errors.UsageError(reason="that is another kind of address")
        except ValueError as error:
            forms = "redis://localhost:6379/0, rediss:// with TLS, redis+sentinel://host:26379/master, redis+cluster://host:6379"
            raise errors.SettingInvalid(
                variable=name,
                value=without_password(value),
                reason=f"{wanted}: {error}. Addresses of Redis are {forms}.",
            ) from error
        return address

    def text(self, name: str) -> str:
        return self._encodable(name, self.environ.get(name, ""))

    def secret(self, name: str) -> str:
        return self._encodable(name, value_of(self.environ, name))

    def _encodable(self, name: str, value: str) -> str:
        """What goes to Redis, or to others, and therefore has to be text; names of files may hold any bytes."""
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise errors.SettingInvalid(variable=name, value="...", reason="it is not UTF-8 text.") from error
        return value

    def names(self, name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.text(name).split(",") if part.strip())

    def choice(self, name: str, standard: str, among: Sequence[str]) -> str:
        value = self.environ.get(name) or standard
        if value not in among:
            raise errors.SettingInvalid(variable=name, value=value, reason=f"it must be {' or '.join(among)}.")
        return value

    def number(self, name: str, standard: float, at_least: float, at_most: float) -> float:
        text = self.environ.get(name)
        if not text:
            return standard
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not at_least <= value <= at_most:
            reason = f"it must be a number from {at_least:g} to {at_most:g}."
            raise errors.SettingInvalid(variable=name, value=text, reason=reason)
        return value

    def count(self, name: str, standard: int) -> int:
        value = self.number(name, standard, at_least=1, at_most=10_000)
        if value != int(value):
            raise errors.SettingInvalid(variable=name, value=self.environ[name], reason="it must be a whole number.")
        return int(value)

    def days(self, name: str, standard: int) -> int:
        return int(self.number(name, standard / DAY, at_least=0.001, at_most=36_500) * DAY)


__all__ = ["AMQP", "DEFAULT_MODEL", "DEFAULT_QUEUE", "MODEL_VARIABLES", "Retention", "Settings"]
