"""Spans of OpenTelemetry, with the names and attributes that it has for generative AI (semantic conventions "GenAI"), where
somebody traces: a process that has not loaded OpenTelemetry pays nothing for this.

A kickoff is a span `invoke_workflow`. Each attempt at a task is an `invoke_agent` below it, in whatever process, and a call
that is really made is a `chat` or an `execute_tool` below that. What was answered from the journal is no span.
"""

from __future__ import annotations

import importlib
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from crewq import errors

API: Final = "opentelemetry.trace"
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORTERS: Final = {
    "otlp": ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "OTLPSpanExporter"),
    "console": ("opentelemetry.sdk.trace.export", "ConsoleSpanExporter"),
}
LINK: Final = "~"  # before a place that a run is linked with, and not a part of
SAMPLED: Final = 1


class Recording:
    """A span that is under way; nothing, where nobody traces."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, attributes: Mapping[str, Any]) -> None:
        """Add what is known now; what is None or empty is left out."""
        if self._span is not None:
            self._span.set_attributes(_known(attributes))

    def failed(self, kind: str) -> None:
        """It ended badly. Only the kind of the error is told: its text may hold what was said.

        Args:
            kind: the name of the error.
        """
        if self._span is not None:
            self._span.set_attribute("error.type", kind)
            self._span.set_status(sys.modules[API].StatusCode.ERROR)

    @property
    def place(self) -> str:
        """Where in which trace it is, as W3C's `traceparent`; empty: nowhere."""
        context = self._span.get_span_context() if self._span is not None else None
        if context is None or not context.is_valid:
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value not in (None, "")}


@contextmanager
def recording(
    operation: str, about: str, attributes: Mapping[str, Any], kind: str = "INTERNAL", **where: Any
) -> Iterator[Recording]:
    """A span around a block. An error that leaves the block is its error; what only ends an attempt, such as a
    person who has to decide, is none.

    Args:
        operation: what is done, by OpenTelemetry's name for it.
        about: the name of the workflow, the agent, the model or the tool.
        attributes: what is known from the beginning.
        kind: OpenTelemetry's.
        where: its `context` and `links`, if it does not just follow the span that is under way.
    """
    api = sys.modules.get(API)
    if api is None:
        yield Recording()
        return
    given = {"gen_ai.operation.name": operation} | _known(attributes)
    with _tracer(api).start_as_current_span(
        f"{operation} {about}",
        kind=api.SpanKind[kind],
        attributes=given,
        record_exception=False,
        set_status_on_exception=False,
        **where,
    ) as span:
        told = Recording(span)
        try:
            yield told
        except Exception as error:
            told.failed(type(error).__name__)
            raise


@cache
def _tracer(api: Any) -> Any:
    return api.get_tracer("crewq", version("crewq"))


@contextmanager
def workflow(crew: str, run: str, *, batch: bool = False) -> Iterator[str]:
    """A span around a kickoff. Gives what is to be stored with the run, or with each run of a batch.

    Args:
        crew: what the crew is called.
        run: the id of the run, or of the batch.
        batch: whether it is a batch, each of whose runs has a trace of its own that is linked with the kickoff's: one trace of
            ten thousand runs could be read by nobody.
    """
    attributes = {"crewq.batch.id" if batch else "gen_ai.conversation.id": run}
    with recording("invoke_workflow", crew, {"gen_ai.workflow.name": crew, **attributes}) as told:
        yield f"{LINK}{told.place}" if batch and told.place else told.place


def below(place: str, run: str) -> dict[str, Any]:
    """Where a span belongs that continues a run, for `recording`.

    Args:
        place: what was stored with the run; empty: nobody traced its kickoff, and its id makes the trace.
        run: its id.
    """
    api = sys.modules.get(API)
    if api is None:
        return {}
    from_kickoff = _context(api, place.removeprefix(LINK))
    own = uuid.UUID(run).int
    parent = from_kickoff if from_kickoff and not place.startswith(LINK) else _remote(api, own, own % 2**64, SAMPLED)
    links = [api.Link(from_kickoff)] if from_kickoff and place.startswith(LINK) else []
    return {"context": api.set_span_in_context(api.NonRecordingSpan(parent)), "links": links}


def _context(api: Any, place: str) -> Any:
    """The span that a `traceparent` names; None: it names none."""
    try:
        _, trace, span, flags = place.split("-")
        found = _remote(api, int(trace, 16), int(span, 16), int(flags, 16))
    except ValueError:
        return None
    return found if found.is_valid else None


def _remote(api: Any, trace: int, span: int, flags: int) -> Any:
    return api.SpanContext(trace, span, is_remote=True, trace_flags=api.TraceFlags(flags))


def start_tracing(environ: Mapping[str, str]) -> Callable[[], object]:
    """Send this process's spans where OpenTelemetry's own variables say, unless somebody has seen to it already.

    Args:
        environ: OTEL_TRACES_EXPORTER is `otlp` or `console`; without it, an address of OTLP's is enough.

    Returns:
        What sends those that have not been sent yet.

    Raises:
        SettingInvalid: the extra `crewq[otel]` is not installed, or there is no such exporter.
    """
    wanted = environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if any(map(environ.get, ENDPOINTS)) else "none")
    if wanted == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return _nothing
    if wanted not in EXPORTERS:
        reason = f"crewq knows {' and '.join(EXPORTERS)}; others are set up by `opentelemetry-instrument`."
        raise errors.SettingInvalid(variable="OTEL_TRACES_EXPORTER", value=wanted, reason=reason)
    module, name = EXPORTERS[wanted]
    try:
        api, sdk, export, exporter = map(
            importlib.import_module, (API, "opentelemetry.sdk.trace", "opentelemetry.sdk.trace.export", module)
        )
        resources = importlib.import_module("opentelemetry.sdk.resources")
    except ImportError as error:
        reason = f"that needs the extra: pip install 'crewq[otel]' ({error})."
        raise errors.SettingInvalid(variable="OTEL_TRACES_EXPORTER", value=wanted, reason=reason) from error
    if not isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
        return getattr(api.get_tracer_provider(), "force_flush", _nothing)
    resource = resources.Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME") or "crewq"})
    provider = sdk.TracerProvider(
        resource=resource,
    )
    provider.add_span_processor(export.BatchSpanProcessor(getattr(exporter, name)()))
    api.set_tracer_provider(provider)
    flush: Callable[[], object] = provider.force_flush
    return flush


def _nothing() -> None:
    """Nobody traces."""


__all__ = ["Recording", "below", "recording", "start_tracing", "workflow"]
