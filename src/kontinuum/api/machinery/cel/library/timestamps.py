"""The parts of timestamps (``getFullYear()`` ..., in UTC or a named zone) and of durations (``getHours()`` ...)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.overloads import Overload, member
from kontinuum.api.machinery.cel.times import SECOND, at

PARTS: dict[str, Callable[[datetime], int]] = {
    "getMonth": lambda at: at.month - 1,
    "getDayOfYear": lambda at: at.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda at: at.day - 1,
    "getDate": lambda at: at.day,
    "getDayOfWeek": lambda at: at.isoweekday() % 7,
    "getHours": lambda at: at.hour,
    "getMinutes": lambda at: at.minute,
    "getSeconds": lambda at: at.second,
}
LENGTHS = {"getHours": 3600 * SECOND, "getMinutes": 60 * SECOND, "getSeconds": SECOND, "getMilliseconds": 10**6}


def _parts() -> list[Overload]:
    found = []
    readers = {"getFullYear": _year, **{name: _in_zone(part) for name, part in PARTS.items()}}
    for name, in_zone in readers.items():
        found.append(member(name, f"timestamp_to_{name}", (t.TIMESTAMP,), t.INT, in_zone))
        found.append(member(name, f"timestamp_to_{name}_with_tz", (t.TIMESTAMP, t.STRING), t.INT, in_zone))
    for name, unit in LENGTHS.items():
        found.append(member(name, f"duration_to_{name}", (t.DURATION,), t.INT, _whole(unit)))
    return found


def _in_zone(part: Callable[[datetime], int]) -> Callable[..., int]:
    return lambda moment, zone="UTC": part(at(moment, zone)[0])


def _year(moment: Any, zone: str = "UTC") -> int:
    seen, years = at(moment, zone)
    return seen.year + years


def _whole(unit: int) -> Callable[[Any], int]:
    """Towards zero."""
    return lambda length: abs(length.nanoseconds) // unit * (-1 if length.nanoseconds < 0 else 1)


def _milliseconds(moment: Any, zone: str = "UTC") -> int:
    at(moment, zone)
    return int(moment.nanoseconds % SECOND // 10**6)


OVERLOADS = (
    *_parts(),
    member("getMilliseconds", "timestamp_to_milliseconds", (t.TIMESTAMP,), t.INT, _milliseconds),
    member("getMilliseconds", "timestamp_to_milliseconds_with_tz", (t.TIMESTAMP, t.STRING), t.INT, _milliseconds),
)
