"""``WWW-Authenticate`` of registries: what is wanted, and where to get it (distribution's token specification)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST = 4096
"""Characters of a challenge that are looked at."""
_PARAMETER = re.compile(r'[\s,]*([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """``Bearer realm="https://auth.example/token",service="registry.example",scope="repository:app:pull"``."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""
    error: str = ""


def parse(headers: Iterable[str]) -> Challenge | None:
    """The one we can meet: a token before a password; None if there is neither."""
    found = [_one(header) for header in headers]
    for scheme in ("bearer", "basic"):
        for one in found:
            if one.scheme == scheme and (scheme == "basic" or one.realm):
                return one
    return None


def _one(header: str) -> Challenge:
    scheme, _, rest = header[:LONGEST].strip().partition(" ")
    values = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in _PARAMETER.findall(rest)
    }
    known = {name: values.get(name, "") for name in ("realm", "service", "scope", "error")}
    return Challenge(scheme.lower(), **known)


def scopes(challenge: Challenge, wanted: Iterable[str]) -> tuple[str, ...]:
    """What a token is asked for: what we know that we need, and what the registry says that it wants."""
    return tuple(sorted({*wanted, *challenge.scope.split()}))
