"""PersistentVolumes and their claims: the hand that carries ``lib.binding`` out.

Whoever writes a volume's ``claimRef`` first has it: every write names the version that was read, so that two claims
(or two of us) that want one volume cannot both have it.
"""

from __future__ import annotations

from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.claims import class_of
from kontinuum.api.kubernetes.kinds.storage import is_default
from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from kontinuum.api.machinery.objects import Object, key_of, name_of, namespace_of, split_key
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_CLAIM, BY_VOLUME, UNBOUND, Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib.binding import Decision, Surroundings, decide_claim, decide_volume, is_gone_claim
from kontinuum.controllers.lib.claims import claims_of
from kontinuum.controllers.lib.pods import is_finished, node_of
from kontinuum.controllers.telling import Notices

CLAIM, VOLUME = "claim ", "volume "
"""What a key begins with: both kinds stand in one queue, because a binding concerns both."""


class PersistentVolumeReconciler(KeyReconciler):
    """See the module."""

    name = "persistentvolume-binder"

    def __init__(self, context: Context) -> None:
        # One at a time: the same smallest volume is the best for many claims.
        super().__init__(
            context, PERSISTENTVOLUMECLAIMS, writes=(PERSISTENTVOLUMES, PERSISTENTVOLUMECLAIMS), workers=1
        )  # fmt: skip
        self._volumes = context.informer(PERSISTENTVOLUMES)
        self._classes = context.informer(STORAGECLASSES)
        self._pods = context.informer(PODS)
        self._notices = Notices(context.recorder("persistentvolume-controller"))
        self._given: dict[str, str] = {}
        """Names of volumes that we have bound, until our informer shows it: other claims need not try them."""
        self._volumes.add_handler(self._volume_changed)
        self._classes.add_handler(self._class_changed)
        self._pods.add_handler(self._pod_changed)

    def look_again(self) -> None:
        """See ``Reconciler``."""
        for key in self._objects.all_keys():
            self._workers.queue.add(CLAIM + key)
        for key in self._volumes.all_keys():
            self._workers.queue.add(VOLUME + key)

    async def reconcile(self, key: str) -> Result:
        """Take one step of one claim or volume."""
        if key.startswith(CLAIM):
            await self._reconcile_claim(key, key.removeprefix(CLAIM))
        else:
            await self._reconcile_volume(key, key.removeprefix(VOLUME))
        return DONE

    async def _reconcile_claim(self, key: str, name: str) -> None:
        claim = self._objects.get(name)
        if claim is None:
            self._notices.forget(key)
            return
        around = await self._surroundings(claim)
        todo = decide_claim(claim, around)
        volume = None
        if todo.volume is not None:
            named = name_of(todo.volume)
            volume = next(one for one in (around.volume, *around.candidates) if one and name_of(one) == named)
        await self._carry_out(key, todo, volume, claim)

    async def _reconcile_volume(self, key: str, name: str) -> None:
        volume = self._volumes.get(name)
        if volume is None:
            self._notices.forget(key)
            return
        named = binding.claim_key(volume)
        claim = self._objects.get(named) if named else None
        if is_gone_claim(volume, claim):
            # Its data may depend on it, and our informer may be late.
            claim = await self._ask(PERSISTENTVOLUMECLAIMS, named)
        todo = decide_volume(volume, claim)
        await self._carry_out(key, todo, volume, claim)
        if claim is not None and not binding.volume_of(claim):
            self._workers.queue.add(CLAIM + named)

    async def _surroundings(self, claim: Object) -> Surroundings:
        if named := binding.volume_of(claim):
            volume = self._volumes.get(named) or await self._ask(PERSISTENTVOLUMES, named)
            return Surroundings(volume=volume)
        name = class_of(claim)
        key = key_of(claim)
        free = [one for one in self._volumes.by_index(UNBOUND, name) if not self._is_given(one)]
        using = self._pods.by_index(BY_CLAIM, key)
        return Surroundings(
            candidates=[*self._volumes.by_index(BY_CLAIM, key), *free],
            storage_class=self._classes.get(name) if name else None,
            default_class=None if binding.has_class(claim) else self._default_class(),
            waiting_pods=[name_of(pod) for pod in using if not node_of(pod) and not is_finished(pod)],
        )

    def _default_class(self) -> Object | None:
        """Of several the newest, of equally old ones the first by name, as admission has it."""
        marked = sorted((one for one in self._classes.items() if is_default(one)), key=name_of)
        return max(marked, key=lambda one: str(one["metadata"].get("creationTimestamp")), default=None)

    async def _carry_out(self, key: str, todo: Decision, volume: Object | None, claim: Object | None) -> None:
        """The volume first: it is what two could want."""
        writer = Writer(self._client, self._writes, key)
        if todo.volume is not None and volume is not None:
            written = await _write(writer, PERSISTENTVOLUMES, volume, todo.volume)
            self._given[name_of(written)] = written["metadata"]["resourceVersion"]
        if todo.claim is not None and claim is not None:
            claim = await _write(writer, PERSISTENTVOLUMECLAIMS, claim, todo.claim)
        for obj, notices, prefix in ((volume, todo.about_volume, VOLUME), (claim, todo.about_claim, CLAIM)):
            if obj is not None and (notices or key.startswith(prefix)):
                self._notices.tell(f"{prefix}{key_of(obj)}", obj, notices)

    def _is_given(self, volume: Object) -> bool:
        version = self._given.get(name_of(volume))
        if version is None:
            return False
        if self._volumes.has_seen(version):
            del self._given[name_of(volume)]
            return False
        return True

    async def _ask(self, resource: Resource, key: str) -> Object | None:
        """What the API itself says is there."""
        namespace, name = split_key(key)
        try:
            return await self._client.get(resource, name, namespace=namespace)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        key = key_of(obj)
        self._workers.queue.add(CLAIM + key)
        if old is None or change == "deleted" or old["spec"] != obj["spec"]:
            named = {binding.volume_of(one) for one in (obj, old) if one is not None} - {""}
            for name in named | {name_of(one) for one in self._volumes.by_index(BY_CLAIM, key)}:
                self._workers.queue.add(VOLUME + name)

    def _volume_changed(self, change: str, volume: Object, old: Object | None) -> None:
        self._workers.queue.add(VOLUME + name_of(volume))
        if change == "deleted":
            self._given.pop(name_of(volume), None)
        for version in (volume, old):
            if version is not None and (key := binding.claim_key(version)):
                self._workers.queue.add(CLAIM + key)
        self._wake(self._objects.by_index(BY_VOLUME, name_of(volume)))
        if change != "deleted" and volume["spec"].get("claimRef") is None:
            self._wake(self._objects.by_index(UNBOUND, binding.class_of_volume(volume)))

    def _class_changed(self, change: str, storage_class: Object, old: Object | None) -> None:
        self._wake(self._objects.by_index(UNBOUND, name_of(storage_class)))
        if is_default(storage_class):
            self._wake(self._objects.by_index(UNBOUND, ""))

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        """A claim that waits for its first consumer says which one it waits for."""
        if change == "updated" and old is not None and node_of(old) == node_of(pod):
            return
        for name in claims_of(pod):
            key = f"{namespace_of(pod)}/{name}"
            claim = self._objects.get(key)
            if claim is not None and not binding.volume_of(claim):
                self._workers.queue.add(CLAIM + key)

    def _wake(self, claims: list[Object]) -> None:
        for claim in claims:
            self._workers.queue.add(CLAIM + key_of(claim))


async def _write(writer: Writer, resource: Resource, before: Object, after: Object) -> Object:
    """Make ``before`` into ``after``, its status by a second write, for what differs; the object as it is then."""
    wanted = after.get("status") or {}
    answer = before
    if {**after, "status": None} != {**before, "status": None}:
        answer = await writer.update(resource, after)
    if wanted != (before.get("status") or {}):
        answer = await writer.update(resource, {**answer, "status": wanted}, subresource="status")
    return answer
