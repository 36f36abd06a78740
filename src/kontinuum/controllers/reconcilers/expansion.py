"""Claims that grow: says who is waited for. The volume's driver grows it, and writes conditions and capacities."""

from __future__ import annotations

from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from kontinuum.api.machinery.objects import Object, key_of
from kontinuum.client.reconcile import DONE, Result
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib.expansion import notices, wants_to_grow
from kontinuum.controllers.telling import Notices


class ExpansionReconciler(KeyReconciler):
    """Keys are claims."""

    name = "persistentvolume-expander"

    def __init__(self, context: Context) -> None:
        super().__init__(context, PERSISTENTVOLUMECLAIMS)
        self._volumes = context.informer(PERSISTENTVOLUMES)
        self._notices = Notices(context.recorder("volume_expand"))

    async def reconcile(self, key: str) -> Result:
        """Tell what there is to tell of one claim."""
        claim = self._objects.get(key)
        if claim is None:
            self._notices.forget(key)
        else:
            self._notices.tell(key, claim, notices(claim, self._volumes.get(binding.volume_of(claim))))
        return DONE

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if change == "deleted" or wants_to_grow(obj) or (old is not None and wants_to_grow(old)):
            self._workers.queue.add(key_of(obj))
