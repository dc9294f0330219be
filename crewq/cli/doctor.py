"""The command `doctor`: looks at everything that a run needs, and says how to mend what is not right."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import click
from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError

from crewq import errors
from crewq.addresses import without_password
from crewq.agent.sandbox import open_sandbox
from crewq.cli.exits import DONE, ENDED_BADLY, exit_code
from crewq.cli.keys import MODELS, present
from crewq.cli.options import as_json, print_json
from crewq.cli.phrases import counted
from crewq.keyring import PLAIN
from crewq.producer import Producer, connect
from crewq.settings import Settings

PING_SECONDS = 1.0  # a worker answers within milliseconds, also when it is at work
CONNECT_SECONDS = 5
CLOCK_SECONDS = 2.0  # a difference that shows in times, and in nothing else: crewq itself goes by the clock of Redis
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, how it is, and what to do about it."""

    level: Literal["ok", "warn", "fail"]
    about: str
    found: str
    fix: str = ""


@click.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check Redis, the broker, workers, keys, sandbox and imports. Exits with 0 if nothing fails, and with 4 if Redis does.

    \b
    Example: crewq doctor
    """
    settings = Settings.from_env(os.environ)
    found: list[Finding] = []
    code = DONE
    try:
        found += _redis(connect(settings, work=False))
    except errors.StoreError as error:
        code = exit_code(error)
        found.append(Finding("fail", "Redis", str(error)))
    found += [*_encryption(settings), *_keys(settings), _sandbox(settings), *_imports(settings)]
    if code == DONE and any(one.level == "fail" for one in found):
        code = ENDED_BADLY
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            _print(one)
    ctx.exit(code)


def _print(one: Finding) -> None:
    first, *rest = one.found.splitlines()
    click.echo(f"{click.style(f'{one.level:4}', fg=COLOURS[one.level])}  {one.about}: {first}")
    for line in (*rest, *one.fix.splitlines()):
        click.echo(f"      {line}")


# -- Redis and what is at work there -----------------------------------------------------------------------


def _redis(producer: Producer) -> Iterator[Finding]:
    began = time.time()
    about = producer.store.check()
    version = about.get("valkey_version") or about.get("redis_version")
    name = "Valkey" if "valkey_version" in about else "Redis"
    yield Finding("ok", "Redis", f"{name} {version} answers at {producer.given.where}, and evicts nothing.")
    yield _persistence(about)
    yield from _clock(about, (began + time.time()) / 2)
    broker = _broker(producer)
    yield broker
    if broker.level == "ok":
        yield from _workers(producer)
    waiting = sum(producer.store.runs.waiting().values())
    yield Finding("ok", "queue", f"{counted(waiting, 'task')} waiting for a worker.")


def _persistence(about: dict[str, Any]) -> Finding:
    if int(about.get("aof_enabled", 0)):
        return Finding("ok", "persistence", "every change is appended to a file (AOF).")
    return Finding(
        "warn",
        "persistence",
        "appendonly is off, so a restart of Redis loses the runs since its last snapshot.",
        "Turn it on: redis-cli CONFIG SET appendonly yes (and in its configuration file)",
    )


def _clock(about: dict[str, Any], now: float) -> Iterator[Finding]:
    if "server_time_usec" in about:
        difference = int(about["server_time_usec"]) / 1e6 - now
        level: Literal["ok", "warn"] = "ok" if abs(difference) < CLOCK_SECONDS else "warn"
        fix = "" if level == "ok" else "Times shown here will be off; set both clocks by NTP."
        yield Finding(level, "clock", f"Redis's and this machine's differ by {abs(difference):.3f} s.", fix)


def _broker(producer: Producer) -> Finding:
    if producer.given.broker_url is None:
        return Finding("ok", "broker", "Celery's messages go through the same Redis.")
    where = without_password(producer.given.broker_url)
    try:
        with producer.app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
            channel: Any = connection.default_channel
            about = getattr(connection.connection, "server_properties", None) or channel.client.info()
    except (KombuError, AMQPError, OSError) as error:
        advice = "Start it, or set CREWQ_BROKER_URL to where it is. Until then no task is begun; none is lost."
        return Finding("fail", "broker", f"{where} does not answer: {errors.explain(error)}", advice)
    name, version = about.get("product", "Redis"), about.get("version") or about.get("redis_version")
    return Finding("ok", "broker", f"{name} {version} answers at {where}.")


def _workers(producer: Producer) -> Iterator[Finding]:
    seen = sorted(producer.app.control.inspect(timeout=PING_SECONDS).ping() or {})
    if seen:
        yield Finding("ok", "workers", f"{len(seen)} answer: {', '.join(seen)}")
    elif producer.given.embedded:
        yield Finding("ok", "workers", "none of their own: each process works on the runs that it starts.")
    else:
        yield Finding("warn", "workers", "none answers, so runs wait.", "Start one: crewq worker")


def _encryption(settings: Settings) -> Iterator[Finding]:
    if not settings.encryption_keys:
        return
    first, *others = (key.id for key in settings.encryption_keys)
    also = f"; {', '.join(others)} may be read, too" if others else ""
    told = "what is written now is not encrypted" if first == PLAIN else f"with the key {first}"
    if PLAIN in (first, *others):
        fix = "Leave `plain` out of CREWQ_ENCRYPTION_KEYS when the change-over is done."
        yield Finding("warn", "encryption", f"{told}{also}. Texts that are not encrypted are taken for crewq's.", fix)
    else:
        yield Finding("ok", "encryption", f"{told}{also}.")


# -- what a worker needs -----------------------------------------------------------------------------------


def _keys(settings: Settings) -> Iterator[Finding]:
    names = present(os.environ)
    where = "" if settings.embedded else " here; what counts is the environment of the workers"
    if names:
        yield Finding("ok", "model keys", f"{', '.join(names)} set{where}.")
    else:
        fix = f"Set the one of your provider where the workers run, such as {next(iter(MODELS))}."
        yield Finding("warn", "model keys", f"none of the known variables is set{where}.", fix)
    yield Finding("ok", "default model", f"{settings.default_model} (CREWQ_MODEL names another)")


def _sandbox(settings: Settings) -> Finding:
    try:
        seconds, memory_mb = settings.sandbox_seconds, settings.sandbox_memory_mb
        sandbox = open_sandbox(settings.sandbox, settings.sandbox_image, seconds=seconds, memory_mb=memory_mb)
        try:
            with sandbox.session() as session:
                works = session.run("print(6 * 7)")
        finally:
            sandbox.close()
    except errors.SandboxUnavailable as error:
        return Finding("fail", "sandbox", str(error))
    if works.output.strip() == "42":
        return Finding(
            "ok", "sandbox", f"{sandbox.name} runs Python, without this machine's files, network or environment."
        )
    return Finding("fail", "sandbox", f"{sandbox.name} does not run Python: {works.error}")


def _imports(settings: Settings) -> Iterator[Finding]:
    if not settings.imports.allowed:
        how = (
            "none named: embedded crews use your own modules" if settings.embedded else "CREWQ_IMPORTS names no module"
        )
        yield Finding("ok", "imports", f"{how}.")
    for module in settings.imports.allowed:
        try:
            importlib.import_module(module)
        except (ImportError, SyntaxError) as error:
            fix = "Install it, or start crewq in the folder that holds it."
            yield Finding("fail", "imports", f"{module} cannot be imported: {errors.explain(error)}", fix)
        else:
            yield Finding("ok", "imports", f"{module} can be imported.")


__all__ = ["Finding", "doctor"]
