"""Nodes that fall silent: they are marked, then avoided, then left; unless it is us who cannot hear.

    alive ──Lease and status unchanged for node_grace_seconds, by our clock──▶ silent: Ready=Unknown
    silent ──most of its zone are heard──▶ tainted unreachable:NoExecute, one after the other (``lib.zones``)
           ──toleration runs out──▶ pods deleted
    silent ──most others are silent too──▶ nothing is evicted, and every toleration's clock stands still
    any ──Lease or status changes──▶ alive (the node itself says when it is ready again)

Time in leases is the node's own; what counts is how long *we* have seen no change. A controller that has just started
therefore gives every node its full grace, and one that was suspended asks the API once more before it judges.

A thousand nodes renew a hundred Leases a second, and none of it is news: instead of watching that we list all Leases
every TICK_SECONDS (decision 0040), as often as Kubernetes looks. Nodes are decoded only when they change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from msgspec import Struct

from kontinuum.api.kubernetes.pod_conditions import with_condition
from kontinuum.api.kubernetes.resources import LEASES, NODES, PODS
from kontinuum.api.machinery.conditions import get_condition, is_true, set_condition
from kontinuum.api.machinery.objects import Object, key_of, name_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_NODE, Context
from kontinuum.controllers.lib.batches import at_once
from kontinuum.controllers.lib.pods import is_active, is_leaving, is_ready
from kontinuum.controllers.lib.taints import seconds_tolerated, taints_for
from kontinuum.controllers.lib.zones import Limits, Pace, rates, zone_of
from kontinuum.foundation.clock import rfc3339
from kontinuum.foundation.errors import Retryable

log = structlog.get_logger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
GATHER_SECONDS_EACH = 0.0002
"""Seconds for each node there is, for which news of nodes are gathered: a second at 5,000 nodes."""
TICK_SECONDS = 5.0
NODES_AT_ONCE = 16
"""Nodes that are acted on at the same time: thousands may become ready together."""
RETRY_SECONDS = 1.0
_STOPPED = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
_NEVER = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
_JUDGED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about one node."""

    conditions: list[Object] | None = None
    """The status's new conditions, if they change."""
    taints: list[Object] | None = None
    """The spec's new taints, if they change."""
    unready: list[Object] = field(default_factory=list)
    """Pods that say they are ready, though nobody can know."""


def plan(node: Object, pods: Sequence[Object], *, is_silent: bool, evict: bool, now: float) -> Plan:
    """What to do about ``node``; ``evict`` says whether we trust our ears enough to drive pods away."""
    judged = _judged(node, rfc3339(now)) if is_silent else node
    conditions = judged["status"]["conditions"] if judged is not node else None
    taints = taints_for(judged, evict=evict, now=rfc3339(now))
    ready = get_condition(judged, "Ready")
    absent = ready is not None and ready["status"] != "True"
    return Plan(
        conditions=conditions,
        taints=taints if taints != ((node.get("spec") or {}).get("taints") or []) else None,
        unready=[pod for pod in pods if absent and is_ready(pod) and is_active(pod)],
    )


def pods_to_evict(
    node: Object, pods: Sequence[Object], since: Mapping[tuple[str, str], float], now: float
) -> list[Object]:
    """The pods whose patience with one of the node's NoExecute taints has run out.

    ``since`` is when each pod (by uid) was first seen beside each taint (by key), in monotonic seconds like ``now``.
    """
    taints = no_execute(node)
    return [
        pod
        for pod in pods
        if not is_leaving(pod)
        and any(
            (seconds := seconds_tolerated(pod, taint)) is not None
            and now >= since.get((uid_of(pod), taint["key"]), now) + seconds
            for taint in taints
        )
    ]


def no_execute(node: Object) -> list[Object]:
    """The taints that drive pods away."""
    return [one for one in (node.get("spec") or {}).get("taints") or () if one["effect"] == "NoExecute"]


def _judged(node: Object, now: str) -> Object:
    """The node with every condition that its kubelet vouches for set to Unknown; the same node if they are."""
    conditions: list[Object] = list((node.get("status") or {}).get("conditions") or ())
    before = list(conditions)
    for kind in _JUDGED:
        old = get_condition(node, kind)
        if old is None or old["status"] != "Unknown":
            reason, message = _NEVER if old is None else _STOPPED
            conditions = set_condition(
                conditions,
                kind,
                "Unknown",
                now=now,
                reason=reason,
                message=message,
                lastHeartbeatTime=None,
            )
    return (
        node if conditions == before else {**node, "status": {**(node.get("status") or {}), "conditions": conditions}}
    )


@dataclass(slots=True)
class _Heard:
    """The last sign of life: what it was, and when we first saw it (monotonic seconds)."""

    sign: str
    at: float


@dataclass(frozen=True, slots=True)
class _Known:
    """What a tick asks of every node, read when the node changed."""

    zone: str
    is_ready: bool
    beat: str
    """When its agent last wrote its status, as the agent says."""
    is_settled: bool
    """As long as it is not silent there is nothing to do about it or its pods."""


class _Name(Struct):
    name: str


class _Renewed(Struct):
    renewTime: str | None = None


class _Lease(Struct):
    """Of a Lease no more is decoded."""

    metadata: _Name
    spec: _Renewed | None = None


class _Leases(Struct):
    items: list[_Lease]


class NodeReconciler:
    """The hand that carries the plans out; it looks every TICK_SECONDS at least, because silence makes no event."""

    name = "node-lifecycle"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clock = context.clock
        self._events = context.recorder("node-controller")
        self._evictions = context.recorder("taint-eviction-controller")
        self._nodes = context.informer(NODES)
        self._pods = context.informer(PODS)
        self._writes = context.own_writes(NODES, PODS)
        self._known: dict[str, _Known] = {}
        self._renewed: Mapping[str, str] = {}
        self._listened = 0.0
        self._must_listen = True
        self._heard: dict[str, _Heard] = {}
        self._silent: frozenset[str] = frozenset()
        self._exposed: dict[str, dict[tuple[str, str], float]] = {}
        settings = context.settings
        self._limits = Limits(
            settings.unhealthy_zone_threshold, settings.node_eviction_rate, settings.node_eviction_lower_rate,
            settings.large_zone_size,
        )  # fmt: skip
        self._rates: dict[str, float] = {}
        self._pace = Pace()
        self._changed = asyncio.Event()
        self._nodes.add_handler(self._node_changed)

    async def run(self) -> None:
        """See ``Reconciler``."""
        while True:
            try:
                await self.tick()
            except (ApiError, Retryable) as error:
                log.info("nodes cannot be judged now", error=str(error))
                # A short pause, or a server that refuses would be asked again by every change it makes.
                await self._clock.sleep(RETRY_SECONDS)
            try:
                async with asyncio.timeout(max(0.0, self._listened + TICK_SECONDS - self._clock.monotonic())):
                    await self._changed.wait()
            except TimeoutError:
                self._must_listen = True
            # A tick judges all zones: thousands of nodes that register one after the other must not cost one each.
            await self._clock.sleep(GATHER_SECONDS_EACH * len(self._known))
            self._changed.clear()

    def look_again(self) -> None:
        """See ``Reconciler``. Every tick looks at everything anyway."""

    async def tick(self) -> None:
        """Listen, judge, and act on every node that is silent or not as it should be."""
        if self._must_listen:
            self._renewed = await self._listen(resource_version="0")
        silent = self._compare()
        if silent - self._silent:
            # It may only be that the server's copy is late: whoever is to be declared silent is asked for once more.
            self._renewed = await self._listen()
            silent = self._compare()
        self._silent = silent
        self._judge_zones()
        todo = sorted(silent | {name for name, known in self._known.items() if not known.is_settled})
        for name in self._exposed.keys() - set(todo):
            # Somebody else has taken the taint away.
            self._tell_spared(self._exposed.pop(name), self._pods.by_index(BY_NODE, name))
        await at_once(todo, self._handle_if_seen, limit=NODES_AT_ONCE)

    async def _listen(self, resource_version: str = "") -> dict[str, str]:
        """When each node has renewed its Lease, in its own words. "0": as any of the server's copies has it."""
        try:
            leases = await self._context.client.list_as(
                _Leases, LEASES, namespace=LEASE_NAMESPACE, resource_version=resource_version
            )
        except (ApiError, Retryable):
            # Where we cannot hear, nobody can speak: the time until now proves nothing.
            for heard in self._heard.values():
                heard.at = self._clock.monotonic()
            raise
        self._listened, self._must_listen = self._clock.monotonic(), False
        return {one.metadata.name: one.spec.renewTime or "" for one in leases.items if one.spec is not None}

    def _node_changed(self, change: str, node: Object, old: Object | None) -> None:
        """A node that becomes ready is waited for: its taints go at once. Heartbeats are no news."""
        name = name_of(node)
        if change == "deleted":
            self._known.pop(name, None)
            self._heard.pop(name, None)
            self._events.event(node, "Normal", "RemovingNode", f"Removing Node {name} from Controller")
            return
        if name not in self._known:
            self._events.event(node, "Normal", "RegisteredNode", f"Registered Node {name} in Controller")
        self._known[name] = _known(node)
        if old is None or taints_for(node, evict=True, now="") != taints_for(old, evict=True, now=""):
            self._changed.set()

    def _compare(self) -> frozenset[str]:
        """The nodes whose last sign of life is too old."""
        now = self._clock.monotonic()
        silent = set()
        for name, known in self._known.items():
            sign = f"{self._renewed.get(name)} {known.beat}"
            heard = self._heard.setdefault(name, _Heard(sign, now))
            if heard.sign != sign:
                heard.sign, heard.at = sign, now
            if now - heard.at >= self._context.settings.node_grace_seconds:
                silent.add(name)
        return frozenset(silent)

    def _judge_zones(self) -> None:
        zones: dict[str, list[bool]] = {}
        for name, known in self._known.items():
            zones.setdefault(known.zone, []).append(name in self._silent or not known.is_ready)
        before, self._rates = self._rates, rates(zones, self._limits)
        for zone, rate in self._rates.items():
            if bool(rate) != bool(before.get(zone, True)):
                absent = f"{sum(zones[zone])} of {len(zones[zone])}"
                log.warning("eviction is resumed" if rate else "eviction is suspended", zone=zone, absent=absent)

    def _step(self, node: Object, pods: Sequence[Object], *, is_silent: bool, now: float) -> Plan:
        """What to do about one node; who is to be left anew waits for his turn."""
        zone = zone_of(node)
        rate = self._rates.get(zone, 0.0)  # it may have come to this zone a moment ago
        step = plan(node, pods, is_silent=is_silent, evict=rate > 0, now=now)
        is_new = not no_execute(node) and any(one["effect"] == "NoExecute" for one in step.taints or ())
        if is_new and not self._pace.allows(zone, rate, self._clock.monotonic()):
            return plan(node, pods, is_silent=is_silent, evict=False, now=now)
        return step

    async def _handle_if_seen(self, name: str) -> None:
        node = self._nodes.get(name)
        if node is not None and self._writes.are_seen(name):
            await self._handle(node, is_silent=name in self._silent)

    async def _handle(self, node: Object, *, is_silent: bool) -> None:
        name, now = name_of(node), self._clock.time()
        pods = self._pods.by_index(BY_NODE, name)
        step = self._step(node, pods, is_silent=is_silent, now=now)
        writer = Writer(self._context.client, self._writes, name)
        if step.conditions is not None:
            log.warning("a node has fallen silent", node=name)
            new = {**node, "status": {**(node.get("status") or {}), "conditions": step.conditions}}
            was_ready = is_true(node, "Ready")
            node = await writer.update(NODES, new, subresource="status")
            if was_ready:
                self._events.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        if step.taints is not None:
            version = node["metadata"]["resourceVersion"]
            patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": step.taints or None}}
            node = await writer.patch(NODES, node, patch)
        for pod in step.unready:
            await self._mark_unready(pod, now)
        await self._evict(node, pods)

    async def _mark_unready(self, pod: Object, now: float) -> None:
        """So that Services stop sending there."""
        conditions = with_condition(pod, "Ready", False, now=rfc3339(now))
        writer = Writer(self._context.client, self._writes, name_of(pod))
        try:
            await writer.patch(PODS, pod, {"status": {"conditions": conditions}}, subresource="status")
        except ApiError as error:
            if not error.is_not_found:
                raise
        self._events.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    async def _evict(self, node: Object, pods: Sequence[Object]) -> None:
        if not self._rates.get(zone_of(node)):
            # Whatever time has passed on tolerations was measured by somebody who could not hear.
            before = self._exposed.pop(name_of(node), {})
            if not no_execute(node):
                self._tell_spared(before, pods)
            return
        now = self._clock.monotonic()
        since = self._remember_exposure(node, pods, now)
        for pod in pods_to_evict(node, pods, since, now):
            self._evictions.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key_of(pod)}")
            writer = Writer(self._context.client, self._writes, key_of(pod))
            conditions = with_condition(
                pod,
                "DisruptionTarget",
                True,
                now=rfc3339(self._clock.time()),
                reason="DeletionByTaintManager",
                message="Taint manager: deleting due to NoExecute taint",
            )
            try:
                await writer.patch(PODS, pod, {"status": {"conditions": conditions}}, subresource="status")
            except ApiError as error:
                if error.is_not_found:
                    continue
                raise
            await writer.delete(PODS, pod)

    def _remember_exposure(self, node: Object, pods: Sequence[Object], now: float) -> Mapping[tuple[str, str], float]:
        """When we first saw each pod beside each taint that drives it away; a taint that returns starts anew."""
        before = self._exposed.pop(name_of(node), {})
        exposed = {
            (uid_of(pod), taint["key"])
            for pod in pods
            for taint in no_execute(node)
            if seconds_tolerated(pod, taint) is not None
        }
        if exposed:
            self._exposed[name_of(node)] = {one: before.get(one, now) for one in exposed}
        self._tell_spared({one: at for one, at in before.items() if one[0] not in {uid for uid, _ in exposed}}, pods)
        return self._exposed.get(name_of(node), {})

    def _tell_spared(self, exposed: Mapping[tuple[str, str], float], pods: Sequence[Object]) -> None:
        """Tell of those of ``pods`` that were ``exposed`` to a taint, and stay."""
        uids = {uid for uid, _ in exposed}
        for pod in pods:
            if uid_of(pod) in uids and not is_leaving(pod):
                said = f"Cancelling deletion of Pod {key_of(pod)}"
                self._evictions.event(pod, "Normal", "TaintManagerEviction", said)


def _known(node: Object) -> _Known:
    ready = get_condition(node, "Ready") or {}
    taints = (node.get("spec") or {}).get("taints") or []
    is_ready = ready.get("status") == "True"
    return _Known(
        zone=zone_of(node),
        is_ready=is_ready,
        beat=ready.get("lastHeartbeatTime") or "",
        is_settled=is_ready and not no_execute(node) and taints == taints_for(node, evict=True, now=""),
    )
