"""Levels and versions of the standards, and what a namespace's labels say about them (KEP-2579)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError

PREFIX = "pod-security.kubernetes.io/"
PRIVILEGED, BASELINE, RESTRICTED = LEVELS = ("privileged", "baseline", "restricted")
"""From the most to the least permissive."""
LATEST = 10**6
"""The minor version that "latest" stands for: newer than every other."""
VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)", re.ASCII)


class Standard(NamedTuple):
    """One level as one minor version of Kubernetes defined it."""

    level: str
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"


class Policy(NamedTuple):
    """What pods of a namespace are held to. What violates ``enforce`` is refused, the others are only told of."""

    enforce: Standard = Standard(PRIVILEGED)
    audit: Standard = Standard(PRIVILEGED)
    warn: Standard = Standard(PRIVILEGED)

    @property
    def is_privileged(self) -> bool:
        return self.enforce.level == self.audit.level == self.warn.level == PRIVILEGED


def policy_of(labels: Mapping[str, str] | None, default: Policy) -> tuple[Policy, list[FieldError]]:
    """The policy that ``labels`` ask for, and what is wrong with them. A broken label is read as the strictest, but
    for audit and warnings, which then are left out."""
    errors: list[FieldError] = []
    if not any(name.startswith(PREFIX) for name in labels or ()):
        return default, errors
    found = {}
    for mode, standard in default._asdict().items():
        level, minor = standard
        if (text := (labels or {}).get(PREFIX + mode)) is not None:
            level = text
            if text not in LEVELS:
                errors.append(_wrong(mode, text, f"must be one of {', '.join(LEVELS)}"))
                level = RESTRICTED if mode == "enforce" else PRIVILEGED
        if (text := (labels or {}).get(f"{PREFIX}{mode}-version")) is not None:
            minor = minor_of(text)
            if minor < 0:
                errors.append(_wrong(f"{mode}-version", text, 'must be "latest" or "v1.x"'))
                minor = LATEST
        found[mode] = Standard(level, minor)
    return Policy(**found), errors


def minor_of(text: str) -> int:
    """``latest`` or ``v1.27``; -1 for anything else."""
    if text == "latest":
        return LATEST
    match = VERSION.fullmatch(text)
    return int(match[1]) if match else -1


def is_stricter(level: str, other: str) -> bool:
    return LEVELS.index(level) > LEVELS.index(other)


def _wrong(name: str, value: str, problem: str) -> FieldError:
    return fields.invalid(f"metadata.labels[{PREFIX}{name}]", value, problem)
