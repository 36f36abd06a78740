"""Do some rules allow everything that others do? And rules as Kubernetes writes them into a message. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authz.rules import ALL


class _Atom(NamedTuple):
    """The smallest right: one verb on one path, or on one resource (by one name; "" for all of them)."""

    verb: str
    group: str = ""
    resource: str = ""
    name: str = ""
    path: str = ""


def missing(held: Sequence[Object], wanted: Iterable[Object]) -> list[Object]:
    """What of ``wanted`` is not allowed by any single rule of ``held``; no rules if everything is.

    Kubernetes' ``validation.Covers``: broken down to single rights, which are then held against each rule.
    """
    atoms = dict.fromkeys(atom for rule in wanted for atom in _atoms(rule))
    return _compact([atom for atom in atoms if not any(_covers(rule, atom) for rule in held)])


def describe(rule: Object) -> str:
    """``{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}``."""
    parts = [
        f"{title}:[{' '.join(json.dumps(one, ensure_ascii=False) for one in rule[field])}]"
        for title, field in _TITLES
        if rule.get(field)
    ]
    return f"{{{', '.join(parts)}}}"


_TITLES = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)


def _atoms(rule: Object) -> Iterator[_Atom]:
    verbs = rule.get("verbs") or ()
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                for name in rule.get("resourceNames") or ("",):
                    yield _Atom(verb, group, resource, name)
    for path in rule.get("nonResourceURLs") or ():
        for verb in verbs:
            yield _Atom(verb, path=path)


def _covers(rule: Object, atom: _Atom) -> bool:
    if not _has(rule.get("verbs"), atom.verb):
        return False
    if atom.path:
        return any(_covers_path(owner, atom.path) for owner in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), atom.group) or not _covers_resource(rule.get("resources") or (), atom.resource):
        return False
    names = rule.get("resourceNames")
    return not names or (bool(atom.name) and atom.name in names)


def _has(values: Sequence[str] | None, value: str) -> bool:
    return values is not None and (ALL in values or value in values)


def _covers_resource(owned: Sequence[str], resource: str) -> bool:
    if ALL in owned or resource in owned:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in owned


def _covers_path(owner: str, path: str) -> bool:
    return owner == path or (owner.endswith("*") and path.startswith(owner.rstrip("*")))


def _compact(atoms: Iterable[_Atom]) -> list[Object]:
    """One rule for all verbs on the same resource, in the order in which the resources came up."""
    rules: dict[tuple[str, ...], Object] = {}
    for atom in atoms:
        if atom.path:
            key: tuple[str, ...] = (atom.path, atom.verb)
            rule = rules.setdefault(key, {"nonResourceURLs": [atom.path], "verbs": []})
        else:
            key = (atom.group, atom.resource, atom.name)
            rule = rules.setdefault(key, {"apiGroups": [atom.group], "resources": [atom.resource], "verbs": []})
            if atom.name:
                rule["resourceNames"] = [atom.name]
        rule["verbs"].append(atom.verb)
    return list(rules.values())
