"""The syntax of what is not an object's name: domains, paths, addresses (apimachinery ``util/validation``).

The first functions return words, as those of ``names``; the ones that take a ``path`` return field errors.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError

WILDCARD = rf"\*\.{names.SUBDOMAIN}"
HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
C_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
CSI_NAME_LENGTH = 63
SIGNER_NAME_LENGTH = 571
"""A domain (253), a slash, and a path (253 + 1 + 63)."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def path_segment(name: str) -> list[str]:
    """A name that can stand in a URL; what roles and references are held to."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{char}'" for char in ("/", "%") if char in name]


def wildcard_subdomain(host: str) -> list[str]:
    explanation = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return names.too_long(host, 253) + _matches(host, WILDCARD, explanation, "*.example.com")


def c_identifier(text: str) -> list[str]:
    explanation = (
        "a valid C identifier must start with alphabetic character or '_', "
        "followed by a string of alphanumeric characters or '_'"
    )
    return _matches(text, C_IDENTIFIER, explanation, "my_name", "MY_NAME", "MyName")


def check(value: Any, problems: list[str], path: str) -> list[FieldError]:
    """One ``Invalid value`` for each of ``problems``."""
    return [fields.invalid(path, value, problem) for problem in problems]


def fully_qualified_name(name: str, path: str) -> list[FieldError]:
    """At least three segments, as a webhook's name has."""
    return _domain(name, path, least=3)


def fully_qualified_domain(name: str, path: str) -> list[FieldError]:
    """At least two segments; may end with a dot."""
    return _domain(name.removesuffix("."), path, least=2)


def domain_prefixed_path(text: str, path: str) -> list[FieldError]:
    """``acme.io/foo``"""
    if not text:
        return [fields.required(path)]
    host, slash, rest = text.partition("/")
    if not slash or not host or not rest:
        return [fields.invalid(path, text, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = check(host, names.dns_subdomain(host), path)
    return errors + check(rest, _matches(rest, HTTP_PATH, "Invalid path"), path)


def csi_driver_name(name: str, path: str) -> list[FieldError]:
    if not name:
        return [fields.required(path)]
    errors = [fields.too_long(path, CSI_NAME_LENGTH)] if len(name) > CSI_NAME_LENGTH else []
    return errors + check(name, names.dns_subdomain(name.lower()), path)


def signer_name(name: str, path: str) -> list[FieldError]:
    """``kubernetes.io/kube-apiserver-client``: a domain of two segments or more, and a path."""
    if not name:
        return [fields.required(path)]
    host, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        problem = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [fields.invalid(path, name, problem)]
    errors = [fields.too_long(path, SIGNER_NAME_LENGTH)] if len(name) > SIGNER_NAME_LENGTH else []
    if "." not in host:
        errors.append(fields.invalid(path, host, "should be a domain with at least two segments separated by dots"))
    for part, labels in ((host, host.split(".")), (rest, rest.split("."))):
        for label in labels:
            problems = names.dns_label(label) if part is host else names.dns_subdomain(label)
            errors += check(part, [f"validating label {fields.quoted(label)}: {one}" for one in problems], path)
    return errors


def network(text: str) -> Network | None:
    """The network, whatever bits of the host are set; None if it is no CIDR."""
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def cidr(text: str, path: str) -> list[FieldError]:
    """As fields that are older than strictness take it: bits beyond the prefix do no harm."""
    if network(text) is None:
        return [fields.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]
    return []


def canonical_cidr(text: str, path: str) -> list[FieldError]:
    found = network(text)
    if found is None or str(found) == text:
        return cidr(text, path)
    return [fields.invalid(path, text, f"must be in canonical form ({fields.quoted(str(found))})")]


def is_ip(text: str) -> bool:
    return not names.ip_address(text)


def canonical_ip(text: str) -> list[str]:
    problems = names.ip_address(text)
    if not problems and str(ipaddress.ip_address(text)) != text:
        problems = [f"must be in canonical form ({fields.quoted(str(ipaddress.ip_address(text)))})"]
    return problems


def endpoint_ip(text: str, path: str) -> list[FieldError]:
    """An address that traffic can be sent to from elsewhere."""
    if not is_ip(text):
        return []
    address = ipaddress.ip_address(text)
    if address.is_unspecified:
        return [fields.invalid(path, text, f"may not be unspecified ({text})")]
    if address.is_loopback:
        return [fields.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")]
    if address.is_link_local:
        return [fields.invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")]
    multicast = ipaddress.ip_network("224.0.0.0/24" if address.version == 4 else "ff02::/16")
    if address in multicast:
        problem = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        return [fields.invalid(path, text, problem)]
    return []


def _domain(name: str, path: str, *, least: int) -> list[FieldError]:
    if not name:
        return [fields.required(path)]
    if problems := names.dns_subdomain(name):
        return [fields.invalid(path, name, ",".join(problems))]
    if name.count(".") + 1 < least:
        words = {2: "two", 3: "three"}[least]
        problem = f"should be a domain with at least {words} segments separated by dots"
        return [fields.invalid(path, name, problem)]
    return []


def _matches(text: str, pattern: str, explanation: str, *examples: str) -> list[str]:
    if re.fullmatch(pattern, text, re.ASCII):
        return []
    shown = "e.g. " + " or ".join(f"'{one}', " for one in examples) if examples else ""
    return [f"{explanation} ({shown}regex used for validation is '{pattern}')"]
