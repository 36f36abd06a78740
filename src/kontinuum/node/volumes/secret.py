"""``secret``: the entries of a Secret as files."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.node.environment import decoded
from kontinuum.node.volumes.context import Context, Files, chosen


async def files(source: Object, context: Context, *, default_mode: int = 0o644) -> Files:
    # A volume calls it secretName, a projection (as a reference to an object) name.
    name = source.get("secretName") or source.get("name") or ""
    obj = await context.sources.get("secret", context.namespace, name, optional=bool(source.get("optional")))
    return chosen(decoded(obj, "secret"), source, what="secret", default_mode=default_mode)
