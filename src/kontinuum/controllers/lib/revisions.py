"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had (kubernetes ``pkg/controller/history``).

A revision is the part of the owner that ``kubectl rollout undo`` puts back, as a strategic merge patch. Two owners'
states with equal patches are the same revision; going back to an old template gives the old revision a new number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from kontinuum.api.kubernetes.resources import CONTROLLERREVISIONS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.controllers.lib import owners
from kontinuum.controllers.lib.names import template_hash, without_nulls

HASH_LABEL = "controller-revision-hash"
LONGEST_PREFIX = 223
"""What a name may hold beside the hash."""


@dataclass(frozen=True, slots=True)
class History:
    """``revisions`` are the owner's, oldest first; ``update`` is the one of its present template."""

    revisions: list[Object]
    update: Object
    is_new: bool
    """``update`` has still to be created."""
    renumbered: int = 0
    """The number that ``update`` has to get, because its template has come back; 0: it keeps its own."""


def data_of(template: Object) -> Object:
    """The patch that puts ``template`` back, its keys sorted: kubectl compares its text with what it would write."""
    data: Object = orjson.loads(_sorted({"spec": {"template": {**without_nulls(template), "$patch": "replace"}}}))
    return data


def history(owner: Object, resource: Resource, found: Iterable[Object]) -> History:
    """What ``found``, the revisions that the owner has, says of its present template."""
    revisions = sorted(found, key=lambda one: (one.get("revision", 0), name_of(one)))
    data = data_of(owner["spec"]["template"])
    same = [one for one in revisions if _is_same(one.get("data"), data)]
    highest = revisions[-1].get("revision", 0) if revisions else 0
    if not same:
        return History(revisions, _new_revision(owner, resource, data, highest + 1), is_new=True)
    update = same[-1]
    if update.get("revision", 0) == highest:
        return History(revisions, update, is_new=False)
    return History(revisions, update, is_new=False, renumbered=highest + 1)


def twins(history: History) -> list[Object]:
    """The older revisions that say what ``update`` says: two controllers named one template differently."""
    data = history.update.get("data")
    return [
        one for one in history.revisions if name_of(one) != name_of(history.update) and _is_same(one.get("data"), data)
    ]


def surplus(revisions: Sequence[Object], used: Iterable[str], limit: int) -> list[Object]:
    """The oldest revisions that nobody uses (by name), beyond ``limit``."""
    names = set(used)
    idle = [one for one in revisions if name_of(one) not in names]
    return idle[: max(0, len(idle) - limit)]


def _is_same(one: object, other: object) -> bool:
    return _sorted(one) == _sorted(other)


def _sorted(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _new_revision(owner: Object, resource: Resource, data: Object, number: int) -> Object:
    digest = template_hash(data, (owner.get("status") or {}).get("collisionCount") or 0)
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": CONTROLLERREVISIONS.api_version,
        "kind": CONTROLLERREVISIONS.kind,
        "metadata": {
            "name": f"{name_of(owner)[:LONGEST_PREFIX]}-{digest}",
            "namespace": namespace_of(owner),
            "labels": {**labels, HASH_LABEL: digest},
            "annotations": owner["metadata"].get("annotations") or {},
            "ownerReferences": [owners.controller_reference(owner, resource)],
        },
        "data": data,
        "revision": number,
    }
