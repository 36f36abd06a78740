"""Transcripts: commands to a small cluster, and what the controllers were seen to do.

A block is one command, a line of dashes, and what happened, each with the seconds since the command::

    deploy web replicas=3 image=image:1
    ----
    0.0 deployment/web: ScalingReplicaSet: Scaled up replica set web-64d8bbcbb4 from 0 to 3

Commands: ``deploy NAME replicas=N image=I [field=JSON ...]``, ``set NAME field=JSON ...``, ``image NAME IMAGE``,
``restart NAME``, ``autoscale NAME minReplicas=N maxReplicas=N [field=JSON ...]`` (to half a CPU per pod), ``load
MILLICORES`` (of all pods together), ``undo NAME``, ``delete NAME [Foreground]``, ``broken IMAGE``, ``silence NODE``,
``speak NODE``, ``limit PODS`` (as a quota would; ``limit none``), ``compact`` (no watch can be resumed), ``down S``
(the API server, to the controllers), ``jump S`` (the wall clock), ``kill`` (the controllers; others begin), ``wait S``
and ``show``. Every command but ``show`` is given a minute to take effect, ``wait`` its own time, and what
follows ``begin`` none: the next command meets it in the middle.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

from tests.controllers.cluster import Cluster, deployment, running
from tests.controllers.source import Source

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, EVENTS, HORIZONTALPODAUTOSCALERS, NODES, PODS, REPLICASETS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.api.machinery.status import ApiError, forbidden
from kontinuum.client.transport.fake.storage import Entry
from kontinuum.client.transport.port import Request
from kontinuum.controllers.lib.owners import controller_uid
from kontinuum.controllers.lib.pods import is_active, is_ready
from kontinuum.controllers.lib.templates import HASH_LABEL
from kontinuum.foundation import virtual_time
from kontinuum.foundation.tasks import cancel

REVISION = "deployment.kubernetes.io/revision"


def play(transcript: str) -> str:
    """The transcript with what really happened in place of what it says."""
    blocks = [block.strip() for block in transcript.strip().split("\n\n")]

    async def main() -> list[str]:
        async with running() as cluster:
            player = Player(cluster)
            watching = asyncio.create_task(player.watch())
            # Half a second off the clock's ticks, so that a millisecond more or less makes no difference.
            await asyncio.sleep(5.5)
            played = [await player.play(block) for block in blocks]
            assert not watching.done(), "what happened was not written down to the end"
            await cancel(watching)
            return played

    # Chance tells back-offs apart, but not transcripts: every one waits for its middle.
    with mock.patch("random.random", return_value=0.5):
        return "\n\n".join(virtual_time.run(main)) + "\n"


class Player:
    """Carries commands out and writes down what follows."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._source = Source(cluster)
        self._began = 0.0
        self._seen: list[tuple[float, str]] = []

    async def play(self, block: str) -> str:
        if block.startswith("#"):
            return block
        command = block.split("\n", 1)[0]
        words = command.split()
        self._began, self._seen = asyncio.get_running_loop().time(), []
        if words[0] == "show":
            return "\n".join([command, "----", *self._table()])
        if words[0] == "wait":
            await asyncio.sleep(float(words[1]))
        elif words[0] == "begin":
            await self._commands()[words[1]](*words[2:])
            return command
        else:
            await self._commands()[words[0]](*words[1:])
            await asyncio.sleep(60)
        # What happens in one moment happens in no particular order.
        return "\n".join([command, "----", *(f"{seconds} {line}" for seconds, line in sorted(self._seen))])

    async def watch(self) -> None:
        storage = self._cluster.api.storage
        position = 0
        while True:
            for entry in storage.log[position:]:
                position += 1
                seconds = round(asyncio.get_running_loop().time() - self._began, 1)
                self._seen += [(seconds, line) for line in _told(entry)]
            await storage.wait_changed()

    def _commands(self) -> dict[str, Callable[..., Awaitable[None]]]:
        return {
            "deploy": self._deploy,
            "set": self._set,
            "image": lambda name, image: self._cluster.set_image(image, name),
            "restart": self._restart,
            "autoscale": self._autoscale,
            "load": self._load,
            "undo": self._undo,
            "delete": self._delete,
            "broken": self._broken,
            "silence": self._silence,
            "speak": self._speak,
            "limit": self._limit,
            "compact": self._compact,
            "down": self._down,
            "jump": self._jump,
            "kill": self._kill,
        }

    async def _deploy(self, name: str, *fields: str) -> None:
        await self._cluster.client.create(DEPLOYMENTS, deployment(name, **_fields(fields)))

    async def _set(self, name: str, *fields: str) -> None:
        await self._cluster.patch(_fields(fields), name)

    async def _restart(self, name: str) -> None:
        annotations = {"kubectl.kubernetes.io/restartedAt": str(self._began)}
        await self._cluster.patch({"template": {"metadata": {"annotations": annotations}}}, name)

    async def _autoscale(self, name: str, *fields: str) -> None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        half = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "500m"}}
        spec = {"scaleTargetRef": target, "metrics": [{"type": "Resource", "resource": half}], **_fields(fields)}
        made = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
        await self._cluster.client.create(HORIZONTALPODAUTOSCALERS, made)

    async def _load(self, millicores: str) -> None:
        self._source.cpu = lambda pod: int(millicores) // len(self._cluster.ready_pods())

    async def _undo(self, name: str) -> None:
        """What ``kubectl rollout undo`` does: put back the template of the revision before the present one."""
        owned = sorted(self._replicasets(name), key=lambda one: int(annotations_of(one)[REVISION]))
        web = self._cluster.deployment(name)
        await self._cluster.client.update(
            DEPLOYMENTS, {**web, "spec": {**web["spec"], "template": _unhashed(owned[-2])}}
        )

    async def _delete(self, name: str, propagation: str = "") -> None:
        await self._cluster.client.delete(DEPLOYMENTS, name, namespace="default", propagation=propagation)

    async def _broken(self, image: str) -> None:
        self._cluster.nodes.broken_images.add(image)

    async def _silence(self, node: str) -> None:
        self._cluster.nodes.silent.add(node)

    async def _speak(self, node: str) -> None:
        self._cluster.nodes.silent.discard(node)

    async def _limit(self, pods: str) -> None:
        def refuse(request: Request) -> ApiError | None:
            is_creation = request.method == "POST" and request.path.endswith("/pods")
            if pods == "none" or not is_creation or len(self._cluster.pods()) < int(pods):
                return None
            counts = f"requested: pods=1, used: pods={pods}, limited: pods={pods}"
            return forbidden(PODS, "", f"exceeded quota: pods, {counts}")

        self._cluster.faults.refuse = refuse

    async def _compact(self) -> None:
        self._cluster.api.compact()
        self._cluster.api.drop_watches()

    async def _down(self, seconds: str) -> None:
        self._cluster.faults.down = True
        self._cluster.api.drop_watches()
        await asyncio.sleep(float(seconds))
        self._cluster.faults.down = False

    async def _jump(self, seconds: str) -> None:
        self._cluster.clock.jump(float(seconds))

    async def _kill(self) -> None:
        self._cluster.replace_controllers()

    def _replicasets(self, name: str) -> list[Object]:
        uid = self._cluster.deployment(name)["metadata"]["uid"]
        return [one for one in self._cluster.everything(REPLICASETS) if controller_uid(one) == uid]

    def _table(self) -> list[str]:
        lines: list[str] = []
        for web in self._cluster.everything(DEPLOYMENTS):
            status = web["status"]
            ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
            available, wanted = status.get("availableReplicas", 0), web["spec"]["replicas"]
            lines.append(f"{name_of(web)}: {ready}/{wanted} ready, {updated} up to date, {available} available")
        for one in self._cluster.everything(REPLICASETS):
            revision, image = annotations_of(one).get(REVISION), _image(one["spec"]["template"])
            lines.append(f"  {name_of(one)}: revision {revision}, {image}, {one['spec']['replicas']} replicas")
        for pod in self._cluster.everything(PODS):
            state = "leaving" if not is_active(pod) else "ready" if is_ready(pod) else "not ready"
            lines.append(f"    {name_of(pod)}: {state}")
        return lines


def _told(entry: Entry) -> list[str]:
    """What a person would call news in one change."""
    if entry.new is None:
        return [f"{entry.resource.singular}/{name_of(entry.old or {})}: gone"] if entry.resource == DEPLOYMENTS else []
    if entry.resource == EVENTS:
        about = entry.new["involvedObject"]
        return [f"{about['kind'].lower()}/{about['name']}: {entry.new['reason']}: {entry.new['message']}"]
    if entry.resource == DEPLOYMENTS:
        return _conditions(entry, "Progressing", "Available")
    if entry.resource == HORIZONTALPODAUTOSCALERS:
        return _conditions(entry, "AbleToScale", "ScalingActive", "ScalingLimited")
    if entry.resource == NODES:
        return [*_conditions(entry, "Ready"), *_taints(entry)]
    return []


def _conditions(entry: Entry, *kinds: str) -> list[str]:
    lines = []
    for kind in kinds:
        before, after = (get_condition(one or {}, kind) for one in (entry.old, entry.new))
        shown = [(one or {}).get("status", "") + " " + (one or {}).get("reason", "") for one in (before, after)]
        if entry.new is not None and shown[0] != shown[1] and entry.old is not None:
            lines.append(f"{entry.resource.singular}/{name_of(entry.new)}: {kind}={shown[1]}")
    return lines


def _taints(entry: Entry) -> list[str]:
    before, after = ((one or {}).get("spec", {}).get("taints") or [] for one in (entry.old, entry.new))
    keys = [[f"{taint['key']}:{taint['effect']}" for taint in taints] for taints in (before, after)]
    if entry.new is None or keys[0] == keys[1]:
        return []
    return [f"node/{name_of(entry.new)}: taints {', '.join(keys[1]) or 'none'}"]


def _unhashed(replicaset: Object) -> Object:
    template: Object = replicaset["spec"]["template"]
    labels = {key: value for key, value in template["metadata"]["labels"].items() if key != HASH_LABEL}
    return {**template, "metadata": {**template["metadata"], "labels": labels}}


def _image(template: Object) -> str:
    image: str = template["spec"]["containers"][0]["image"]
    return image


def _fields(words: tuple[str, ...]) -> dict[str, Any]:
    """``field=JSON``; what is no JSON is text."""
    fields: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        try:
            fields[key] = json.loads(text)
        except json.JSONDecodeError:
            fields[key] = text
    return fields
