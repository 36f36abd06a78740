"""The objects that are there from the beginning. Everything else that a cluster needs its controllers create.

Roles and bindings have rules of their own (``authz.reconciliation``), and so have flow schemas (``flowcontrol``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from kontinuum.api.kubernetes.kinds.scheduling import system_classes
from kontinuum.api.kubernetes.resources import NAMESPACES, PRIORITYCLASSES
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import writing
from kontinuum.apiserver.context import Context
from kontinuum.store.port import AlreadyExists

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def create_system_objects(context: Context) -> None:
    """Create those that are missing. Safe to repeat, also by several servers at once. Raises StoreFull ..."""
    await create_missing(context, NAMESPACES, [{"metadata": {"name": name}} for name in SYSTEM_NAMESPACES])
    await create_missing(context, PRIORITYCLASSES, system_classes())


async def create_missing(context: Context, resource: Resource, wanted: Iterable[Object]) -> None:
    """Create those of ``wanted`` (as they would be posted) that are not there, whatever may forbid it to others."""
    # All at once, so that the store makes them durable together.
    await asyncio.gather(*(_create(context, resource, obj) for obj in wanted))


async def _create(context: Context, resource: Resource, wanted: Object) -> None:
    served = context.served[resource]
    metadata = wanted["metadata"]
    key = served.layout.key(metadata.get("namespace", ""), metadata["name"])
    if served.cache.get(key) is not None:
        return
    obj: Object = {"kind": resource.kind, "apiVersion": resource.api_version, **copy(wanted)}
    writing.begin(obj["metadata"], now=context.clock.time())
    served.kind.default(obj)
    served.kind.prepare_create(obj)
    try:
        await context.store.create(key, served.layout.encode(obj))
    except AlreadyExists:
        return
