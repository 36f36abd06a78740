"""``int()``, ``string()``, ``type()`` and the other conversions."""

from __future__ import annotations

import math
import re
from typing import Any

from kontinuum.api.machinery.cel import times
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import Overload, function
from kontinuum.api.machinery.cel.values import (
    LARGEST,
    LARGEST_UNSIGNED,
    SMALLEST,
    TypeValue,
    Unsigned,
    name_of_type,
)

INTEGER = re.compile(r"[+-]?\d{1,25}", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.ASCII | re.IGNORECASE)
TRUTH = {
    "1": True, "t": True, "true": True, "TRUE": True, "True": True,
    "0": False, "f": False, "false": False, "FALSE": False, "False": False,
}  # fmt: skip


def _int(number: float) -> int:
    if not math.isfinite(number) or not SMALLEST <= int(number) <= LARGEST:
        raise EvaluationError("integer overflow")
    return int(number)


def _uint(number: float) -> Unsigned:
    if not math.isfinite(number) or not number >= 0 or int(number) > LARGEST_UNSIGNED:
        raise EvaluationError("unsigned integer overflow")
    return Unsigned(int(number))


def _int_of_text(text: str) -> int:
    if not INTEGER.fullmatch(text):
        raise _syntax("int", text)
    return _int(int(text))


def _uint_of_text(text: str) -> Unsigned:
    if not INTEGER.fullmatch(text) or text.startswith(("-", "+")):
        raise _syntax("uint", text)
    return _uint(int(text))


def _double_of_text(text: str) -> float:
    if not NUMBER.fullmatch(text):
        raise _syntax("double", text)
    return float(text)


def _bool_of_text(text: str) -> bool:
    if text not in TRUTH:
        raise _syntax("bool", text)
    return TRUTH[text]


def _syntax(kind: str, text: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from 'string' to '{kind}': {text[:50]!r}")


def _text_of_bytes(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def text_of_double(number: float) -> str:
    """Go's ``%g``: the shortest digits, with an exponent below 1e-4 and from 1e21 on."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    digits, _, exponent = f"{number!r}".partition("e")
    if not exponent:
        shortest = digits.removesuffix(".0")
        size = abs(number)
        if size == 0 or 1e-4 <= size < 1e6:
            return shortest
        mantissa, _, power = f"{number:.17e}".partition("e")
        significant = len(shortest.replace("-", "").replace(".", "").strip("0"))
        mantissa = f"{number:.{max(significant - 1, 0)}e}".partition("e")[0]
        return f"{mantissa}e{int(power):+03d}"
    return f"{digits.removesuffix('.0')}e{int(exponent):+03d}"


def text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return text_of_double(value)
    return times.text_of(value)


def _to(name: str, target: t.Type, *pairs: tuple[t.Type, Any]) -> list[Overload]:
    return [function(name, f"{source}_to_{name}", (source,), target, do) for source, do in pairs]


def _same(value: Any) -> Any:
    return value


OVERLOADS = (
    *_to("int", t.INT, (t.INT, _same), (t.UINT, _int), (t.DOUBLE, _int), (t.STRING, _int_of_text),
         (t.TIMESTAMP, lambda a: a.nanoseconds // times.SECOND), (t.DURATION, lambda a: a.nanoseconds)),
    *_to("uint", t.UINT, (t.UINT, _same), (t.INT, _uint), (t.DOUBLE, _uint), (t.STRING, _uint_of_text)),
    *_to("double", t.DOUBLE, (t.DOUBLE, _same), (t.INT, float), (t.UINT, float), (t.STRING, _double_of_text)),
    *_to("bool", t.BOOL, (t.BOOL, _same), (t.STRING, _bool_of_text)),
    *_to("string", t.STRING, (t.STRING, _same), (t.BOOL, text_of), (t.INT, text_of), (t.UINT, text_of),
         (t.DOUBLE, text_of), (t.TIMESTAMP, text_of), (t.DURATION, text_of)),
    function("string", "bytes_to_string", (t.BYTES,), t.STRING, _text_of_bytes, charges.of_first),
    *_to("bytes", t.BYTES, (t.BYTES, _same)),
    function("bytes", "string_to_bytes", (t.STRING,), t.BYTES, lambda a: a.encode(), charges.of_first),
    *_to("timestamp", t.TIMESTAMP, (t.TIMESTAMP, _same), (t.INT, times.timestamp), (t.STRING, times.parse_timestamp)),
    *_to("duration", t.DURATION, (t.DURATION, _same), (t.INT, times.duration), (t.STRING, times.parse_duration)),
    function("dyn", "to_dyn", (t.A,), t.DYN, _same),
    function("type", "type", (t.A,), t.type_of(t.A), lambda a: TypeValue(name_of_type(a))),
)  # fmt: skip
