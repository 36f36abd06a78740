"""Schedules of CronJobs: the five-field syntax of ``robfig/cron`` 3, read, and the times that they mean.

A schedule of fields means every minute at whose beginning the zone's clocks on the wall show matching numbers. So what
is due in the hour that is skipped in spring is not started that day, and what is due in the hour that is repeated in
autumn is started twice: as Kubernetes does it, and unlike crons that make up for the one and spare the other.
"""

from __future__ import annotations

import calendar
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.times import SECOND, parse_duration

MINUTE, HOUR, DAY = 60, 3600, 86400
HORIZON_YEARS = 5
"""A schedule that means no time within so many years means none at all: the 30th of February."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
RANGES: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: index + 1 for index, name in enumerate(MONTHS)}),
    (0, 6, {name: index for index, name in enumerate(DAYS)}),
)
DESCRIPTORS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
ZONE_PREFIX = re.compile(r"(?:CRON_)?TZ=(\S+)\s+")


class Schedule(Protocol):
    """When something is to start. Times are seconds since the epoch."""

    def next(self, after: float) -> float | None:
        """The first time later than ``after``; None if there is none."""
        ...

    def latest(self, after: float, until: float) -> float | None:
        """The last time later than ``after`` and not later than ``until``; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """``@every 90s``: counted from the time before."""

    seconds: int

    def next(self, after: float) -> float:
        return math.floor(after) + self.seconds

    def latest(self, after: float, until: float) -> float | None:
        first = self.next(after)
        return first + (until - first) // self.seconds * self.seconds if first <= until else None


@dataclass(frozen=True, slots=True)
class Fields:
    """See the module."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    needs_both_days: bool
    """One of the two fields for days is a star; if neither is, one that matches is enough."""
    zone: tzinfo

    def next(self, after: float) -> float | None:
        moment = math.floor(after / MINUTE) * MINUTE + MINUTE
        local = datetime.fromtimestamp(moment, self.zone)
        last_year = local.year + HORIZON_YEARS
        while local.year <= last_year:
            seconds = self._seconds_without(local)
            if not seconds:
                return float(moment)
            moment += self._within_one_offset(moment, local.utcoffset(), seconds)
            local = datetime.fromtimestamp(moment, self.zone)
        return None

    def latest(self, after: float, until: float) -> float | None:
        first = self.next(after)
        if first is None or first > until:
            return None
        # ``low`` is one of the times, and there is none later than ``high``.
        low, high = first, until
        while high - low >= MINUTE:
            middle = (low + high) / 2
            found = self.next(middle)
            if found is not None and found <= until:
                low = found
            else:
                high = middle
        return low

    def _seconds_without(self, local: datetime) -> int:
        """0 if the minute is one of ours, or else for how long there will be none as far as the clock alone tells."""
        of_hour = HOUR - local.minute * MINUTE
        of_day = of_hour + (23 - local.hour) * HOUR
        if local.month not in self.months:
            return of_day + (calendar.monthrange(local.year, local.month)[1] - local.day) * DAY
        if not self._is_day(local):
            return of_day
        if local.hour not in self.hours:
            return of_hour
        if local.minute in self.minutes:
            return 0
        return min((one for one in self.minutes if one > local.minute), default=60) * MINUTE - local.minute * MINUTE

    def _is_day(self, local: datetime) -> bool:
        matches = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return all(matches) if self.needs_both_days else any(matches)

    def _within_one_offset(self, moment: int, offset: timedelta | None, seconds: int) -> int:
        """So much of ``seconds`` that the clocks are not changed meanwhile: then nothing can be missed."""
        while seconds > MINUTE and datetime.fromtimestamp(moment + seconds, self.zone).utcoffset() != offset:
            seconds = seconds // (2 * MINUTE) * MINUTE
        return seconds


def read_schedule(text: str, zone: str = "") -> Schedule:
    """The schedule in the time zone that it names itself, else in ``zone``, else in UTC.

    Raises ValueError in the words of ``robfig/cron``.
    """
    place: tzinfo = read_zone(zone) if zone else UTC
    prefix = ZONE_PREFIX.match(text)
    if prefix is not None:
        try:
            place = read_zone(prefix[1])
        except ValueError as error:
            raise ValueError(f"provided bad location {prefix[1]}: {error}") from None
        text = text[prefix.end() :]
    if text.startswith("@every "):
        return _every(text)
    if text.startswith("@") and text not in DESCRIPTORS:
        raise ValueError(f"unrecognized descriptor: {text}")
    parts = DESCRIPTORS.get(text, text).split()
    if len(parts) != len(RANGES):
        raise ValueError(f"expected exactly {len(RANGES)} fields, found {len(parts)}: [{' '.join(parts)}]")
    minutes, hours, days, months, weekdays = (_field(part, *bounds) for part, bounds in zip(parts, RANGES, strict=True))
    both = any(_has_star(part) for part in (parts[2], parts[4]))
    return Fields(minutes, hours, days, months, weekdays, needs_both_days=both, zone=place)


def read_zone(name: str) -> ZoneInfo:
    """The time zone of that name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name}") from None


def _every(text: str) -> Every:
    try:
        length = parse_duration(text.removeprefix("@every "))
    except EvaluationError as error:
        raise ValueError(f"failed to parse duration {text}: {error}") from None
    return Every(max(1, length.nanoseconds // SECOND))


def _field(part: str, low: int, high: int, words: dict[str, int]) -> frozenset[int]:
    return frozenset(number for entry in part.split(",") if entry for number in _entry(entry, low, high, words))


def _has_star(part: str) -> bool:
    """Every second day is no star: the other field for days may make up for it."""
    for entry in part.split(","):
        span, _, step = entry.partition("/")
        if span.partition("-")[0] in ("*", "?") and (not step or int(step) == 1):
            return True
    return False


def _entry(entry: str, low: int, high: int, words: dict[str, int]) -> range:
    """One range of one field: ``*``, ``3``, ``1-5``, ``*/15``, ``10-40/5``, ``mon-fri``."""
    span, slash, step = entry.partition("/")
    if "/" in step:
        raise ValueError(f"too many slashes: {entry}")
    first, dash, last = span.partition("-")
    if "-" in last:
        raise ValueError(f"too many hyphens: {entry}")
    start, end = low, high
    if first not in ("*", "?"):
        start = _number(first, words)
        end = _number(last, words) if dash else (high if slash else start)
    stride = _number(step, {}) if slash else 1
    if start < low:
        raise ValueError(f"beginning of range ({start}) below minimum ({low}): {entry}")
    if end > high:
        raise ValueError(f"end of range ({end}) above maximum ({high}): {entry}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {entry}")
    if stride == 0:
        raise ValueError(f"step of range should be a positive number: {entry}")
    return range(start, end + 1, stride)


def _number(text: str, words: dict[str, int]) -> int:
    if text.lower() in words:
        return words[text.lower()]
    if text.isascii() and text.isdigit():
        return int(text)
    if re.fullmatch(r"-\d+", text, re.ASCII):
        raise ValueError(f"negative number ({text}) not allowed: {text}")
    raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
