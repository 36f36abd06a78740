"""The identity of a request, in the terms of Kubernetes' ``user.Info``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kontinuum.api.machinery.objects import Object

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = "system:anonymous"

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
POD_NAME = "authentication.kubernetes.io/pod-name"
POD_UID = "authentication.kubernetes.io/pod-uid"
NODE_NAME = "authentication.kubernetes.io/node-name"
NODE_UID = "authentication.kubernetes.io/node-uid"

Extra = Mapping[str, tuple[str, ...]]
"""What a credential says beyond name, uid and groups: values by a key that is written in small letters."""


@dataclass(frozen=True, slots=True)
class User:
    """``groups`` of somebody whose credential was good hold ``system:authenticated``; ``uid`` may be ""."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Extra = field(default_factory=dict, hash=False)


NOBODY = User(ANONYMOUS, (UNAUTHENTICATED,))
"""Whoever shows no credential, where that is allowed."""


def authenticated(
    name: str, groups: tuple[str, ...] | list[str] = (), uid: str = "", extra: Extra | None = None
) -> User:
    """Somebody whose credential was good."""
    return with_default_group(User(name, tuple(dict.fromkeys(groups)), uid, extra or {}))


def with_default_group(user: User) -> User:
    """``user`` in ``system:authenticated`` (or, the anonymous one, in ``system:unauthenticated``)."""
    if AUTHENTICATED in user.groups or UNAUTHENTICATED in user.groups:
        return user
    group = UNAUTHENTICATED if user.name == ANONYMOUS else AUTHENTICATED
    return replace(user, groups=(*user.groups, group))


def to_user_info(user: User) -> Object:
    """The user as ``authentication.k8s.io/v1 UserInfo``, without what is empty."""
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info
