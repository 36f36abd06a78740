"""Pod networks of nodes: each gets a piece of the cluster's, of each IP family, and keeps it as long as it lives.

Who has what stands in the nodes' ``spec.podCIDRs`` alone, which the API server lets nobody change once it is set; also
a piece that a node brought along is taken. One key at a time is worked on: two nodes must not get the same piece.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import structlog

from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.controllers.context import Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib.cidrs import Network, Pieces, split
from kontinuum.controllers.settings import ControllersSettings

log = structlog.get_logger(__name__)

NOT_AVAILABLE, FAILED = "CIDRNotAvailable", "CIDRAssignmentFailed"
AGAIN_SECONDS = 300.0
"""After this time a node for which there was nothing is thought of again; usually another node's end comes first. Each
time it is told once more: of a thousand nodes in a network for 256 nothing else would ever be heard."""


def pieces_of(settings: ControllersSettings) -> list[Pieces]:
    """One for each of the cluster's networks, without what Services have."""
    made = []
    for text in split(settings.cluster_cidrs):
        network = ipaddress.ip_network(text)
        prefix = settings.node_cidr_prefix_ipv4 if network.version == 4 else settings.node_cidr_prefix_ipv6
        one = Pieces(network, prefix)
        for services in split(settings.service_cidrs):
            one.take(ipaddress.ip_network(services))
        made.append(one)
    return made


def cidrs_of(node: Object) -> tuple[Network, ...]:
    """What the node has; what cannot be read is nothing."""
    found = []
    spec = node.get("spec") or {}
    for text in spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]):
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            log.warning("a node has a network that is none", node=name_of(node), network=text)
    return tuple(found)


class NodeIpamReconciler(KeyReconciler):
    """The hand that gives. Keys are nodes' names."""

    name = "node-ipam-controller"

    def __init__(self, context: Context) -> None:
        self._pieces = pieces_of(context.settings)
        self._held: dict[str, tuple[Network, ...]] = {}
        """What each node has, or has been given though its object does not show it yet."""
        self._waiting: set[str] = set()
        """Nodes for which there was nothing."""
        super().__init__(context, NODES, workers=1)
        self._events = context.recorder("cidrAllocator")

    async def reconcile(self, key: str) -> Result:
        """Give one node what it has not."""
        node = self._objects.get(key)
        if node is None or cidrs_of(node) or "deletionTimestamp" in node["metadata"]:
            return DONE
        # What was given and not seen is given again: the answer may have been lost.
        given = self._held.get(key) or self._allocate(key)
        if given is None:
            self._tell(node, NOT_AVAILABLE)
            self._waiting.add(key)
            return Result(AGAIN_SECONDS)
        self._waiting.discard(key)
        texts = [str(one) for one in given]
        patch = {"metadata": {"uid": uid_of(node)}, "spec": {"podCIDR": texts[0], "podCIDRs": texts}}
        try:
            await self._client.patch(NODES, key, patch)
        except ApiError as error:
            # It stays given: an earlier answer may have been lost. If the node is gone, or has something from somebody
            # else, its next event tells.
            if error.code < 500 and not error.is_not_found and not error.is_conflict:
                self._tell(node, FAILED)
            raise
        return DONE

    def _allocate(self, key: str) -> tuple[Network, ...] | None:
        """A piece of each of the cluster's networks, or of none."""
        found: list[Network] = []
        for one in self._pieces:
            piece = one.allocate()
            if piece is None:
                self._release(found)
                return None
            found.append(piece)
        self._held[key] = tuple(found)
        return tuple(found)

    def _hold(self, key: str, networks: tuple[Network, ...]) -> None:
        """``key`` has ``networks`` and nothing else."""
        before = self._held.pop(key, ())
        for one in self._pieces:
            for network in networks:
                if network not in before and one.is_taken(network):
                    # Nobody may change it any more: the operator must delete one of the two nodes.
                    log.error("a node has a network that another has, or Services", node=key, network=str(network))
                one.take(network)
        if networks:
            self._held[key] = networks
        self._release(before)

    def _release(self, networks: Sequence[Network]) -> None:
        for one in self._pieces:
            for network in networks:
                one.release(network)
        if networks:
            for key in self._waiting:
                self._workers.queue.add(key)
            self._waiting.clear()

    def _tell(self, node: Object, reason: str) -> None:
        self._events.event(node, "Normal", reason, f"Node {name_of(node)} status is now: {reason}")

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        name, has = name_of(obj), cidrs_of(obj)
        if change == "deleted":
            self._waiting.discard(name)
            self._hold(name, ())
        elif not has:
            if name not in self._waiting:  # Its heartbeats make no room.
                self._workers.queue.add(name)
        elif has != self._held.get(name):
            self._hold(name, has)
