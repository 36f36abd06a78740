"""Names that follow from what they stand for, so that creating a child twice makes it once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson

_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' alphabet for generated names: no vowels and no look-alikes, so that no words appear by chance."""
_SUFFIX = 5
_LONGEST = 63


def template_hash(template: Any, collisions: int) -> str:
    """The ``pod-template-hash`` of a pod template: FNV-1a (32 bits) in the safe alphabet, as Kubernetes writes it.

    ``collisions`` is the Deployment's ``status.collisionCount``: it makes another hash of the same template.
    """
    content = orjson.dumps(without_nulls(template), option=orjson.OPT_SORT_KEYS)
    if collisions:
        content += str(collisions).encode()
    number = 2166136261
    for byte in content:
        number = ((number ^ byte) * 16777619) & 0xFFFFFFFF
    return "".join(_SAFE[ord(digit) % len(_SAFE)] for digit in str(number))


def child_name(parent: str, parent_uid: str, ordinal: int) -> str:
    """The name of child number ``ordinal`` of one incarnation of ``parent``: ``parent-x7k2p``."""
    digest = hashlib.blake2b(f"{parent_uid}/{ordinal}".encode(), digest_size=_SUFFIX).digest()
    suffix = "".join(_SAFE[byte % len(_SAFE)] for byte in digest)
    return f"{parent[: _LONGEST - _SUFFIX - 1]}-{suffix}"


class FreshNames:
    """Names for children that nobody has yet, though they follow from their parent: the first that is free."""

    def __init__(self, is_taken: Callable[[str], bool]) -> None:
        """``is_taken`` says whether the namespace has a child of that name, whoever owns it."""
        self._is_taken = is_taken
        self._given: set[str] = set()

    def child(self, parent: str, seed: str) -> str:
        """As ``child_name``; never the same twice."""
        ordinal = 0
        while (name := child_name(parent, seed, ordinal)) in self._given or self._is_taken(name):
            ordinal += 1
        self._given.add(name)
        return name


def without_nulls(value: Any) -> Any:
    """``value`` without null members: to a Kubernetes API, null and absent are the same."""
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(member) for member in value]
    return value
