"""What people can do with a button: each is written to the audit stream first, and then done by the handles.

A body is a JSON object. Names are in the audit stream, contents are not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from tornado.web import HTTPError

from crewq import errors
from crewq.batch import Batch
from crewq.handle import find
from crewq.pages.facts import run_of
from crewq.pages.handler import Data
from crewq.producer import Producer
from crewq.replay import find_task, start_replay
from crewq.run import Run

Body = Mapping[str, Any]
Deed = Callable[[Producer, str, Body], dict[str, Any]]


class Act(Data):
    """A POST that changes a run or a batch, by somebody who is logged in and comes from our own page."""

    async def post(self, kind: str, name: str, action: str) -> None:
        """Do it, unless Flower is to be read only."""
        if self.flower_options.read_only:
            raise HTTPError(403, "Read only mode is enabled.")
        deed = DEEDS.get((kind, action))
        if deed is None:
            raise HTTPError(404)
        self.answer(await self.desk.ask(_carry_out, deed, self.who, (kind, action, name), self._body()))

    def _body(self) -> Body:
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise HTTPError(400, "The body must be JSON.") from error
        if not isinstance(body, dict):
            raise HTTPError(400, "The body must be a JSON object.")
        return body


def _carry_out(producer: Producer, deed: Deed, who: str, what: tuple[str, str, str], body: Body) -> dict[str, Any]:
    kind, action, name = what
    subject = run_of(producer, name) if kind == "runs" else find(producer, name, "batch")
    producer.store.audit.note(who, action, subject, _told(body))
    try:
        return deed(producer, subject, body)
    except errors.CrewqError as error:
        producer.store.audit.note(who, f"{action} failed", subject, type(error).__name__)
        raise


def _told(body: Body) -> str:
    """What an action was about: the names of what was given, and of tasks, and no content."""
    named = [f"{field} {value}" for field in ("task", "call_in_doubt") if isinstance(value := body.get(field), str)]
    given = [
        f"{field}: {', '.join(map(str, value))}"
        for field in ("inputs", "outputs")
        if isinstance(value := body.get(field), dict)
    ]
    return "; ".join([*named, *given])[:500]


# -- the deeds --------------------------------------------------------------------------------------------------------


def _cancel(producer: Producer, run: str, _: Body) -> dict[str, Any]:
    return {"run": run, "cancelled": Run(run, producer).cancel()}


def _resume(producer: Producer, run: str, body: Body) -> dict[str, Any]:
    decision = _text(body, "call_in_doubt") or None
    if decision not in (None, "retry", "skip"):
        raise errors.UsageError(reason="call_in_doubt must be retry or skip.")
    Run(run, producer).resume(call_in_doubt=cast(Literal["retry", "skip"] | None, decision))
    return {"run": run}


def _answer(producer: Producer, run: str, body: Body) -> dict[str, Any]:
    Run(run, producer).answer(_text(body, "text"), _text(body, "task") or None)
    return {"run": run}


def _replay(producer: Producer, run: str, body: Body) -> dict[str, Any]:
    """From a task of the run, which is named by its id."""
    job = find_task(producer, _text(body, "task"))
    if job.run != run:
        raise errors.UnknownId(kind="task", id=_text(body, "task"), where=f"the run {run}")
    outputs = _mapping(body, "outputs") or {}
    if not all(isinstance(text, str) for text in outputs.values()):
        raise errors.UsageError(reason="outputs must give a text for each task.")
    new, _ = start_replay(producer, job, inputs=_mapping(body, "inputs"), outputs=outputs)
    return {"run": new, "parent": run}


def _retry(producer: Producer, batch: str, _: Body) -> dict[str, Any]:
    return {"batch": batch, "resumed": Batch(batch, producer).retry_failed()}


def _cancel_batch(producer: Producer, batch: str, _: Body) -> dict[str, Any]:
    return {"batch": batch, "cancelled": Batch(batch, producer).cancel()}


DEEDS: dict[tuple[str, str], Deed] = {
    ("runs", "cancel"): _cancel,
    ("runs", "resume"): _resume,
    ("runs", "answer"): _answer,
    ("runs", "replay"): _replay,
    ("batches", "retry"): _retry,
    ("batches", "cancel"): _cancel_batch,
}


def _text(body: Body, field: str) -> str:
    value = body.get(field, "")
    if not isinstance(value, str):
        raise errors.UsageError(reason=f"{field} must be a text.")
    return value


def _mapping(body: Body, field: str) -> dict[str, Any] | None:
    value = body.get(field)
    if value is not None and not isinstance(value, dict):
        raise errors.UsageError(reason=f"{field} must be an object.")
    return value


__all__ = ["DEEDS", "Act"]
