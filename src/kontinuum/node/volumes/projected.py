"""``projected``: several sources in one directory; a later source wins where paths meet."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.node.volumes import config_map, downward_api, secret, service_account_token
from kontinuum.node.volumes.context import Context, Files, UnsupportedVolume

SOURCES = {
    "configMap": config_map.files,
    "secret": secret.files,
    "downwardAPI": downward_api.files,
    "serviceAccountToken": service_account_token.files,
}


async def files(source: Object, context: Context) -> Files:
    mode = source.get("defaultMode", 0o644)
    found: Files = {}
    for projection in source.get("sources") or ():
        for kind, value in projection.items():
            if kind not in SOURCES:
                raise UnsupportedVolume(f"a projected volume cannot hold {kind} here yet")
            found |= await SOURCES[kind](value, context, default_mode=mode)
    return found
