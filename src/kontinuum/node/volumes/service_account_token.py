"""``serviceAccountToken`` of a projected volume: one file with a token of the pod's service account."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.node.tokens import DEFAULT_SECONDS
from kontinuum.node.volumes.context import Context, File, Files

ONLY_OWNER = 0o600


async def files(source: Object, context: Context, *, default_mode: int = 0o644) -> Files:
    """The file belongs to the pod's user if all containers have the same one, and only that user may read it then."""
    seconds = int(source.get("expirationSeconds") or DEFAULT_SECONDS)
    token = await context.tokens.token(context.pod, source.get("audience") or "", seconds)
    owner = common_user(context.pod["spec"])
    group = (context.pod["spec"].get("securityContext") or {}).get("fsGroup")
    mode = default_mode if owner is None and group is None else ONLY_OWNER
    return {source["path"]: File(token.encode(), mode, owner)}


def common_user(spec: Object) -> int | None:
    """The user id that all containers of the pod run as; None if they differ, or leave it to their images."""
    common: int | None = (spec.get("securityContext") or {}).get("runAsUser")
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    users = {(one.get("securityContext") or {}).get("runAsUser", common) for one in containers}
    return users.pop() if len(users) == 1 else None
