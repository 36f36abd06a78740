"""TaintNodesByCondition: nothing is sent to a node that has not said that it is ready (KEP-382).

Whoever watches over nodes takes the taint away once it is.
"""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import NODES
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader

NOT_READY = "node.kubernetes.io/not-ready"


class TaintNodesByCondition(Base):
    """See the module."""

    concerns = frozenset({NODES})

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        node = attributes.obj
        if node is None or attributes.resource != NODES or attributes.operation != "CREATE" or attributes.subresource:
            return
        spec = node.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(one.get("key") == NOT_READY and one.get("effect") == "NoSchedule" for one in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]
