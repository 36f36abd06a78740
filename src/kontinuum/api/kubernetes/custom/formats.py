"""String formats that a schema may ask for. Formats that are not here mean nothing, as in Kubernetes."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from kontinuum.api.kubernetes.validation import names
from kontinuum.foundation.clock import parse_rfc3339

HOSTNAME = re.compile(r"([a-zA-Z0-9\u00a1-\uffff]([a-zA-Z0-9\u00a1-\uffff-]{0,61}[a-zA-Z0-9\u00a1-\uffff])?\.?)+")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
DATE = re.compile(r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", re.ASCII)
# Go's durations ("1h30m"), and the words that go-openapi accepts beside them ("3 weeks").
DURATION = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*|0")
WORDED_DURATION = re.compile(
    r"(\d+)\s*(ns|nano|nanosecs?|nanoseconds?|us|µs|micros?|microsecs?|microseconds?|ms|millis?|millisecs?|"
    r"milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?)",
    re.IGNORECASE,
)
MAC = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}")
UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
COLOR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
RGB = re.compile(r"rgb\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)")
OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")
SOCIAL_SECURITY = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}", re.ASCII)


def _date_time(text: str) -> bool:
    if "T" not in text.upper():
        return False
    try:
        parse_rfc3339(text)
    except ValueError:
        return False
    return True


def _address(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version
        except ValueError:
            return False

    return check


def _network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) or text.startswith("/")


def _bytes(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _uuid(version: int) -> Callable[[str], bool]:
    return lambda text: bool(UUID.fullmatch(text)) and text.replace("-", "")[12] == str(version)


def _rgb(text: str) -> bool:
    found = RGB.fullmatch(text)
    return found is not None and all(int(one) <= 255 for one in found.groups())


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII):
        return False
    weights = (10 if digit == "X" else int(digit) for digit in digits)
    return sum((index + 1) * weight for index, weight in enumerate(weights)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(r"\d{13}", digits, re.ASCII):
        return False
    return sum(int(digit) * (1, 3)[index % 2] for index, digit in enumerate(digits)) % 10 == 0


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]", "", text)
    if not 13 <= len(digits) <= 19:
        return False
    doubled = (int(one) * (2 if index % 2 else 1) for index, one in enumerate(reversed(digits)))
    return sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _matches(OBJECT_ID),
    "uri": _uri,
    "email": _matches(EMAIL),
    "hostname": lambda text: len(text) <= 255 and HOSTNAME.fullmatch(text) is not None,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _network,
    "mac": _matches(MAC),
    "uuid": _matches(UUID),
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _matches(SOCIAL_SECURITY),
    "hexcolor": _matches(COLOR),
    "rgbcolor": _rgb,
    "byte": _bytes,
    "date": _matches(DATE),
    "duration": lambda text: DURATION.fullmatch(text) is not None or WORDED_DURATION.fullmatch(text) is not None,
    "date-time": _date_time,
    "datetime": _date_time,
    "k8s-short-name": lambda text: not names.dns_label(text),
    "k8s-long-name": lambda text: not names.dns_subdomain(text),
}
