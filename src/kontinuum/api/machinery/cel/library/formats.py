"""Kubernetes' format library: ``format.dns1123Label().validate(text)`` answers the problems, or none."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.api.machinery.cel.times import parse_date, parse_timestamp
from kontinuum.api.machinery.cel.values import NOTHING, Opaque, Optional

FORMAT = t.opaque("kubernetes.NamedFormat")
LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
VALUE = rf"({QUALIFIED})?"
LABEL_PROBLEM = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_PROBLEM = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_1035_PROBLEM = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_PROBLEM = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_PROBLEM = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


class Format(Opaque):
    """A named format."""

    __slots__ = ("check", "name")
    type_name = "kubernetes.NamedFormat"

    def __init__(self, name: str, check: Callable[[str], list[str]]) -> None:
        self.name = name
        self.check = check

    def equals(self, other: Any) -> bool:
        return isinstance(other, Format) and self.name == other.name

    def __str__(self) -> str:
        return self.name


def _pattern(pattern: str, limit: int, problem: str, *, prefix: bool = False) -> Callable[[str], list[str]]:
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> list[str]:
        found = [f"must be no more than {limit} characters"] if len(text) > limit else []
        # A prefix may end in a dash, because a suffix follows.
        judged = text[:-1] + "a" if prefix and text.endswith("-") else text
        if compiled.fullmatch(judged[: limit * 2]) is None:
            found.append(problem)
        return found

    return check


def _qualified(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    found: list[str] = []
    if "/" in prefix:
        return [f"a qualified name {QUALIFIED_PROBLEM.removeprefix('name part ')}"]
    if slash:
        found += (
            ["prefix part must be non-empty"] if not prefix else [f"prefix part {one}" for one in _subdomain(prefix)]
        )
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 characters")
    if re.fullmatch(QUALIFIED, name[:200], re.ASCII) is None:
        found.append(QUALIFIED_PROBLEM)
    return found


_subdomain = _pattern(SUBDOMAIN, 253, SUBDOMAIN_PROBLEM)


def _uri(text: str) -> list[str]:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        return [f"invalid URI: {error}"]
    return [] if (parts.scheme or text.startswith("/")) and " " not in text else ["invalid URI for request"]


def _uuid(text: str) -> list[str]:
    try:
        UUID(text)
    except ValueError:
        return ["does not match the UUID format"]
    return []


def _byte(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return []


def _time(parse: Callable[[str], Any], problem: str) -> Callable[[str], list[str]]:
    def check(text: str) -> list[str]:
        try:
            parse(text)
        except EvaluationError:
            return [problem]
        return []

    return check


CHECKS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": _pattern(LABEL, 63, LABEL_PROBLEM),
    "dns1123Subdomain": _subdomain,
    "dns1035Label": _pattern(LABEL_1035, 63, LABEL_1035_PROBLEM),
    "qualifiedName": _qualified,
    "dns1123LabelPrefix": _pattern(LABEL, 63, LABEL_PROBLEM, prefix=True),
    "dns1123SubdomainPrefix": _pattern(SUBDOMAIN, 253, SUBDOMAIN_PROBLEM, prefix=True),
    "dns1035LabelPrefix": _pattern(LABEL_1035, 63, LABEL_1035_PROBLEM, prefix=True),
    "labelValue": _pattern(VALUE, 63, VALUE_PROBLEM),
    "uri": _uri,
    "uuid": _uuid,
    "byte": _byte,
    "date": _time(parse_date, "invalid date"),
    "datetime": _time(parse_timestamp, "invalid datetime"),
}
NAMED = {name: Format(name, check) for name, check in CHECKS.items()}


def _named(name: str) -> Optional:
    return Optional(NAMED[name]) if name in NAMED else NOTHING


def _validate(one: Format, text: str) -> Optional:
    problems = one.check(text)
    return Optional(problems) if problems else NOTHING


def _give(one: Format) -> Callable[[], Format]:
    return lambda: one


OVERLOADS = (
    function("format.named", "format-named", (t.STRING,), t.optional_of(FORMAT), _named),
    *(function(f"format.{name}", f"format-{name}", (), FORMAT, _give(one)) for name, one in NAMED.items()),
    member("validate", "format-validate", (FORMAT, t.STRING), t.optional_of(t.list_of(t.STRING)), _validate,
           charges.of_first_tenfold),
)  # fmt: skip
