"""When a schedule is due: what cron lines and intervals mean. Whoever asks says what time it is.

Times are in milliseconds since 1970, as the store has them. A nominal time is one that a line or an interval names, however
late anybody notices it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from celery.schedules import ParseException, crontab

from crewq import errors

CATCH_UP: Final = "1d"  # how late a time that nobody was there for is still made up for
HORIZON = 40 * 366  # days: on some weekday, the 29th of February comes once in 28 years, and around 2100 in 40
SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
SPAN = re.compile(r"(?:\d+[smhd])+")
LONGEST = 366 * SECONDS["d"]
MOST_DIGITS = 32  # of a number that is looked at


@dataclass(frozen=True)
class Timing:
    """The times of one schedule.

    Fields:
        cron: a line of five fields (minute, hour, day of the month, month, day of the week), as Celery's `crontab` reads
            it: both days must fit, where cron itself is content with either. Empty: an interval.
        every: seconds of the interval; its times are the multiples of it since 1970 (UTC), whenever it was begun.
        tz: the time zone of the line, by its IANA name. A time that a clock leaves out when it is put forward comes as
            much later as it is put forward; of an hour that comes twice, the first counts, unless the hour is `*`.
        catch_up: seconds after which a time that nobody was there for is left out.
    """

    cron: str = ""
    every: int = 0
    tz: str = "UTC"
    catch_up: int = SECONDS["d"]

    @classmethod
    def from_json(cls, text: str, where: str) -> Timing:
        """What `to_json` wrote.

        Args:
            text: that.
            where: it stands, for the error.

        Raises:
            RecordBroken: it names no times, or a time zone that is not known here.
        """
        try:
            found = cls(**json.loads(text))
            found.check()
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            raise errors.RecordBroken(where=where, reason=f"{errors.explain(error).rstrip('.')}.") from error
        return found

    def check(self) -> None:
        """See that these times can be meant.

        Raises:
            ScheduleInvalid: they cannot; says why not.
        """
        if {type(self.every), type(self.catch_up)} != {int}:
            raise errors.ScheduleInvalid(reason="its times are not whole numbers of seconds.")
        _check_either(self.cron, self.every)
        _span(self.catch_up, "the time for which it catches up", least=60)
        if self.every:
            _span(self.every, "the interval", least=1)
        else:
            _line(self.cron)
            _zone(self.tz)

    def to_json(self) -> str:
        """The one JSON text of these times."""
        return json.dumps(asdict(self), sort_keys=True)

    def __str__(self) -> str:
        return f"{self.cron} ({self.tz})" if self.cron else f"every {_span_text(self.every)}"

    def latest(self, now: int) -> int | None:
        """The last nominal time that is not after `now`; None: there was none in memory of man."""
        if self.every:
            return now - now % (self.every * 1000)
        days = self._days(self._local(now) + timedelta(days=1), -1)
        return next((max(past) for day in days if (past := [at for at in self._times(day) if at <= now])), None)

    def next(self, now: int) -> int | None:
        """The first nominal time after `now`; None: there is none in the next decades."""
        if self.every:
            return now - now % (self.every * 1000) + self.every * 1000
        days = self._days(self._local(now) - timedelta(days=1), 1)
        return next((min(future) for day in days if (future := [at for at in self._times(day) if at > now])), None)

    @cached_property
    def _line(self) -> Any:  # its fields, which are sets of numbers, are not in the types of Celery
        return crontab.from_string(self.cron)

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.tz)

    def _local(self, now: int) -> date:
        return datetime.fromtimestamp(now / 1000, tz=self._zone).date()

    def _days(self, begin: date, step: int) -> Iterator[date]:
        """The days that the line names, from one on, forward or backward."""
        line = self._line
        for at in range(HORIZON):
            day = begin + timedelta(days=at * step)
            fits = day.month in line.month_of_year and day.day in line.day_of_month
            if fits and day.isoweekday() % 7 in line.day_of_week:
                yield day

    def _times(self, day: date) -> Iterator[int]:
        """The times of a day. PEP 495 says what becomes of those that a clock leaves out or shows twice."""
        hours: set[int] = self._line.hour
        for hour in hours:
            for minute in self._line.minute:
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self._zone)
                first, again = local.timestamp(), local.replace(fold=1).timestamp()
                yield int(first * 1000)
                if again > first and len(hours) == 24:
                    yield int(again * 1000)


def read_timing(
    cron: str = "", every: str | int = "", tz: str | None = None, catch_up: str | int = CATCH_UP, *, now: int
) -> Timing:
    """The times that a person wrote down.

    Args:
        cron: a line of five fields, or
        every: an interval: seconds, or a text such as `15m` or `1h30m`.
        tz: the time zone of the line; None: UTC.
        catch_up: how late a time may be made up for: likewise.
        now: the time.

    Raises:
        ScheduleInvalid: it cannot be meant; says why not.
    """
    _check_either(cron, every)
    if every and tz:
        raise errors.ScheduleInvalid(reason="a time zone is for a cron line: an interval has none.")
    late = _span(catch_up, "the time for which it catches up", least=60)
    if every:
        return Timing(every=_span(every, "the interval", least=1), catch_up=late)
    timing = Timing(cron=_line(cron), tz=_zone(tz or "UTC"), catch_up=late)
    if timing.next(now) is None:
        raise errors.ScheduleInvalid(reason=f"the cron line {cron!r} names no time in the next 40 years.")
    return timing


def when(ms: int, tz: str = "UTC") -> str:
    """A time as a person writes it, to the second, with its zone."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC).astimezone(ZoneInfo(tz)).isoformat(" ", "seconds")


def _check_either(cron: str, every: str | int) -> None:
    if bool(cron) == bool(every):
        raise errors.ScheduleInvalid(reason="it needs a cron line or an interval, and not both.")


def _line(text: str) -> str:
    line = " ".join(text.split())
    fields = line.count(" ") + 1
    if fields != 5:
        reason = (
            f"the cron line {text!r} has {fields} fields, and needs 5: minute, hour, day of the month, month, weekday."
        )
        raise errors.ScheduleInvalid(reason=reason)
    try:
        crontab.from_string(line)
    except (ParseException, ValueError) as error:
        reason = f"the cron line {text!r} cannot be read: {str(error).rstrip('.')}."
        raise errors.ScheduleInvalid(reason=reason) from error
    return line


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        near = get_close_matches(name, available_timezones(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else " Write it as in Europe/Berlin."
        raise errors.ScheduleInvalid(reason=f"there is no time zone {name!r}.{hint}") from error
    return name


def _span(given: str | int, what: str, least: int) -> int:
    if isinstance(given, int):
        given = max(-1, min(given, LONGEST + 1))  # Python writes down no number of any length
    text = str(given).replace(" ", "")
    if text.isdecimal():
        seconds = _number(text)
    elif SPAN.fullmatch(text):
        seconds = sum(_number(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))
    else:
        raise errors.ScheduleInvalid(reason=f"{what} is {given!r}: write it as 30s, 15m, 6h, 1h30m or 7d.")
    if not least <= seconds <= LONGEST:
        reason = f"{what} is {given!r}: it must be from {least} second{'' if least == 1 else 's'} to 366 days."
        raise errors.ScheduleInvalid(reason=reason)
    return seconds


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= MOST_DIGITS else LONGEST + 1


def _span_text(seconds: int) -> str:
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, SECONDS[unit])
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)


__all__ = ["CATCH_UP", "Timing", "read_timing", "when"]
