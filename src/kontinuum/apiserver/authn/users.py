"""The identity of a request, in the terms of Kubernetes' ``user.Info``."""

from __future__ import annotations

from dataclasses import dataclass

AUTHENTICATED = "system:authenticated"


@dataclass(frozen=True, slots=True)
class User:
    """``groups`` always end in ``system:authenticated``; ``uid`` is "" where the credential says nothing."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


def authenticated(name: str, groups: tuple[str, ...] | list[str] = (), uid: str = "") -> User:
    """Somebody whose credential was good."""
    return User(name, tuple(dict.fromkeys([*groups, AUTHENTICATED])), uid)
