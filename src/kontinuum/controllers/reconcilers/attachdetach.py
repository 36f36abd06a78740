"""Volumes are attached to the nodes whose pods use them: the hand that carries ``lib.attachment`` out.

Before an attachment ends, the node is told that the volume is no longer its own (``status.volumesAttached``), and asked
once more whether it uses it: its agent mounts nothing that is not in that list, and says so before it mounts.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import structlog

from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.resources import (
    CSIDRIVERS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    VOLUMEATTACHMENTS,
)
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object, annotations_of, key_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_CLAIM, BY_NODE, BY_VOLUME, Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import attachment as attaching
from kontinuum.controllers.lib.attachment import Detachment, Plan, Situation
from kontinuum.controllers.lib.claims import claims_of
from kontinuum.controllers.lib.notices import Notice
from kontinuum.controllers.lib.pods import is_finished, is_leaving, node_of
from kontinuum.controllers.telling import Notices

log = structlog.get_logger(__name__)

NODE = "node "
"""What the key of a node's report begins with; other keys are names of volumes."""


class AttachDetachReconciler(KeyReconciler):
    """See the module."""

    name = "persistentvolume-attach-detach"

    def __init__(self, context: Context) -> None:
        super().__init__(context, PERSISTENTVOLUMES, writes=(VOLUMEATTACHMENTS, NODES))
        self._clock = context.clock
        self._force_after = context.settings.force_detach_seconds
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        self._pods = context.informer(PODS)
        self._nodes = context.informer(NODES)
        self._drivers = context.informer(CSIDRIVERS)
        self._attachments = context.informer(VOLUMEATTACHMENTS)
        self._notices = Notices(context.recorder("attachdetach-controller"))
        self._ending: set[str] = set()
        """Names of attachments that we are ending: no node is told any more that it has them."""
        self._idle: dict[tuple[str, str], float] = {}
        """Since when (monotonic seconds) a node has had a volume that nobody there wants."""
        self._reports: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._claims.add_handler(self._claim_changed)
        self._pods.add_handler(self._pod_changed)
        self._nodes.add_handler(self._node_changed)
        self._drivers.add_handler(self._driver_changed)
        self._attachments.add_handler(self._attachment_changed)

    async def reconcile(self, key: str) -> Result:
        """Take one step for one volume, or bring one node's report up to date."""
        if key.startswith(NODE):
            await self._report(key.removeprefix(NODE), Writer(self._client, self._writes, key))
            return DONE
        volume = self._objects.get(key)
        if volume is None or "csi" not in volume["spec"]:
            return DONE
        situation = self._situation(volume)
        todo = attaching.plan(situation, force_after=self._force_after)
        self._remember_idle(key, todo)
        writer = Writer(self._client, self._writes, key)
        for one in todo.detach:
            await self._detach(volume, one, writer)
        for node in todo.attach:
            await self._attach(volume, node, writer)
        self._keep_wanted(situation)
        self._tell(situation, todo)
        return Result(todo.look_after)

    def _situation(self, volume: Object) -> Situation:
        wanted: dict[str, list[Object]] = defaultdict(list)
        if attaching.must_attach(volume, self._drivers.get(volume["spec"]["csi"]["driver"])):
            for pod in self._users(volume):
                wanted[node_of(pod)].append(pod)
        # Others may keep attachments of their own, under other names.
        attachments = [
            one
            for one in self._attachments.by_index(BY_VOLUME, name_of(volume))
            if name_of(one) == attaching.attachment_name(volume, one["spec"]["nodeName"])
        ]
        names = wanted.keys() | {one["spec"]["nodeName"] for one in attachments}
        now = self._clock.monotonic()
        return Situation(
            volume,
            wanted,
            attachments,
            nodes={name: node for name in sorted(names) if (node := self._nodes.get(name)) is not None},
            idle={name: now - self._idle.get((name_of(volume), name), now) for name in names},
        )

    def _users(self, volume: Object) -> list[Object]:
        """The pods on nodes whose bound claim the volume is."""
        key = binding.claim_key(volume)
        claim = self._claims.get(key) if key else None
        if claim is None or uid_of(claim) != volume["spec"]["claimRef"].get("uid") or not binding.is_bound(claim):
            return []
        pods = [pod for pod in self._pods.by_index(BY_CLAIM, key) if node_of(pod)]
        return [pod for pod in pods if not attaching.has_ended(pod, self._nodes.get(node_of(pod)))]

    def _remember_idle(self, volume: str, todo: Plan) -> None:
        now = self._clock.monotonic()
        known = {node: since for (name, node), since in self._idle.items() if name == volume}
        for node in known.keys() - todo.unwanted:
            del self._idle[(volume, node)]
        for node in todo.unwanted:
            self._idle.setdefault((volume, node), now)

    def _keep_wanted(self, situation: Situation) -> None:
        """What we were about to end, and could not, may be wanted again."""
        for one in situation.attachments:
            node = one["spec"]["nodeName"]
            if node in situation.wanted and not is_leaving(one) and name_of(one) in self._ending:
                self._ending.discard(name_of(one))
                self._workers.queue.add(NODE + node)

    async def _attach(self, volume: Object, node: str, writer: Writer) -> None:
        try:
            await writer.create(VOLUMEATTACHMENTS, attaching.new_attachment(volume, node))
        except ApiError as error:
            if not error.is_already_exists:
                raise

    async def _detach(self, volume: Object, todo: Detachment, writer: Writer) -> None:
        node, name = todo.attachment["spec"]["nodeName"], name_of(todo.attachment)
        self._ending.add(name)
        fresh = await self._report(node, writer)
        if fresh is not None and attaching.is_mounted(volume, fresh) and not todo.is_forced:
            # It was mounted after all, in the last moment.
            self._ending.discard(name)
            self._workers.queue.add(NODE + node)
            return
        if todo.is_forced:
            log.warning("a volume is detached by force", volume=name_of(volume), node=node)
        await writer.delete(VOLUMEATTACHMENTS, todo.attachment)

    async def _report(self, name: str, writer: Writer) -> Object | None:
        """Tell a node what is attached to it; the node as it is now, None if it is gone."""
        async with self._reports[name]:
            node = await self._ask_node(name)
            if node is None or not attaching.is_managed(node):
                return node
            attachments = self._attachments.by_index(BY_NODE, name)
            volumes = {
                volume: found
                for volume in {attaching.volume_of(one) for one in attachments}
                if (found := self._objects.get(volume)) is not None and "csi" in found["spec"]
            }
            wanted = attaching.reported(attachments, volumes, self._ending)
            if wanted == ((node.get("status") or {}).get("volumesAttached") or []):
                return node
            patch = {"metadata": {"uid": uid_of(node)}, "status": {"volumesAttached": wanted or None}}
            return await writer.patch(NODES, node, patch, subresource="status")

    async def _ask_node(self, name: str) -> Object | None:
        """What the API says now: our informer may be late, and a mount cannot be taken back."""
        try:
            return await self._client.get(NODES, name)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    def _tell(self, situation: Situation, todo: Plan) -> None:
        """Each pod that uses the volume hears how far its node has got."""
        name = name_of(situation.volume)
        for node, pods in situation.wanted.items():
            notices = todo.tell.get(node, [])
            for pod in pods:
                own = [self._own_words(situation, pod, one) for one in notices]
                self._notices.tell(f"{name} {uid_of(pod)}", pod, own)

    def _own_words(self, situation: Situation, pod: Object, notice: Notice) -> Notice:
        if notice.message:
            return notice
        users = attaching.users_elsewhere(situation.wanted, situation.attachments, node_of(pod))
        text = attaching.conflict_text(situation.volume, pod, users)
        return Notice(notice.kind, notice.reason, text)

    def _claim_changed(self, change: str, claim: Object, old: Object | None) -> None:
        if name := binding.volume_of(claim):
            self._workers.queue.add(name)

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        if not node_of(pod):
            return
        is_same = old is not None and node_of(old) == node_of(pod) and is_finished(old) == is_finished(pod)
        if change == "updated" and is_same:
            return
        for claim in claims_of(pod):
            found = self._claims.get(f"{namespace_of(pod)}/{claim}")
            name = binding.volume_of(found) if found is not None else ""
            if name:
                self._workers.queue.add(name)
                if change == "deleted":
                    self._notices.forget(f"{name} {uid_of(pod)}")

    def _node_changed(self, change: str, node: Object, old: Object | None) -> None:
        if old is not None and change == "updated" and _what_counts(old) == _what_counts(node):
            return
        name, attachments = name_of(node), self._attachments.by_index(BY_NODE, name_of(node))
        for one in attachments:
            self._workers.queue.add(attaching.volume_of(one))
        if old is None or attaching.is_managed(old) != attaching.is_managed(node):
            for pod in self._pods.by_index(BY_NODE, name):
                self._pod_changed("added", pod, None)
        told = (node.get("status") or {}).get("volumesAttached")
        if change != "deleted" and attaching.is_managed(node) and (attachments or told):
            self._workers.queue.add(NODE + name)

    def _driver_changed(self, change: str, driver: Object, old: Object | None) -> None:
        for volume in self._objects.items():
            if (volume["spec"].get("csi") or {}).get("driver") == name_of(driver):
                self._workers.queue.add(name_of(volume))

    def _attachment_changed(self, change: str, attachment: Object, old: Object | None) -> None:
        if change == "deleted":
            self._ending.discard(name_of(attachment))
        if name := attaching.volume_of(attachment):
            self._workers.queue.add(name)
            self._workers.queue.add(NODE + attachment["spec"]["nodeName"])

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        if "csi" in obj["spec"]:
            self._workers.queue.add(key_of(obj))


def _what_counts(node: Object) -> Sequence[object]:
    status, annotations = node.get("status") or {}, annotations_of(node)
    return (
        status.get("volumesInUse"),
        status.get("volumesAttached"),
        is_true(node, "Ready"),
        (node.get("spec") or {}).get("taints"),
        annotations.get(attaching.MANAGED),
        annotations.get(attaching.KEEP_TERMINATED),
    )
