"""PersistentVolumes say since when they are in their phase (KEP-3762): Kubernetes' strategy writes it by its clock."""

from __future__ import annotations

from kontinuum.api.kubernetes.kinds.claims import stamp_phase
from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMES
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.foundation.clock import Clock, rfc3339


class VolumePhases(Base):
    """See the module."""

    concerns = frozenset({PERSISTENTVOLUMES})
    below = ("status",)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        volume = attributes.obj
        if attributes.resource != PERSISTENTVOLUMES or volume is None:
            return
        is_new = attributes.operation == "CREATE" and not attributes.subresource
        if is_new or attributes.subresource == "status":
            stamp_phase(volume, None if is_new else attributes.old, rfc3339(self._clock.time()))
