"""NamespaceLifecycle: nothing new in a namespace that is missing or ending, and some namespaces never end."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import NAMESPACES
from kontinuum.api.machinery import status
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle(Base):
    """See the module."""

    below = ()

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        if attributes.verb == "delete" and attributes.resource == NAMESPACES and attributes.name in IMMORTAL:
            raise status.forbidden(NAMESPACES, attributes.name, "this namespace may not be deleted")
        # Events and leases of an ending namespace are refused as well; updates and deletes go on.
        if attributes.verb != "create" or not attributes.namespace:
            return
        namespace = await reader.find(NAMESPACES, "", attributes.namespace)
        if namespace is None:
            raise status.not_found(NAMESPACES, attributes.namespace)
        if namespace["metadata"].get("deletionTimestamp"):
            raise status.namespace_terminating(attributes.resource, attributes.name, attributes.namespace)
