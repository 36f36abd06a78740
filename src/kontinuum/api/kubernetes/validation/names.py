"""The syntax of names. Each check returns what is wrong, in Kubernetes' words; nothing if nothing is.

Source: k8s.io/apimachinery ``util/validation``.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
RELATIVE_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
LABEL_VALUE = rf"({QUALIFIED})?"
ENV_NAME = r"[ -<>-~]+"
CONFIG_KEY = r"[-._a-zA-Z0-9]+"
HEADER = r"[-A-Za-z0-9]+"
REASON = r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"

LONGEST_QUALIFIED = 253 + 1 + 63

_compiled = {
    pattern: re.compile(pattern, re.ASCII)
    for pattern in (LABEL, SUBDOMAIN, RELATIVE_LABEL, QUALIFIED, LABEL_VALUE, ENV_NAME, CONFIG_KEY, HEADER, REASON)
}

_is_label = _compiled[LABEL].fullmatch
_is_label_value = _compiled[LABEL_VALUE].fullmatch
is_env_name = _compiled[ENV_NAME].fullmatch
"""A match, or None."""

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
RELATIVE_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
CONFIG_KEY_TEXT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
HEADER_TEXT = "a valid HTTP header must consist of alphanumeric characters or '-'"
REASON_TEXT = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_'"
)
ENV_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"


# Nearly every name is a good one: each check answers that at once, and looks for what is wrong only if something is.


def dns_label(name: str) -> list[str]:
    """RFC 1123 label, at most 63 bytes: namespaces, containers, volumes, ports."""
    if len(name) <= 63 and _is_label(name):
        return []
    return too_long(name, 63) + _pattern(name, LABEL, LABEL_TEXT, ["my-name", "123-abc"])


def dns_subdomain(name: str) -> list[str]:
    """RFC 1123 subdomain, at most 253 bytes: the name of most objects."""
    if len(name) <= 63 and _is_label(name):
        return []
    return too_long(name, 253) + _pattern(name, SUBDOMAIN, SUBDOMAIN_TEXT, ["example.com"])


def dns_1035_label(name: str) -> list[str]:
    """RFC 1035 label, at most 63 bytes: Services."""
    return too_long(name, 63) + _pattern(name, RELATIVE_LABEL, RELATIVE_TEXT, ["my-name", "abc-123"])


def qualified_name(text: str) -> list[str]:
    """``name`` or ``prefix.example.com/name``: label and annotation keys, finalizers, resource names."""
    # The same keys come with every object; what is longer than any good one is not worth remembering.
    return list(_qualified_again(text)) if len(text) <= LONGEST_QUALIFIED else _qualified(text)


def _qualified(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        return [
            _explained("a qualified name " + QUALIFIED_TEXT, QUALIFIED, ["MyName", "my.name", "123-abc"])
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    problems = []
    if slash:
        problems += ["prefix part must be non-empty"] if not prefix else []
        problems += [f"prefix part {problem}" for problem in (dns_subdomain(prefix) if prefix else [])]
    if not name:
        return [*problems, "name part must be non-empty", *_name_part(name)]
    return problems + [f"name part {problem}" for problem in too_long(name, 63, unit="bytes")] + _name_part(name)


@lru_cache(maxsize=4096)
def _qualified_again(text: str) -> tuple[str, ...]:
    return tuple(_qualified(text))


def label_value(value: str) -> list[str]:
    """At most 63 bytes; may be empty."""
    if len(value) <= 63 and _is_label_value(value):
        return []
    return too_long(value, 63, unit="bytes") + _pattern(
        value, LABEL_VALUE, LABEL_VALUE_TEXT, ["MyValue", "my_value", "12345"]
    )


def config_key(key: str) -> list[str]:
    """A key of a ConfigMap or Secret: a file name."""
    problems = too_long(key, 253) + _pattern(key, CONFIG_KEY, CONFIG_KEY_TEXT, ["key.name", "KEY_NAME", "key-name"])
    if key in (".", ".."):
        problems.append(f"must not be '{key}'")
    elif key.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def condition_reason(text: str) -> list[str]:
    """Of a ``meta/v1.Condition``."""
    return _pattern(text, REASON, REASON_TEXT, ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"])


def env_name(name: str) -> list[str]:
    return [] if is_env_name(name) else [ENV_TEXT]


def http_header(name: str) -> list[str]:
    return _pattern(name, HEADER, HEADER_TEXT, ["X-Header-Name"])


def port_number(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else ["must be between 1 and 65535, inclusive"]


def port_name(name: str) -> list[str]:
    """IANA service name: at most 15 characters, with a letter."""
    problems = [] if len(name) <= 15 else ["must be no more than 15 characters"]
    if not re.fullmatch(r"[-a-z0-9]+", name, re.ASCII):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", name):
        problems.append("must contain at least one letter (a-z)")
    if "--" in name:
        problems.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def ip_address(text: str) -> list[str]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def too_long(text: str, maximum: int, *, unit: str = "characters") -> list[str]:
    """``unit``: what Kubernetes says it counts; labels' rules say bytes."""
    return [] if len(text) <= maximum else [f"must be no more than {maximum} {unit}"]


def _name_part(name: str) -> list[str]:
    if _compiled[QUALIFIED].fullmatch(name):
        return []
    return [_explained(f"name part {QUALIFIED_TEXT}", QUALIFIED, ["MyName", "my.name", "123-abc"])]


def _pattern(text: str, pattern: str, explanation: str, examples: list[str]) -> list[str]:
    return [] if _compiled[pattern].fullmatch(text) else [_explained(explanation, pattern, examples)]


def _explained(explanation: str, pattern: str, examples: list[str]) -> str:
    """Kubernetes' RegexError: the rule, examples, and the expression itself."""
    shown = " or ".join(f"'{one}', " for one in examples)
    return f"{explanation} (e.g. {shown}regex used for validation is '{pattern}')"
