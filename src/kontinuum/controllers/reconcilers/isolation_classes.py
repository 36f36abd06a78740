"""The RuntimeClasses that a user finds in every cluster: ``container``, ``sandbox``, ``microvm``.

They are created if absent and never changed afterwards: an administrator may change or replace them. Each names its
handler in containerd, sends pods to nodes that said they can run it, and accounts for what it costs beside the guest.
"""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import RUNTIMECLASSES
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.settings import ControllersSettings

NODE_LABEL = "kontinuum.dev/class."
"""Followed by the class's name: the label by which a node says that it can run the class."""


def classes(settings: ControllersSettings) -> dict[str, Object]:
    """The classes by name."""
    sandbox = {"memory": settings.sandbox_overhead_memory, "cpu": settings.sandbox_overhead_cpu}
    microvm = {"memory": settings.microvm_overhead_memory, "cpu": settings.microvm_overhead_cpu}
    found = (_class("container"), _class("sandbox", sandbox), _class("microvm", microvm))
    return {name_of(one): one for one in found}


def plan(wanted: Object, existing: Object | None) -> Object | None:
    """The class to create, or None."""
    return wanted if existing is None else None


def _class(name: str, overhead: dict[str, str] | None = None) -> Object:
    runtime_class: Object = {
        "apiVersion": RUNTIMECLASSES.api_version,
        "kind": RUNTIMECLASSES.kind,
        "metadata": {"name": name},
        "handler": name,
        "scheduling": {"nodeSelector": {f"{NODE_LABEL}{name}": "true"}},
    }
    return runtime_class | ({"overhead": {"podFixed": overhead}} if overhead else {})


class IsolationClassesReconciler(KeyReconciler):
    """The hand that carries ``plan`` out. Keys are names of our classes."""

    name = "isolation-classes"

    def __init__(self, context: Context) -> None:
        super().__init__(context, RUNTIMECLASSES, workers=1)
        self._wanted = classes(context.settings)
        self.look_again()

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for name in self._wanted:
            self._workers.queue.add(name)

    async def reconcile(self, key: str) -> Result:
        """Create one class if it is absent."""
        missing = plan(self._wanted[key], self._objects.get(key))
        if missing is not None:
            try:
                await self._client.create(RUNTIMECLASSES, missing)
            except ApiError as error:
                if not error.is_already_exists:
                    raise
        return DONE

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if change == "deleted" and name_of(obj) in self._wanted:
            super()._object_changed(change, obj, old)
