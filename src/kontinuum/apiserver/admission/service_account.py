"""ServiceAccount: a pod that names no account runs as ``default``.

Only the name is set: accounts' tokens are not mounted until the API issues them.
"""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader

MIRROR = "kubernetes.io/config.mirror"


class ServiceAccount(Base):
    """See the module."""

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        pod = attributes.obj
        if attributes.resource != PODS or attributes.verb != "create" or attributes.subresource or pod is None:
            return
        if MIRROR in (pod["metadata"].get("annotations") or {}):
            return
        spec = pod.setdefault("spec", {})
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        # The older name is kept equal, as Kubernetes' conversion does.
        spec["serviceAccountName"] = spec["serviceAccount"] = name
