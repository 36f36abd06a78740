"""Quantities: ``250m`` of CPU, ``64Mi`` of memory. The rules are those of k8s.io/apimachinery ``api/resource``.

A quantity is exact to one billionth (nano) and rounds away from zero beyond that, as Kubernetes does. Inside this
module it is a whole number of nanos, so that no arithmetic can lose anything.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from kontinuum.foundation.errors import Refused

NANO = 10**9
DECIMAL_EXPONENTS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY_POWERS = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
DECIMAL_SUFFIXES = {exponent: suffix for suffix, exponent in DECIMAL_EXPONENTS.items()}
BINARY_SUFFIXES = {power: suffix for suffix, power in BINARY_POWERS.items()}
LARGEST = (2**63 - 1) * NANO
"""Kubernetes caps larger amounts silently at the largest 64-bit number."""

PATTERN = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:([eE][+-]?\d+)|([A-Za-z]*))", re.ASCII)


class InvalidQuantity(Refused, ValueError):
    """The text is not a quantity. The message is Kubernetes'."""


def parse(text: str | int | float) -> Decimal:
    """The amount as an exact decimal: ``parse("1.5Gi") == 1610612736``, ``parse("250m") == Decimal("0.25")``.

    JSON numbers are accepted too, because manifests say ``cpu: 1``. Raises InvalidQuantity.
    """
    return _amount(str(text))


def milli(text: str | int | float) -> int:
    """Thousandths, rounded up: millicores of a CPU quantity."""
    return _up(_read(str(text))[0], 10**6)


def value(text: str | int | float) -> int:
    """Whole units, rounded up: bytes of a memory quantity."""
    return _up(_read(str(text))[0], NANO)


def canonical(text: str | int | float) -> str:
    """The form in which Kubernetes stores the quantity: ``0.5`` → ``500m``, ``1024Mi`` → ``1Gi``, ``1e3`` → ``1e3``."""
    nanos, form = _read(str(text))
    return _write(nanos, form)


def format_milli(amount: int) -> str:
    """``250`` → ``250m``, ``2000`` → ``2``."""
    return _write(amount * 10**6, "decimal")


def format_bytes(amount: int) -> str:
    """``67108864`` → ``64Mi``; amounts that are no multiple of 1024 stay plain numbers."""
    return _write(amount * NANO, "binary")


def add(left: str | int | float, right: str | int | float) -> str:
    """The sum, in the form of ``left`` (of ``right`` if ``left`` is zero)."""
    (a, form_a), (b, form_b) = _read(str(left)), _read(str(right))
    return _write(min(a + b, LARGEST), form_a if a else form_b)


def subtract(left: str | int | float, right: str | int | float) -> str:
    """The difference, in the form of ``left`` (of ``right`` if ``left`` is zero); it may be negative."""
    (a, form_a), (b, form_b) = _read(str(left)), _read(str(right))
    return _write(a - b, form_a if a else form_b)


@lru_cache(maxsize=4096)
def _amount(text: str) -> Decimal:
    nanos, _ = _read(text)
    return Decimal(f"{nanos}E-9").normalize() if nanos else Decimal(0)


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[int, str]:
    """``(nanos, form)``; the form is ``decimal``, ``binary`` or ``exponent`` and decides how it is written again."""
    match = PATTERN.fullmatch(text.strip())
    if match is None:
        raise InvalidQuantity(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    sign, number, exponent, suffix = match.groups()
    whole, _, fraction = number.partition(".")
    digits, scale, form = int((whole + fraction) or "0"), 9 - len(fraction), "decimal"
    if exponent is not None:
        scale, form = scale + int(exponent[1:]), "exponent"
    elif suffix in BINARY_POWERS:
        digits, form = digits * 1024 ** BINARY_POWERS[suffix], "binary"
    elif suffix in DECIMAL_EXPONENTS:
        scale += DECIMAL_EXPONENTS[suffix]
    else:
        raise InvalidQuantity("unable to parse quantity's suffix")
    nanos = digits * 10**scale if 0 <= scale <= 60 else _far(digits, scale)
    return min(nanos, LARGEST) * (-1 if sign == "-" else 1), form


def _far(digits: int, scale: int) -> int:
    """Scaling that rounds (below one nano), or so large that the cap decides whatever the digits are."""
    if scale > 0:
        return LARGEST if digits else 0
    return _up(digits, 10 ** min(-scale, 400))


def _up(nanos: int, unit: int) -> int:
    """Division that rounds away from zero."""
    return -(-nanos // unit) if nanos >= 0 else nanos // unit


def _write(nanos: int, form: str) -> str:
    # A fraction of a byte would be lost in the binary form (Go's CanonicalizeBytes).
    if form == "binary" and abs(nanos) >= 1024 * NANO and nanos % NANO == 0:
        return _write_binary(nanos // NANO)
    return _write_decimal(nanos, exponent_form=form == "exponent")


def _write_binary(amount: int) -> str:
    power = 0
    while power < 6 and amount % 1024 == 0:
        amount, power = amount // 1024, power + 1
    return f"{amount}{BINARY_SUFFIXES.get(power, '')}"


def _write_decimal(nanos: int, *, exponent_form: bool) -> str:
    """The largest exponent, a multiple of three, that leaves a whole number in front."""
    if nanos == 0:
        return "0"
    exponent = -9
    while exponent < 18 and nanos % 1000 == 0:
        nanos, exponent = nanos // 1000, exponent + 3
    if exponent_form:
        return f"{nanos}e{exponent}" if exponent else str(nanos)
    return f"{nanos}{DECIMAL_SUFFIXES[exponent]}"
