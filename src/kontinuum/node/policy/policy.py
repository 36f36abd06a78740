"""The loop that keeps the rules of all NetworkPolicies in the kernel.

All policies are decided together, because a pod's change may concern any of them; what reaches the kernel is what
differs, for a peer that comes or goes one element of a set.
"""

from __future__ import annotations

import asyncio

import structlog

from kontinuum.api.machinery.objects import Object, key_of, labels_of, name_of
from kontinuum.client.informer import Change, Informer
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.nftables import TransactionRefused
from kontinuum.node.filter_table import FilterTable
from kontinuum.node.policy.rules import fragment
from kontinuum.node.policy.selection import Pod, World, pod_of
from kontinuum.node.settings import NodeSettings

log = structlog.get_logger(__name__)

OWNER = "policies"
AGAIN_SECONDS = 5.0
"""After the kernel refused everything."""


def trim(pod: Object) -> Object:
    """A pod without what policies never look at."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "labels")
    return {
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {
            "nodeName": spec.get("nodeName"),
            "hostNetwork": spec.get("hostNetwork"),
            "containers": [{"ports": one.get("ports")} for one in spec.get("containers") or ()],
            "initContainers": [
                {"ports": one.get("ports"), "restartPolicy": one.get("restartPolicy")}
                for one in spec.get("initContainers") or ()
            ],
        },
        "status": {name: status[name] for name in ("podIP", "podIPs", "phase") if name in status},
    }


class Policies:
    """See the module."""

    def __init__(
        self,
        pods: Informer,
        namespaces: Informer,
        policies: Informer,
        table: FilterTable,
        settings: NodeSettings,
        clock: Clock,
    ) -> None:
        self._table = table
        self._settings = settings
        self._clock = clock
        self._policies = policies
        self._pods: dict[str, Pod] = {}
        self._namespaces: dict[str, dict[str, str]] = {}
        self._wake = asyncio.Event()
        pods.add_handler(self._on_pod)
        namespaces.add_handler(self._on_namespace)
        policies.add_handler(self._on_policy)

    def fill(self) -> None:
        """Put what all policies say into the ruleset, without telling the kernel yet."""
        self._wake.clear()
        world = World(tuple(self._pods.values()), self._namespaces)
        settings = self._settings
        made = fragment(list(self._policies.items()), world, node=settings.name, networks=settings.pod_networks)
        self._table.ruleset.put(OWNER, made)

    async def run(self) -> None:
        """Until cancelled. The table must have been written with what ``fill`` put."""
        while True:
            await self._wake.wait()
            self.fill()
            try:
                await self._table.apply()
            except TransactionRefused as error:
                log.error("the packet filter refuses the rules of policies", error=str(error)[:2000])
                await self._clock.sleep(AGAIN_SECONDS)
                self._wake.set()

    def _on_pod(self, change: Change, obj: Object, _: Object | None) -> None:
        key, pod = key_of(obj), pod_of(obj) if change != "deleted" else None
        if self._pods.get(key) == pod:
            return
        if pod is None:
            del self._pods[key]
        else:
            self._pods[key] = pod
        self._wake.set()

    def _on_namespace(self, change: Change, namespace: Object, _: Object | None) -> None:
        name, labels = name_of(namespace), dict(labels_of(namespace))
        if change == "deleted":
            self._namespaces.pop(name, None)
        elif self._namespaces.get(name) == labels:
            return
        else:
            self._namespaces[name] = labels
        self._wake.set()

    def _on_policy(self, _: Change, __: Object, ___: Object | None) -> None:
        self._wake.set()
