"""StorageObjectInUseProtection: what holds data goes only when nobody uses it any more (KEP-1790).

The plug-in puts a finalizer on it; a controller takes that off (``controllers/reconcilers/storage_protection.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kontinuum.api.kubernetes.protection import FINALIZERS
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader


class StorageObjectInUseProtection(Base):
    """See the module."""

    def __init__(self, finalizers: Mapping[Resource, str] = FINALIZERS) -> None:
        self._finalizers = finalizers

    @property
    def concerns(self) -> Collection[Resource]:
        return self._finalizers.keys()

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        finalizer = self._finalizers.get(attributes.resource)
        if finalizer is None or attributes.operation != "CREATE" or attributes.subresource or attributes.obj is None:
            return
        metadata = attributes.obj["metadata"]
        held = metadata.get("finalizers") or []
        if finalizer not in held:
            metadata["finalizers"] = [*held, finalizer]
