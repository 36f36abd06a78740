"""``downwardAPI``: the pod's own fields as files."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.node.fields import field_value, resource_value
from kontinuum.node.volumes.context import Context, File, Files


async def files(source: Object, context: Context, *, default_mode: int = 0o644) -> Files:
    mode = source.get("defaultMode", default_mode)
    found: Files = {}
    for item in source.get("items") or ():
        if item.get("fieldRef"):
            value = field_value(context.pod, item["fieldRef"]["fieldPath"], context.around)
        else:
            value = resource_value(context.pod, item["resourceFieldRef"], "", context.around)
        found[item["path"]] = File(value.encode(), item.get("mode", mode))
    return found
