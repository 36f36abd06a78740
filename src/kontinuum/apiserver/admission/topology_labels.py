"""PodTopologyLabels: a pod is labelled with the zone and region of its node, so that it can be told them (KEP-4742).

The labels are put on the Binding, which hands its labels on; a pod that is created on a node gets them itself. What
somebody has labelled otherwise stays.
"""

from __future__ import annotations

from kontinuum.api.kubernetes import topology
from kontinuum.api.kubernetes.resources import NODES, PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader


class PodTopologyLabels(Base):
    """See the module."""

    concerns = frozenset({PODS})
    below = ("binding",)

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        if attributes.resource != PODS or attributes.operation != "CREATE" or attributes.obj is None:
            return
        name = _node_of(attributes.obj, attributes.subresource)
        known = await reader.labels(NODES, "", name) if name else None
        if known:
            metadata = attributes.obj.setdefault("metadata", {})
            own = metadata.get("labels") or {}
            if labels := topology.labels_on(known, own):
                metadata["labels"] = labels


def _node_of(obj: Object, subresource: str) -> str:
    """The name of the node that a new pod or a Binding names; "" for none."""
    if subresource == "binding":
        target = obj.get("target") or {}
        return target.get("name") or "" if target.get("kind") in (None, "", "Node") else ""
    return (obj.get("spec") or {}).get("nodeName") or "" if not subresource else ""
