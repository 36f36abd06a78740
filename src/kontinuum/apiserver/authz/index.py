"""Who is bound to which role: the watch caches' roles and bindings, turned round so that a user finds theirs.

Nothing is told to the index. It follows the caches by key, and looks again at what has changed when it is asked next: a
decision sees every change that the caches have seen, and a change costs the work of one object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.rules import RoleRules

SERVICE_ACCOUNT = "system:serviceaccount:"


class Cache(Protocol):
    """What is needed of a watch cache."""

    def follow(self) -> set[str]: ...

    def get(self, key: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Caches:
    """Of the four kinds of rbac.authorization.k8s.io."""

    cluster_roles: Cache
    cluster_role_bindings: Cache
    roles: Cache
    role_bindings: Cache


class _Metadata(msgspec.Struct):
    name: str
    namespace: str = ""


class _Role(msgspec.Struct):
    metadata: _Metadata
    rules: list[dict[str, Any]] | None = None


class _RoleRef(msgspec.Struct):
    kind: str = ""
    name: str = ""


class _Subject(msgspec.Struct):
    kind: str = ""
    name: str = ""
    namespace: str | None = None


class _Binding(msgspec.Struct):
    metadata: _Metadata
    roleRef: _RoleRef
    subjects: list[_Subject] | None = None


_decode_role = msgspec.json.Decoder(_Role).decode
_decode_binding = msgspec.json.Decoder(_Binding).decode


@dataclass(frozen=True, slots=True)
class Bound:
    """One binding as one of its subjects sees it. ``role`` is ``(namespace, name)``, namespace "" of a ClusterRole."""

    kind: str
    role: tuple[str, str]
    reason: str


_Subjects = dict[str, dict[str, Bound]]
"""By user (``u:``) or group (``g:``), then by the binding's key."""


class Index:
    """See the module."""

    def __init__(self, caches: Caches) -> None:
        self._roles: dict[tuple[str, str], RoleRules] = {}
        self._scopes: dict[str, _Subjects] = {"": {}}
        self._subjects_of: dict[str, tuple[str, list[str]]] = {}
        self._role_caches = [(one, one.follow()) for one in (caches.cluster_roles, caches.roles)]
        self._binding_caches = [(one, one.follow()) for one in (caches.cluster_role_bindings, caches.role_bindings)]
        self._role_of_key: dict[str, tuple[str, str]] = {}

    def refresh(self) -> bool:
        """Take in what has changed since the last call; whether anything has."""
        is_changed = False
        for cache, keys in self._role_caches:
            while keys:
                is_changed = True
                self._take_role(cache, keys.pop())
        for cache, keys in self._binding_caches:
            while keys:
                is_changed = True
                self._take_binding(cache, keys.pop())
        return is_changed

    def role(self, role: tuple[str, str]) -> RoleRules | None:
        return self._roles.get(role)

    def bound(self, user: User, namespace: str) -> Iterator[Bound]:
        """Every binding that speaks of ``user``: those of the cluster, then those of ``namespace``."""
        for scope in ("", namespace) if namespace else ("",):
            subjects = self._scopes.get(scope)
            if not subjects:
                continue
            found = subjects.get(f"u:{user.name}")
            if found:
                yield from found.values()
            for group in user.groups:
                found = subjects.get(f"g:{group}")
                if found:
                    yield from found.values()

    def _take_role(self, cache: Cache, key: str) -> None:
        entry = cache.get(key)
        if entry is None:
            gone = self._role_of_key.pop(key, None)
            if gone is not None:
                del self._roles[gone]
            return
        found = _decode_role(entry.value)
        role = (found.metadata.namespace, found.metadata.name)
        self._role_of_key[key] = role
        self._roles[role] = RoleRules(found.rules or ())

    def _take_binding(self, cache: Cache, key: str) -> None:
        self._forget_binding(key)
        entry = cache.get(key)
        if entry is None:
            return
        binding = _decode_binding(entry.value)
        namespace = binding.metadata.namespace
        subjects = self._scopes.setdefault(namespace, {})
        names: list[str] = []
        for subject in binding.subjects or ():
            name = _subject_key(subject, namespace)
            if name and name not in names:
                names.append(name)
                subjects.setdefault(name, {})[key] = _bound(binding, subject)
        self._subjects_of[key] = (namespace, names)

    def _forget_binding(self, key: str) -> None:
        namespace, names = self._subjects_of.pop(key, ("", []))
        subjects = self._scopes.get(namespace, {})
        for name in names:
            bindings = subjects[name]
            del bindings[key]
            if not bindings:
                del subjects[name]
        if namespace and not subjects:
            self._scopes.pop(namespace, None)


def _subject_key(subject: _Subject, namespace: str) -> str:
    """ "" for a subject that is nobody."""
    if subject.kind == "User":
        return f"u:{subject.name}"
    if subject.kind == "Group":
        return f"g:{subject.name}"
    home = subject.namespace or namespace
    if subject.kind == "ServiceAccount" and home:
        return f"u:{SERVICE_ACCOUNT}{home}:{subject.name}"
    return ""


def _bound(binding: _Binding, subject: _Subject) -> Bound:
    name, namespace = binding.metadata.name, binding.metadata.namespace
    reference = binding.roleRef
    who = subject.name
    if subject.kind == "ServiceAccount":
        who = f"{subject.name}/{subject.namespace or namespace}"
    what = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
    reason = f'RBAC: allowed by {what} of {reference.kind} "{reference.name}" to {subject.kind} "{who}"'
    role_namespace = namespace if reference.kind == "Role" else ""
    return Bound(reference.kind, (role_namespace, reference.name), reason)
