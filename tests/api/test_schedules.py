"""Schedules mean the times that robfig/cron gives them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontinuum.api.kubernetes.schedules import read_schedule
from kontinuum.foundation.clock import parse_rfc3339

NEW_YORK = "America/New_York"


def after(text: str, moment: str, zone: str = "") -> str:
    """The time that follows, "" if there is none, as the zone's clocks show it."""
    found = read_schedule(text, zone).next(parse_rfc3339(moment))
    return "" if found is None else datetime.fromtimestamp(found, ZoneInfo(zone) if zone else UTC).isoformat()


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("0/15 * * * *", "2012-07-09T14:59:59Z", "2012-07-09T15:00:00+00:00"),
        ("20-35/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00+00:00"),
        ("*/15 * * * *", "2012-07-09T23:46:00Z", "2012-07-10T00:00:00+00:00"),
        ("0 0 9 Apr-Oct ?", "2012-07-09T23:35:00Z", "2012-08-09T00:00:00+00:00"),
        ("0 0 * Feb Mon", "2012-07-09T23:35:00Z", "2013-02-04T00:00:00+00:00"),
        ("0 0 * Feb Mon/2", "2012-07-09T23:35:00Z", "2013-02-01T00:00:00+00:00"),
        ("0 0 29 Feb ?", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00+00:00"),
        ("* * * * *", "2012-12-31T23:59:45Z", "2013-01-01T00:00:00+00:00"),
        ("0 0 1,15 * Sun", "2012-07-10T00:00:00Z", "2012-07-15T00:00:00+00:00"),
        ("0 0 1,14 * Sun", "2012-07-10T00:00:00Z", "2012-07-14T00:00:00+00:00"),
        ("1,,2 * * * *", "2012-07-10T00:01:00Z", "2012-07-10T00:02:00+00:00"),
        ("@weekly", "2012-07-10T00:00:00Z", "2012-07-15T00:00:00+00:00"),
        ("@yearly", "2012-07-10T00:00:00Z", "2013-01-01T00:00:00+00:00"),
        ("@every 1h30m", "2012-07-10T00:10:00Z", "2012-07-10T01:40:00+00:00"),
        ("0 0 30 Feb ?", "2012-07-09T23:35:00Z", ""),
        ("0 0 31 Apr ?", "2012-07-09T23:35:00Z", ""),
    ],
)
def test_the_time_that_follows(text: str, moment: str, expected: str) -> None:
    assert after(text, moment) == expected


def test_what_is_due_in_the_hour_that_is_skipped_waits_for_the_next_day() -> None:
    assert after("30 2 * * *", "2012-03-10T12:00:00-05:00", NEW_YORK) == "2012-03-12T02:30:00-04:00"


def test_what_is_due_in_the_hour_that_is_repeated_comes_twice() -> None:
    first = after("30 1 * * *", "2012-11-04T00:00:00-04:00", NEW_YORK)
    second = after("30 1 * * *", first, NEW_YORK)
    assert [first, second] == ["2012-11-04T01:30:00-04:00", "2012-11-04T01:30:00-05:00"]
    assert after("30 1 * * *", second, NEW_YORK) == "2012-11-05T01:30:00-05:00"


def test_a_midnight_that_does_not_exist_and_a_day_that_does_not_exist_are_passed_over() -> None:
    assert after("0 0 * * *", "2018-11-03T12:00:00-03:00", "America/Sao_Paulo") == "2018-11-05T00:00:00-02:00"
    assert after("0 12 30 12 *", "2011-06-01T00:00:00-10:00", "Pacific/Apia") == "2012-12-30T12:00:00+14:00"


def test_the_schedule_itself_may_name_its_zone() -> None:
    found = read_schedule("CRON_TZ=Asia/Tokyo 0 9 * * *", NEW_YORK).next(parse_rfc3339("2026-01-01T12:00:00Z"))
    assert found == parse_rfc3339("2026-01-02T00:00:00Z")


FIELD = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 1 * * *", "0,30 0-2 * * *", "15 2 * * Sun", "59 23 * * *", "0 0 1-15 * *"]
)
ZONE = st.sampled_from(
    [NEW_YORK, "Australia/Lord_Howe", "America/St_Johns", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu", "UTC"]
)
CHANGES = ["2012-03-11T00:00:00Z", "2012-11-04T00:00:00Z", "2011-04-03T00:00:00Z", "2011-12-30T00:00:00Z",
           "2012-10-07T00:00:00Z", "2011-11-06T00:00:00Z", "2018-11-04T00:00:00Z", "2024-02-29T00:00:00Z"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(FIELD, ZONE, st.sampled_from(CHANGES), st.integers(-36 * 60, 36 * 60), st.integers(1, 3 * 24 * 60))
def test_the_times_are_the_minutes_whose_clocks_match(
    text: str, zone: str, near: str, minutes: int, length: int
) -> None:
    """Found by asking every minute of up to three days around a change of clocks."""
    schedule, place = read_schedule(text, zone), ZoneInfo(zone)
    start = parse_rfc3339(near) + 60 * minutes + 0.5
    end = start + 60 * length
    # Only UTC's schedule is trusted here, for single moments: no clocks are changed there.
    plain = read_schedule(text)

    def matches(moment: float) -> bool:
        wall = datetime.fromtimestamp(moment, place).replace(tzinfo=UTC).timestamp()
        return plain.next(wall - 60) == wall

    minute = start - 0.5
    expected = [minute + 60 * n for n in range(1, length + 1) if matches(minute + 60 * n)]
    found, moment = [], schedule.next(start)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = schedule.next(moment)
    assert found == expected
    assert schedule.latest(start, end) == (expected[-1] if expected else None)


@given(st.integers(1, 5000), st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_latest_of_regular_times_is_found_without_counting(seconds: int, begin: float, length: float) -> None:
    schedule = read_schedule(f"@every {seconds}s")
    latest = schedule.latest(begin, begin + length)
    if latest is None:
        assert begin + length < int(begin) + seconds
    else:
        assert begin + length - seconds < latest <= begin + length and (latest - int(begin)) % seconds == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* 5-3 * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("*/2/3 * * * *", "too many slashes: */2/3"),
        ("* * * * fun", 'failed to parse int from fun: strconv.Atoi: parsing "fun": invalid syntax'),
        ("@often", "unrecognized descriptor: @often"),
        ("@every tea", 'failed to parse duration @every tea: time: invalid duration "tea"'),
        ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_words_of_the_library(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as refusal:
        read_schedule(text)
    assert str(refusal.value) == problem
