"""What a beat does with a schedule: it starts the run of each nominal time once, however many beats there are.

The id of that run is made of the schedule and the nominal time, so that whoever starts it starts the same one. Of times that
no beat was there for, the latest is made up for, unless it is too long ago.
"""

from __future__ import annotations

import logging
import uuid

from crewq import errors
from crewq.fanout import new_run
from crewq.plan import new_tasks
from crewq.producer import Producer
from crewq.spec import CrewSpec
from crewq.store import Job, Order, ScheduleRecord
from crewq.timing import Timing, when

log = logging.getLogger("crewq.firing")

NEVER_MS = 10 * 366 * 86_400_000  # when to look again at a line that names no more times


def look_at(producer: Producer, record: ScheduleRecord, now: int) -> str | None:
    """See to a schedule.

    Args:
        producer: this process's way to Redis.
        record: the schedule.
        now: the time by Redis's clock, in ms.

    Returns:
        The run that is due, if this process is the first to say so.

    Raises:
        StoreUnreachable, StoreFull: Redis is not there; nothing is lost with that.
        RecordBroken: its times cannot be read.
    """
    timing = times_of(record)
    following = timing.next(now) or now + NEVER_MS
    nominal = timing.latest(now)
    if nominal is None or nominal <= record.last:
        producer.store.schedules.note(record, None, following)
        return None
    problem = _too_late(timing, nominal, now)
    run, spec = "", None
    if not problem:
        try:
            spec = _crew(record)
            run = _accept(producer, record, spec, str(uuid.uuid5(uuid.UUID(record.id), str(nominal))))
        except (errors.RecordBroken, errors.SpecTooNew) as error:
            problem = str(error)
    first = producer.store.schedules.note(record, nominal, following, run, problem)
    if problem and first:
        log.error("the schedule %r started no run for %s: %s", record.name, when(nominal, timing.tz), problem)
    if not first or spec is None:
        return None
    _publish(producer, record, spec, run)
    log.info("the schedule %r started the run %s for %s", record.name, run, when(nominal, timing.tz))
    return run


def start_now(producer: Producer, record: ScheduleRecord) -> str:
    """Start a run of a schedule beside its times; answers its id.

    Raises:
        RecordBroken, SpecTooNew: its crew cannot be read by this version.
    """
    spec = _crew(record)
    run = _accept(producer, record, spec, str(uuid.uuid4()))
    _publish(producer, record, spec, run)
    return run


def times_of(record: ScheduleRecord) -> Timing:
    """The times of a schedule.

    Raises:
        RecordBroken: they cannot be read.
    """
    return Timing.from_json(record.timing, where=f"schedule:{record.name}")


def _too_late(timing: Timing, nominal: int, now: int) -> str:
    if now - nominal <= timing.catch_up * 1000:
        return ""
    return f"no beat was there for {when(nominal, timing.tz)}, which was too long ago to make up for."


def _crew(record: ScheduleRecord) -> CrewSpec:
    return CrewSpec.from_json(record.spec, where=f"schedule:{record.name}")


def _accept(producer: Producer, record: ScheduleRecord, spec: CrewSpec, run: str) -> str:
    tasks = new_tasks(spec, batch=False, priority=record.terms.priority)
    order = Order(spec, tasks, schedule=record.name, terms=record.terms)
    return producer.accept(order, [new_run(spec, record.inputs, run=run)])[0]


def _publish(producer: Producer, record: ScheduleRecord, spec: CrewSpec, run: str) -> None:
    first = [Job(run, at) for at, task in enumerate(spec.tasks) if not task.after]
    producer.publish(spec, first, priority=record.terms.priority)


__all__ = ["look_at", "start_now", "times_of"]
