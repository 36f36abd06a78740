"""DefaultTolerationSeconds: a pod outlasts five minutes of its node's silence unless it says otherwise.

Without it a pod would be evicted as soon as its node is tainted, for instance while the node's agent restarts slowly.
What an update leaves out is added again: whoever replaces a pod's tolerations need not know of these two, and may not
take them away.
"""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader

KEYS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
EFFECT = "NoExecute"
SECONDS = 300


class DefaultTolerations(Base):
    """See the module."""

    concerns = frozenset({PODS})
    below = ()

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        pod = attributes.obj
        if attributes.operation in ("CREATE", "UPDATE") and pod:
            add_tolerations(pod.setdefault("spec", {}))


def add_tolerations(spec: Object) -> None:
    """Complete the pod's ``spec`` in place, for each key that none of its tolerations speaks of."""
    tolerations = spec.get("tolerations") or []
    missing = [key for key in KEYS if not any(_covers(one, key) for one in tolerations)]
    if missing:
        added = [{"key": key, "operator": "Exists", "effect": EFFECT, "tolerationSeconds": SECONDS} for key in missing]
        spec["tolerations"] = [*tolerations, *added]


def _covers(toleration: Object, key: str) -> bool:
    """An absent key or effect stands for every one."""
    return toleration.get("key") in (None, "", key) and toleration.get("effect") in (None, "", EFFECT)
