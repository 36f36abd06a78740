"""At start the default roles and bindings are created where they are missing, and completed where they are not whole.

As Kubernetes does it (its ``rbac/rest`` post-start hook): what an administrator has added stays, what has been taken
away comes back, unless the object's annotation ``rbac.authorization.kubernetes.io/autoupdate`` is "false".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache

import orjson
import structlog

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import writing
from kontinuum.apiserver.authz.coverage import missing
from kontinuum.apiserver.authz.defaults import objects
from kontinuum.apiserver.context import Context, Served
from kontinuum.store.port import AlreadyExists, Missing, StaleRevision

log = structlog.get_logger(__name__)


async def reconcile_defaults(context: Context) -> None:
    """Safe to repeat, also by several servers at once. Raises StoreFull, StoreUnavailable."""
    # All at once, so that the store makes them durable together rather than one by one.
    await asyncio.gather(*(_reconcile(context, resource, obj) for resource, obj in _defaults()))


@cache
def _defaults() -> Sequence[tuple[Resource, Object]]:
    """Every default object, read from its table once; whoever changes one changes a copy."""
    found = (
        (r.CLUSTERROLES, objects.cluster_roles()),
        (r.CLUSTERROLEBINDINGS, objects.cluster_role_bindings()),
        (r.ROLES, objects.roles()),
        (r.ROLEBINDINGS, objects.role_bindings()),
    )
    return tuple((resource, obj) for resource, objs in found for obj in objs)


async def _reconcile(context: Context, resource: Resource, wanted: Object) -> None:
    served = context.served[resource]
    metadata = wanted["metadata"]
    key = served.layout.key(metadata.get("namespace", ""), metadata["name"])
    entry = served.cache.get(key)
    try:
        if entry is None:
            await _create(context, served, key, wanted)
            return
        old: Object = orjson.loads(entry.value)
        new = completed(old, wanted)
        if new is None:
            return
        log.info("completing a default role or binding", kind=resource.kind, name=metadata["name"])
        if new.get("roleRef") == old.get("roleRef"):
            await context.store.update(key, served.layout.encode(new), expected=entry.revision)
        else:
            # The role of a binding can never be changed, so it is another binding.
            await context.store.delete(key, expected=entry.revision)
            await _create(context, served, key, wanted)
    except (AlreadyExists, StaleRevision, Missing):
        log.info("somebody else has changed it just now", kind=resource.kind, name=metadata["name"])


async def _create(context: Context, served: Served, key: str, wanted: Object) -> None:
    obj = {"kind": served.resource.kind, "apiVersion": served.resource.api_version, **copy(wanted)}
    writing.begin(obj["metadata"], now=context.clock.time())
    served.kind.default(obj)
    served.kind.prepare_create(obj)
    await context.store.create(key, served.layout.encode(obj))


def completed(old: Object, wanted: Object) -> Object | None:
    """``old`` with everything that ``wanted`` has and it lacks; None if it lacks nothing or is not to be touched."""
    metadata = old["metadata"]
    if (metadata.get("annotations") or {}).get(objects.AUTO_UPDATE) == "false":
        return None
    new = {**old, "metadata": {**metadata}}
    for field in ("labels", "annotations"):
        new["metadata"][field] = {**wanted["metadata"][field], **(metadata.get(field) or {})}
    if "roleRef" in wanted:
        new["roleRef"] = wanted["roleRef"]
        new["subjects"] = _joined(old.get("subjects"), wanted.get("subjects"))
    elif "aggregationRule" in wanted:
        selectors = (old.get("aggregationRule") or {}).get("clusterRoleSelectors")
        wanted_selectors = wanted["aggregationRule"]["clusterRoleSelectors"]
        new["aggregationRule"] = {"clusterRoleSelectors": _joined(selectors, wanted_selectors)}
    else:
        rules = old.get("rules") or []
        new["rules"] = [*rules, *missing(rules, wanted["rules"])]
    return None if _same(new, old) else new


def _joined(old: list[Object] | None, wanted: list[Object] | None) -> list[Object]:
    found = list(old or ())
    return found + [one for one in wanted or () if one not in found]


def _same(new: Object, old: Object) -> bool:
    return all(new.get(field) == (old.get(field) or type(value)()) for field, value in new.items())
