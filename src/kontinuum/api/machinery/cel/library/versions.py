"""Kubernetes' semver library: ``semver("1.2.3").isLessThan(...)`` (semver.org 2.0.0)."""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.api.machinery.cel.values import LARGEST, Opaque

SEMVER = t.opaque("kubernetes.Semver")
LONGEST = 256
PART = r"(?:0|[1-9]\d{0,19})"
VERSION = re.compile(
    rf"({PART})\.({PART})\.({PART})"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?",
    re.ASCII,
)


@total_ordering
class Semver(Opaque):
    """A version; what is built of it does not count in its order."""

    __slots__ = ("build", "numbers", "pre")
    type_name = "kubernetes.Semver"

    def __init__(self, numbers: tuple[int, int, int], pre: tuple[str, ...], build: str) -> None:
        self.numbers = numbers
        self.pre = pre
        self.build = build

    @property
    def order(self) -> tuple[Any, ...]:
        """A pre-release comes before its release; numbers before words."""
        identifiers = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in self.pre)
        return (self.numbers, not self.pre, identifiers)

    def __lt__(self, other: Semver) -> bool:
        return self.order < other.order

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self.order == other.order

    def __hash__(self) -> int:
        return hash(self.order)

    def equals(self, other: Any) -> bool:
        return bool(self == other)

    def __str__(self) -> str:
        text = ".".join(map(str, self.numbers))
        text += f"-{'.'.join(self.pre)}" if self.pre else ""
        return f"{text}+{self.build}" if self.build else text


def _read(text: str, normalize: bool = False) -> Semver:
    match = VERSION.fullmatch(_normalized(text) if normalize else text) if len(text) <= LONGEST else None
    if match is None or any(int(match[place]) > LARGEST for place in (1, 2, 3)):
        raise EvaluationError(f"Invalid semantic version: {text[:LONGEST]!r}")
    pre = tuple(match[4].split(".")) if match[4] else ()
    return Semver((int(match[1]), int(match[2]), int(match[3])), pre, match[5] or "")


def _normalized(text: str) -> str:
    """``v1.02`` is 1.2.0: a leading v goes, missing parts are zero, leading zeros go."""
    text = text.removeprefix("v")
    place = next((at for at, one in enumerate(text) if one in "-+"), len(text))
    parts = text[:place].split(".")
    if len(parts) > 3 or any(not one.isascii() or not one.isdigit() for one in parts):
        return ""
    parts = [one.lstrip("0") or "0" for one in parts] + ["0"] * (3 - len(parts))
    return ".".join(parts) + text[place:]


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _read(text, normalize)
    except EvaluationError:
        return False
    return True


def _compare(one: Semver, other: Semver) -> int:
    return int(one > other) - int(one < other)


S, TWO = t.STRING, (SEMVER, SEMVER)
OVERLOADS = (
    function("semver", "string_to_semver", (S,), SEMVER, _read, charges.of_first),
    function("semver", "string_bool_to_semver", (S, t.BOOL), SEMVER, _read, charges.of_first),
    function("isSemver", "is_semver_string", (S,), t.BOOL, _is_semver, charges.of_first),
    function("isSemver", "is_semver_string_bool", (S, t.BOOL), t.BOOL, _is_semver, charges.of_first),
    member("isGreaterThan", "semver_is_greater_than", TWO, t.BOOL, lambda a, b: a > b),
    member("isLessThan", "semver_is_less_than", TWO, t.BOOL, lambda a, b: a < b),
    member("compareTo", "semver_compare_to", TWO, t.INT, _compare),
    member("major", "semver_major", (SEMVER,), t.INT, lambda a: a.numbers[0]),
    member("minor", "semver_minor", (SEMVER,), t.INT, lambda a: a.numbers[1]),
    member("patch", "semver_patch", (SEMVER,), t.INT, lambda a: a.numbers[2]),
)
