"""``"%s has %d".format([...])``: cel-go's formatting of values."""

from __future__ import annotations

import math
import re
from typing import Any

from kontinuum.api.machinery.cel.errors import CostExceeded, EvaluationError
from kontinuum.api.machinery.cel.library.conversions import text_of
from kontinuum.api.machinery.cel.values import LONGEST, Duration, Opaque, Timestamp, TypeValue, Unsigned, name_of_type

CLAUSE = re.compile(r"%(%|(?:\.(\d{1,3}))?([a-zA-Z]))")
MOST_DIGITS = 100


def formatted(text: str, arguments: list[Any]) -> str:
    """Raises EvaluationError for an unknown verb, a value that does not fit, or too few arguments."""
    parts: list[str] = []
    position = taken = length = 0
    while True:
        place = text.find("%", position)
        if place < 0:
            break
        parts.append(text[position:place])
        match = CLAUSE.match(text, place)
        if match is None:
            raise EvaluationError("unexpected end of string or invalid clause in format string")
        position = match.end()
        if match[1] == "%":
            parts.append("%")
            continue
        if taken >= len(arguments):
            raise EvaluationError(f"index {taken} out of range")
        made = _clause(match[3], match[2], arguments[taken])
        taken += 1
        length += len(made)
        if length > LONGEST:
            raise CostExceeded
        parts.append(made)
    parts.append(text[position:])
    return "".join(parts)


def _clause(verb: str, precision: str | None, value: Any) -> str:
    digits = min(int(precision), MOST_DIGITS) if precision is not None else 6
    match verb:
        case "s":
            return _plain(value)
        case "d" if type(value) in (int, Unsigned):
            return str(int(value))
        case "b" if type(value) is bool:
            return "1" if value else "0"
        case "b" if type(value) in (int, Unsigned):
            return f"{value:b}"
        case "o" if type(value) in (int, Unsigned):
            return f"{value:o}"
        case "x" | "X":
            return _hexadecimal(value, is_upper=verb == "X")
        case "f" | "e" | "d" if type(value) in (float, int, Unsigned):
            return _number(float(value), verb, digits)
    raise EvaluationError(f"could not parse formatting clause: {_problem(verb, value)}")


def _problem(verb: str, value: Any) -> str:
    known = {"s": "", "d": "decimal", "b": "binary", "o": "octal", "x": "hex", "X": "hex", "f": "fixed-point"}
    if verb not in {*known, "e"}:
        return f'unrecognized formatting clause "{verb}"'
    kind = known.get(verb, "scientific")
    return f"error during formatting: {kind} clause cannot be used on {name_of_type(value)}"


def _hexadecimal(value: Any, *, is_upper: bool) -> str:
    if type(value) in (int, Unsigned):
        made = f"{value:x}"
    elif isinstance(value, (str, bytes)):
        made = (value.encode() if isinstance(value, str) else value).hex()
    else:
        problem = (
            "error during formatting: only integers, byte buffers, and strings can be formatted as hex, was given "
        )
        raise EvaluationError(problem + name_of_type(value))
    return made.upper() if is_upper else made


def _number(number: float, verb: str, digits: int) -> str:
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if verb == "e":
        return f"{number:.{digits}e}"
    return f"{number:.{digits}f}"


def _plain(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return "null"
        case bool() | int() | float() | Timestamp() | Duration():
            return text_of(value)
        case bytes():
            return value.decode(errors="replace")
        case list():
            return f"[{', '.join(map(_plain, value))}]"
        case dict():
            return "{" + ", ".join(sorted(f"{_plain(key)}: {_plain(one)}" for key, one in value.items())) + "}"
        case TypeValue():
            return value.name
        case Opaque():
            return str(value)
    raise EvaluationError(
        "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, "
        f"types, durations, and timestamps, was given {name_of_type(value)}"
    )
