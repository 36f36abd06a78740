"""Volumes that are directories of a node: the provisioner ``kontinuum.dev/host-path``, and its StorageClass.

The hand that carries ``lib.host_path`` out; what it says to nodes is in ``api.kontinuum.host_path``.
"""

from __future__ import annotations

from kontinuum.api.kontinuum.host_path import FINALIZER, PROVISIONER, erase_key, to_erase
from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.kinds.storage import is_default
from kontinuum.api.kubernetes.resources import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from kontinuum.api.machinery.objects import Object, annotations_of, key_of, name_of, uid_of
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import host_path
from kontinuum.controllers.lib.host_path import ASKED, ON_NODE, End, Whereabouts
from kontinuum.controllers.lib.notices import Notice
from kontinuum.controllers.telling import Notices

CLAIM, VOLUME, CLASS = "claim ", "volume ", "class"
"""What keys begin with; CLASS is the key of our StorageClass."""
LATER = 30.0
"""Seconds until a node that is asked to erase something is looked at again; usually its answer is heard."""


class HostPathProvisioner(KeyReconciler):
    """See the module."""

    name = "host-path-provisioner"

    def __init__(self, context: Context) -> None:
        super().__init__(
            context, PERSISTENTVOLUMECLAIMS, writes=(PERSISTENTVOLUMES, PERSISTENTVOLUMECLAIMS, STORAGECLASSES)
        )  # fmt: skip
        self._time = context.clock.time
        self._class_name = context.settings.host_path_class
        self._volumes = context.informer(PERSISTENTVOLUMES)
        self._classes = context.informer(STORAGECLASSES)
        self._nodes = context.informer(NODES)
        self._events = context.recorder(PROVISIONER)
        self._notices = Notices(self._events)
        self._volumes.add_handler(self._volume_changed)
        self._classes.add_handler(self._class_changed)
        self._nodes.add_handler(self._node_changed)
        self._workers.queue.add(CLASS)

    def look_again(self) -> None:
        """See ``Reconciler``."""
        self._workers.queue.add(CLASS)
        for claim in self._objects.items():
            self._object_changed("added", claim, None)
        for volume in self._volumes.items():
            self._volume_changed("added", volume, None)

    async def reconcile(self, key: str) -> Result:
        """Take one step for one claim, one volume, or our class."""
        writer = Writer(self._client, self._writes, key)
        if key.startswith(CLAIM):
            await self._provision(key.removeprefix(CLAIM), writer)
            return DONE
        if key.startswith(VOLUME):
            return await self._settle(key.removeprefix(VOLUME), writer)
        await self._keep_class(writer)
        return DONE

    async def _keep_class(self, writer: Writer) -> None:
        if not self._class_name or self._classes.get(self._class_name) is not None:
            return
        others = any(is_default(one) for one in self._classes.items())
        await _once(writer, STORAGECLASSES, host_path.storage_class(self._class_name, is_default=not others))

    async def _provision(self, key: str, writer: Writer) -> None:
        claim = self._objects.get(key)
        if claim is None or not host_path.is_asked_for(claim):
            self._notices.forget(key)
            return
        selected = annotations_of(claim).get(binding.SELECTED_NODE, "")
        node = self._nodes.get(selected)
        if problem := host_path.problem(claim, node):
            self._notices.tell(key, claim, [Notice("Warning", "ProvisioningFailed", problem)])
            if selected:
                # Lets the scheduler choose another node.
                new = copy(claim)
                binding.unannotate(new, binding.SELECTED_NODE)
                await writer.update(PERSISTENTVOLUMECLAIMS, new)
            return
        assert node is not None
        owner = self._classes.get(claim["spec"].get("storageClassName") or "")
        volume = host_path.new_volume(claim, node, owner)
        if await _once(writer, PERSISTENTVOLUMES, volume):
            text = f"Successfully provisioned volume {name_of(volume)}"
            self._events.event(claim, "Normal", "ProvisioningSucceeded", text)

    async def _settle(self, name: str, writer: Writer) -> Result:
        volume = self._volumes.get(name)
        if volume is None or not host_path.is_ours(volume):
            return DONE
        claim = self._objects.get(binding.claim_key(volume))
        if size := host_path.growth(volume, claim):
            await self._grow(volume, claim, size, writer)
        if not host_path.is_ending(volume):
            return DONE
        node = await self._ask_node(annotations_of(volume).get(ON_NODE, ""))
        match host_path.end_of(volume, Whereabouts(node)):
            case End.ASK:
                await self._ask_to_erase(volume, node, writer)
            case End.WAIT:
                return Result(LATER)
            case End.LET_GO:
                await self._let_go(volume, writer)
        return DONE

    async def _grow(self, volume: Object, claim: Object | None, size: str, writer: Writer) -> None:
        """The volume; its node enlarges what is in it, and tells the claim."""
        if claim is None:
            return
        capacity = {"storage": size}
        if volume["spec"].get("capacity") != capacity:
            await writer.update(PERSISTENTVOLUMES, {**volume, "spec": {**volume["spec"], "capacity": capacity}})
        if host_path.is_pending(claim):
            return
        conditions = [*(claim["status"].get("conditions") or ()), host_path.pending(self._time())]
        status = {**claim["status"], "conditions": conditions}
        await writer.update(PERSISTENTVOLUMECLAIMS, {**claim, "status": status}, subresource="status")
        self._events.event(claim, "Normal", "FileSystemResizeRequired", host_path.RESIZE_REQUIRED)

    async def _ask_to_erase(self, volume: Object, node: Object | None, writer: Writer) -> None:
        """The node first: were the volume marked first, a crash in between would pass for an answer."""
        if node is None:
            return
        patch = {"metadata": {"uid": uid_of(node), "annotations": {erase_key(name_of(volume)): ""}}}
        await self._client.patch(NODES, name_of(node), patch)
        new = copy(volume)
        binding.annotate(new, ASKED)
        await writer.update(PERSISTENTVOLUMES, new)

    async def _let_go(self, volume: Object, writer: Writer) -> None:
        kept = [one for one in volume["metadata"].get("finalizers") or () if one != FINALIZER]
        if "deletionTimestamp" not in volume["metadata"]:
            await writer.delete(PERSISTENTVOLUMES, volume)
        elif FINALIZER in (volume["metadata"].get("finalizers") or ()):
            await writer.update(
                PERSISTENTVOLUMES, {**volume, "metadata": {**volume["metadata"], "finalizers": kept}}
            )  # fmt: skip

    async def _ask_node(self, name: str) -> Object | None:
        """What the API says: an informer that is late would pass an unanswered question for an answer."""
        try:
            return await self._client.get(NODES, name) if name else None
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if change != "deleted" and host_path.is_asked_for(obj):
            self._workers.queue.add(CLAIM + key_of(obj))
        volume = self._volumes.get(binding.volume_of(obj))
        if volume is not None and host_path.is_ours(volume):
            self._workers.queue.add(VOLUME + name_of(volume))

    def _volume_changed(self, change: str, volume: Object, old: Object | None) -> None:
        if change != "deleted" and host_path.is_ending(volume):
            self._workers.queue.add(VOLUME + name_of(volume))

    def _class_changed(self, change: str, storage_class: Object, old: Object | None) -> None:
        if change == "deleted" and name_of(storage_class) == self._class_name:
            self._workers.queue.add(CLASS)

    def _node_changed(self, change: str, node: Object, old: Object | None) -> None:
        before = set(to_erase(old)) if old is not None else set()
        done = before if change == "deleted" else before - set(to_erase(node))
        for name in done:
            self._workers.queue.add(VOLUME + name)


async def _once(writer: Writer, resource: Resource, obj: Object) -> bool:
    """Create it unless it is there; False if it was."""
    try:
        await writer.create(resource, obj)
    except ApiError as error:
        if error.is_already_exists:
            return False
        raise
    return True
