"""`schedule`: a crew that is started by a beat at its times, whoever wrote it long gone."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Unpack

from crewq import errors
from crewq.crew import Crew
from crewq.firing import times_of
from crewq.producer import connect
from crewq.references import MAIN_MARK
from crewq.spec import CrewSpec, templates
from crewq.store import ScheduleRecord
from crewq.template import checked_inputs, require
from crewq.terms import Terms, TermsGiven
from crewq.timing import CATCH_UP, read_timing

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def schedule(
    crew: Crew,
    name: str,
    *,
    cron: str = "",
    every: str | int = "",
    tz: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    catch_up: str | int = CATCH_UP,
    replace: bool = False,
    **terms: Unpack[TermsGiven],
) -> ScheduleRecord:
    """Have a crew started at certain times, by any `crewq beat`: each time makes one run, however many beats there are.

    The crew is kept as it is now. A beat that was away makes up for the latest time that it missed, and only for that.

    Args:
        crew: what is started.
        name: of the schedule: letters, digits, `_`, `.` and `-`.
        cron: five fields, as Celery's `crontab` reads them, such as `0 7 * * 1-5`; or
        every: an interval, in seconds or as in `15m` or `1h30m`; it counts from the epoch, and not from now.
        tz: the time zone of the cron line, such as Europe/Berlin; None: UTC.
        inputs: of every run.
        catch_up: how late a missed time may be made up for, at least a minute.
        replace: in the place of the schedule of that name, if there is one; with the same times, it goes on where it was.
        terms: of every run: `tenant`, `priority`, `max_cost` (US dollars) and `max_tokens`, as of `kickoff`.

    Raises:
        ScheduleInvalid: the name or the times cannot be meant.
        ScheduleKnown: there is one of that name.
        NotPortable, LiteralKey: something of the crew is of this process only.
        UsageError: the crew, its inputs or its terms are wrong.
    """
    if not NAME.fullmatch(name):
        reason = f"its name {name!r} must be of letters, digits, '_', '.' and '-', and begin with one of the first two."
        raise errors.ScheduleInvalid(reason=reason)
    timing = read_timing(cron, every, tz, catch_up, now=int(time.time() * 1000))
    agreed = Terms(**terms)
    producer = connect(work=False)
    spec = _travelling(crew, crew.spec(producer.settings))
    values = checked_inputs(inputs)
    require(spec.name, templates(spec), values)
    schedules = producer.store.schedules
    if not schedules.put(name, spec, values, timing.to_json(), agreed, replace=replace):
        known = schedules.read(name)
        raise errors.ScheduleKnown(name=name, crew=known.crew, timing=times_of(known))
    return schedules.read(name)


def _travelling(crew: Crew, spec: CrewSpec) -> CrewSpec:
    for field in ("before_kickoff_callbacks", "after_kickoff_callbacks"):
        if getattr(crew, field):
            raise errors.NotPortable(
                what=f"The crew {crew.name!r}",
                reason=f"its {field} are called by the process that starts a run, and beat has none of your code.",
                advice="Do what they do in a tool or in a task's callback, or start the crew from a program of your own.",
            )
    if MAIN_MARK in spec.queue:
        raise errors.NotPortable(
            what=f"The crew {crew.name!r}",
            reason="it uses something that is defined in the script that was started, which only that script has.",
            advice="Move what it uses into a module of its own.",
        )
    return spec


__all__ = ["schedule"]
