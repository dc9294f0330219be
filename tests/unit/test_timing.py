"""When a schedule is due: cron lines in time zones, clocks that are put forward and back, intervals, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st

from crewq import errors
from crewq.timing import Timing, read_timing, when

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text: str, tz: str = "UTC") -> int:
    """Milliseconds; the offset may stand in the text."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(tz))).timestamp() * 1000)


def following(timing: Timing, begin: int, count: int) -> list[str]:
    times: list[int] = []
    while len(times) < count:
        found = timing.next(times[-1] if times else begin)
        assert found is not None
        times.append(found)
    return [when(one, timing.tz) for one in times]


def line(text: str, tz: str = "UTC") -> Timing:
    return read_timing(cron=text, tz=tz, now=0)


# -- cron lines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["0 7 * * 1-5", "*/20 * * * *", "15,45 8-10/2 1,15 * *", "0 0 * feb-apr sun", "5 4 1,12 * fri"]
)
def test_the_times_of_a_line_are_the_minutes_that_fit_it(text: str) -> None:
    cron = crontab.from_string(text)
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    minutes = (begin + timedelta(minutes=one) for one in range(100 * 1440))
    fitting = [
        int(one.timestamp() * 1000)
        for one in minutes
        if one.minute in cron.minute
        and one.hour in cron.hour
        and one.day in cron.day_of_month
        and one.month in cron.month_of_year
        and one.isoweekday() % 7 in cron.day_of_week
    ]
    timing, now, found = line(text), at("2023-12-31T23:59:59"), []
    while (upcoming := timing.next(now)) and upcoming <= at("2024-04-09T23:59"):
        found.append(upcoming)
        now = upcoming
    assert found == fitting
    assert found


def test_a_line_is_of_its_time_zone() -> None:
    assert following(line("0 7 * * 1-5", BERLIN), at("2026-01-02T06:00", BERLIN), 2) == [
        "2026-01-02 07:00:00+01:00",
        "2026-01-05 07:00:00+01:00",
    ]
    assert following(line("0 7 * * *", NEW_YORK), at("2026-07-01T00:00"), 1) == ["2026-07-01 07:00:00-04:00"]


def test_a_time_that_the_clock_leaves_out_comes_later() -> None:
    assert following(line("30 2 * * *", BERLIN), at("2026-03-28T00:00", BERLIN), 3) == [
        "2026-03-28 02:30:00+01:00",
        "2026-03-29 03:30:00+02:00",
        "2026-03-30 02:30:00+02:00",
    ]
    every_hour = following(line("0 * * * *", BERLIN), at("2026-03-29T00:30", BERLIN), 3)
    assert every_hour == ["2026-03-29 01:00:00+01:00", "2026-03-29 03:00:00+02:00", "2026-03-29 04:00:00+02:00"]


def test_a_time_that_the_clock_shows_twice_counts_once() -> None:
    assert following(line("30 2 * * *", BERLIN), at("2026-10-25T00:00", BERLIN), 2) == [
        "2026-10-25 02:30:00+02:00",
        "2026-10-26 02:30:00+01:00",
    ]


def test_a_line_for_every_hour_leaves_out_none() -> None:
    assert following(line("*/30 * * * *", BERLIN), at("2026-10-25T01:40", BERLIN), 5) == [
        "2026-10-25 02:00:00+02:00",
        "2026-10-25 02:30:00+02:00",
        "2026-10-25 02:00:00+01:00",
        "2026-10-25 02:30:00+01:00",
        "2026-10-25 03:00:00+01:00",
    ]


def test_a_clock_that_is_put_forward_by_half_an_hour() -> None:
    assert following(line("15 * * * *", LORD_HOWE), at("2026-10-04T01:00", LORD_HOWE), 3) == [
        "2026-10-04 01:15:00+10:30",
        "2026-10-04 02:45:00+11:00",
        "2026-10-04 03:15:00+11:00",
    ]


def test_a_day_that_comes_once_in_decades() -> None:
    sunday = line("0 0 29 2 sun")
    assert following(sunday, at("2026-01-01T00:00"), 2) == ["2032-02-29 00:00:00+00:00", "2060-02-29 00:00:00+00:00"]
    assert sunday.latest(at("2026-01-01T00:00")) == at("2004-02-29T00:00")


LINES = [
    line(text, tz) for text in ("7 2 * * *", "*/15 * * * *", "0 3,2 1-15 * *") for tz in ("UTC", BERLIN, LORD_HOWE)
]
TIMINGS = [*LINES, read_timing(every="90s", now=0), read_timing(every=86_400, now=0)]


@given(st.sampled_from(TIMINGS), st.integers(at("2020-01-01T00:00"), at("2030-01-01T00:00")))
def test_between_two_times_there_is_none(timing: Timing, now: int) -> None:
    upcoming = timing.next(now)
    assert upcoming is not None
    assert now < upcoming == timing.latest(upcoming)
    assert timing.latest(upcoming - 1) == timing.latest(now) <= now


# -- intervals ---------------------------------------------------------------------------------------------


def test_an_interval_counts_from_the_epoch() -> None:
    timing = read_timing(every="15m", now=0)
    now = at("2026-05-01T10:07:31")
    assert (timing.latest(now), timing.next(now)) == (at("2026-05-01T10:00"), at("2026-05-01T10:15"))
    assert timing.latest(at("2026-05-01T10:15")) == at("2026-05-01T10:15")


@pytest.mark.parametrize(
    ("text", "seconds", "said"),
    [("30s", 30, "30s"), ("1h30m", 5400, "1h30m"), ("90 m", 5400, "1h30m"), (60, 60, "1m"), ("7d", 604_800, "7d")],
)
def test_an_interval_is_read_and_said(text: str | int, seconds: int, said: str) -> None:
    timing = read_timing(every=text, now=0)
    assert timing.every == seconds
    assert str(timing) == f"every {said}"


@pytest.mark.parametrize("timing", TIMINGS[:1] + TIMINGS[-1:], ids=str)
def test_times_survive_json(timing: Timing) -> None:
    assert Timing.from_json(timing.to_json(), "schedule:s") == timing


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"every": "60"}',
        '{"every": -60}',
        '{"every": 60, "catch_up": "1d"}',
        '{"every": 60, "tide": "low"}',
        '{"cron": "0 25 * * *"}',
        '{"cron": 7}',
        '{"cron": "0 7 * * *", "tz": "Mars/Olympus"}',
        '{"cron": "0 7 * * *", "tz": "../x"}',
    ],
)
def test_what_names_no_times_is_a_broken_record(text: str) -> None:
    with pytest.raises(errors.RecordBroken, match="schedule:s cannot be read"):
        Timing.from_json(text, "schedule:s")


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "a cron line or an interval"),
        ({"cron": "* * * * *", "every": "1m"}, "not both"),
        ({"cron": "0 7 * *"}, "has 4 fields, and needs 5"),
        ({"cron": "61 7 * * *"}, "cannot be read"),
        ({"cron": "0 7 * * 7"}, "cannot be read"),
        ({"cron": "0 7 * * frenday"}, "cannot be read"),
        ({"cron": "0 7 */0 * *"}, "cannot be read"),
        ({"cron": "0 0 30 2 *"}, "cannot be read|names no time"),
        ({"cron": "0 7 * * *", "tz": "Europe/Berln"}, "Did you mean 'Europe/Berlin'"),
        ({"cron": "0 7 * * *", "tz": "../etc/passwd"}, "there is no time zone"),
        ({"cron": "0 7 * * *", "tz": "Europe"}, "there is no time zone"),
        ({"every": "1m", "tz": BERLIN}, "a time zone is for a cron line"),
        ({"every": "soon"}, "write it as 30s, 15m"),
        ({"every": "0s"}, "from 1 second to 366 days"),
        ({"every": "9999d"}, "from 1 second to 366 days"),
        ({"every": "1m", "catch_up": "10s"}, "from 60 seconds"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(errors.ScheduleInvalid, match=said):
        read_timing(**given, now=at("2026-01-01T00:00"))
