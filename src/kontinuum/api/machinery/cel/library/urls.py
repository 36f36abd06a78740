"""Kubernetes' URL library: ``url(text)`` of an absolute URL or path, and its parts."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.api.machinery.cel.values import Opaque

URL = t.opaque("kubernetes.URL")


class Url(Opaque):
    """A parsed URL."""

    __slots__ = ("parts", "text")
    type_name = "kubernetes.URL"

    def __init__(self, text: str, parts: SplitResult) -> None:
        self.text = text
        self.parts = parts

    def equals(self, other: Any) -> bool:
        return isinstance(other, Url) and self.text == other.text

    def __str__(self) -> str:
        return self.text


def _parsed(text: str) -> Url:
    """Go's ``url.ParseRequestURI``: an absolute URL, or a path that begins at the root."""
    problem = EvaluationError(
        f'URL parse error during conversion from string: parse "{text[:100]}": invalid URI for request'
    )
    if not text or any(ord(one) <= 0x20 or ord(one) == 0x7F for one in text):
        raise problem
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise problem from None
    is_absolute = bool(parts.scheme) and text[len(parts.scheme) : len(parts.scheme) + 1] == ":"
    if not (is_absolute or text.startswith("/")) or _has_bad_escape(text):
        raise problem
    return Url(text, parts)


def _has_bad_escape(text: str) -> bool:
    hexadecimal = "0123456789abcdefABCDEF"
    pieces = text.split("%")[1:]
    return any(len(one) < 2 or one[0] not in hexadecimal or one[1] not in hexadecimal for one in pieces)


def _is_url(text: str) -> bool:
    try:
        _parsed(text)
    except EvaluationError:
        return False
    return True


def _host(url: Url) -> str:
    """With its port."""
    return url.parts.netloc.rpartition("@")[2]


def _hostname(url: Url) -> str:
    host = _host(url)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _port(url: Url) -> str:
    return str(url.parts.port) if url.parts.port is not None else ""


def _query(url: Url) -> dict[str, list[str]]:
    return parse_qs(url.parts.query, keep_blank_values=True)


S = t.STRING
OVERLOADS = (
    function("url", "string_to_url", (S,), URL, _parsed, charges.of_first),
    function("isURL", "is_url_string", (S,), t.BOOL, _is_url, charges.of_first),
    member("getScheme", "url_get_scheme", (URL,), S, lambda url: url.parts.scheme),
    member("getHost", "url_get_host", (URL,), S, _host),
    member("getHostname", "url_get_hostname", (URL,), S, _hostname),
    member("getPort", "url_get_port", (URL,), S, _port),
    member("getEscapedPath", "url_get_escaped_path", (URL,), S, lambda url: url.parts.path),
    member("getQuery", "url_get_query", (URL,), t.map_of(S, t.list_of(S)), _query),
)
