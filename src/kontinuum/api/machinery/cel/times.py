"""Timestamps and durations: reading, writing, and their parts (CEL specification; Go's ``time``)."""

from __future__ import annotations

import base64
import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.values import LARGEST, SMALLEST, Duration, Timestamp

SECOND = 10**9
UNITS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND,
}  # fmt: skip
PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
MOMENT = re.compile(r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:[.,](\d+))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
FIRST = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CYCLE = timedelta(days=146_097)
"""400 years of the Gregorian calendar."""
LONGEST_TEXT = 100


def timestamp(seconds: int, nanoseconds: int = 0) -> Timestamp:
    """Raises EvaluationError outside of the years 1 to 9999."""
    if not FIRST <= seconds <= LAST:
        raise EvaluationError("timestamp overflow")
    return Timestamp(seconds * SECOND + nanoseconds)


def duration(nanoseconds: int) -> Duration:
    """Raises EvaluationError beyond 292 years."""
    if not SMALLEST <= nanoseconds <= LARGEST:
        raise EvaluationError("duration overflow")
    return Duration(nanoseconds)


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises EvaluationError."""
    match = MOMENT.fullmatch(text)
    if match is None:
        raise EvaluationError(f'parsing time "{text[:LONGEST_TEXT]}" as RFC3339: cannot parse')
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError as error:
        raise EvaluationError(f'parsing time "{text}": {error}') from error
    offset = 0
    if zone not in ("Z", "z"):
        offset = (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60) * (-1 if zone[0] == "-" else 1)
    return timestamp(_seconds(moment) - offset, int(f"{fraction or ''}000000000"[:9]))


def parse_date(text: str) -> Timestamp:
    """A day, as OpenAPI's ``date`` format has it. Raises EvaluationError."""
    try:
        day = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        day = None
    if day is None:
        raise EvaluationError(f"Invalid date formatted string {text[:LONGEST_TEXT]}")
    return timestamp(_seconds(datetime(day.year, day.month, day.day, tzinfo=UTC)))


def parse_duration(text: str) -> Duration:
    """Go's ``time.ParseDuration``: ``1h30m``, ``-1.5s``. Raises EvaluationError."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return Duration(0)
    total, position = 0, 0
    while position < len(rest) <= LONGEST_TEXT:
        match = PART.match(rest, position)
        if match is None:
            break
        whole, _, fraction = match[1].partition(".")
        unit = UNITS[match[2]]
        total += int(whole or 0) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        position = match.end()
    if not rest or position != len(rest):
        raise EvaluationError(f'time: invalid duration "{text[:LONGEST_TEXT]}"')
    return duration(-total if text[0] == "-" else total)


def text_of(value: Any) -> str:
    """What ``string(value)`` answers for a time, and what JSON carries of it."""
    match value:
        case Timestamp():
            return timestamp_text(value)
        case Duration():
            return duration_text(value)
        case bytes():
            return base64.b64encode(value).decode()
    return str(value)


def timestamp_text(moment: Timestamp) -> str:
    seconds, rest = divmod(moment.nanoseconds, SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    at = EPOCH + timedelta(seconds=seconds)
    return f"{at.year:04d}-{at:%m-%dT%H:%M:%S}{fraction}Z"


def duration_text(length: Duration) -> str:
    """Seconds with as many digits as needed: ``3600s``, ``1.5s``."""
    sign = "-" if length.nanoseconds < 0 else ""
    seconds, rest = divmod(abs(length.nanoseconds), SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{sign}{seconds}{fraction}s"


def at(moment: Timestamp, zone: str = "UTC") -> tuple[datetime, int]:
    """The calendar's view of a moment, without its nanoseconds, and how many years it is away from the true one.

    A zone may lead into the year 0 or 10000, which Python does not know; 400 years away every day is the same.
    Raises EvaluationError for an unknown zone.
    """
    known, utc = _zone(zone), EPOCH + timedelta(seconds=moment.nanoseconds // SECOND)
    try:
        return utc.astimezone(known), 0
    except OverflowError:
        years = 400 if utc.year > 400 else -400
        return (utc - CYCLE * (years // 400)).astimezone(known), years


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    match = re.fullmatch(r"([+-]?)(\d{2}):(\d{2})", name, re.ASCII)
    if match:
        minutes = int(match[2]) * 60 + int(match[3])
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise EvaluationError(f"unknown time zone {name[:LONGEST_TEXT]}") from error


def _seconds(moment: datetime) -> int:
    delta = moment - EPOCH
    return delta.days * 86400 + delta.seconds
