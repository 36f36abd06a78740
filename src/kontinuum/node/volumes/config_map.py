"""``configMap``: the entries of a ConfigMap as files."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.node.environment import decoded
from kontinuum.node.volumes.context import Context, Files, chosen


async def files(source: Object, context: Context, *, default_mode: int = 0o644) -> Files:
    optional = bool(source.get("optional"))
    obj = await context.sources.get("configmap", context.namespace, source["name"], optional=optional)
    return chosen(decoded(obj, "configmap"), source, what="config", default_mode=default_mode)
