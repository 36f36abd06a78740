"""The namespaces that are there from the beginning. Everything else that a cluster needs its controllers create."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import NAMESPACES
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import writing
from kontinuum.apiserver.context import Context
from kontinuum.store.port import AlreadyExists

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def create_system_namespaces(context: Context) -> None:
    """Create those that are missing. Safe to repeat, also by several servers at once. Raises StoreFull ..."""
    served = context.served[NAMESPACES]
    for name in SYSTEM_NAMESPACES:
        key = served.layout.key("", name)
        if served.cache.get(key) is not None:
            continue
        obj: Object = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
        writing.begin(obj["metadata"], now=context.clock.time())
        served.kind.default(obj)
        served.kind.prepare_create(obj)
        try:
            await context.store.create(key, served.layout.encode(obj))
        except AlreadyExists:
            continue
