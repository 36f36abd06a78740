"""Days: a few objects, what a user does to them, and which controllers have work in it. See test_every_controller."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.controllers.cluster import Cluster
from tests.controllers.test_jobs import job

from kontinuum.api.kubernetes.resources import (
    CERTIFICATESIGNINGREQUESTS,
    CONFIGMAPS,
    DAEMONSETS,
    ENDPOINTS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    SERVICEACCOUNTS,
    SERVICES,
    STATEFULSETS,
)
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.transport.fake.storage import Entry

Do = Callable[[Cluster], Awaitable[None]]


LOOK_AGAIN_SECONDS = 660.0
"""In this time everybody has looked at everything again: he has noticed that days have passed since."""

Never = Callable[[Sequence[Entry]], None]
"""Looks through everything that the API ever stored, for what must never be."""


def anything(log: Sequence[Entry]) -> None:
    """Nothing is forbidden but another end."""


@dataclass(frozen=True)
class Day:
    """``controllers`` are the ones that are on; ``do`` is what happens; then everything gets ``settle`` seconds."""

    controllers: tuple[str, ...]
    do: Do
    settle: float = 60.0
    least_writes: int = 1
    never: Never = anything
    tells: bool = False
    """Events are all that these controllers write, and are compared too."""


def labelled(name: str, **metadata: Any) -> Object:
    return {"name": name, "namespace": "default", "labels": {"app": name}, **metadata}


def pod(name: str, labels: dict[str, str] | None = None, metadata: Object | None = None, **spec: Any) -> Object:
    containers = [{"name": "main", "image": "image:1"}]
    kept = {"name": name, "namespace": "default", "labels": labels or {"app": name}, **(metadata or {})}
    return {"metadata": kept, "spec": {"containers": containers, **spec}}


def template(name: str, image: str = "image:1", **spec: Any) -> Object:
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": image}], **spec}}


def service(name: str, **spec: Any) -> Object:
    return {"metadata": labelled(name), "spec": {"ports": [{"port": 80}], "clusterIP": "10.96.0.9", **spec}}


async def create(cluster: Cluster, *objects: tuple[Resource, Object]) -> None:
    for resource, obj in objects:
        await cluster.client.create(resource, obj)


async def settle_until(cluster: Cluster, resource: Resource, name: str, is_so: Callable[[Object], bool]) -> None:
    """Ten seconds; more, a minute at most, as long as the object is not there or not ``is_so``.

    While the controllers meet errors they may take longer, and whoever goes on without them brings about another end.
    """
    for _ in range(6):
        await cluster.settle(10)
        with contextlib.suppress(ApiError):
            if is_so(await cluster.client.get(resource, name, namespace="default")):
                return


async def replication_controller(cluster: Cluster) -> None:
    spec = {"replicas": 3, "selector": {"app": "rc"}, "template": template("rc")}
    await create(cluster, (REPLICATIONCONTROLLERS, {"metadata": labelled("rc"), "spec": spec}))
    await cluster.settle(10)
    await cluster.client.patch(REPLICATIONCONTROLLERS, "rc", {"spec": {"replicas": 1}}, namespace="default")


async def replica_set(cluster: Cluster) -> None:
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("web")}
    strays = [(PODS, pod("stray", {"app": "web"})), (PODS, pod("other", {"app": "other"}))]
    await create(cluster, *strays, (REPLICASETS, {"metadata": labelled("web"), "spec": spec}))
    await cluster.settle(10)
    await cluster.client.patch(PODS, "stray", {"metadata": {"labels": {"app": "gone"}}}, namespace="default")
    # Time to let go of it even after a silence: a set that is being deleted lets go of none, and they end with it.
    await cluster.settle(30)
    await cluster.client.delete(REPLICASETS, "web", namespace="default", propagation="Foreground")


async def daemon_set(cluster: Cluster) -> None:
    spec = {"selector": {"matchLabels": {"app": "log"}}, "template": template("log")}
    await create(cluster, (DAEMONSETS, {"metadata": labelled("log"), "spec": spec}))
    await cluster.settle(10)
    await cluster.nodes.register("node-3")
    changed = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "image:2"}]}}}}
    await cluster.client.patch(DAEMONSETS, "log", changed, namespace="default")


async def garbage(cluster: Cluster) -> None:
    async def owned(name: str, owner: Object, **more: Any) -> Object:
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"]}
        reference |= {"uid": owner["metadata"]["uid"], **more}
        return await cluster.client.create(
            CONFIGMAPS, {"metadata": labelled(name, ownerReferences=[reference]), "data": {}}
        )

    parents = [
        await cluster.client.create(CONFIGMAPS, {"metadata": labelled(name)}) for name in ("fore", "back", "orphan")
    ]
    for parent in parents:
        child = await owned(f"{parent['metadata']['name']}-child", parent, blockOwnerDeletion=True)
        await owned(f"{parent['metadata']['name']}-grandchild", child)
    await cluster.settle(5)
    for name, propagation in (("fore", "Foreground"), ("back", "Background"), ("orphan", "Orphan")):
        await cluster.client.delete(CONFIGMAPS, name, namespace="default", propagation=propagation)


async def namespace(cluster: Cluster) -> None:
    await create(cluster, (NAMESPACES, {"metadata": {"name": "n"}}))
    await create(
        cluster,
        (CONFIGMAPS, {"metadata": {"name": "c", "namespace": "n"}}),
        (PODS, pod("p", metadata={"namespace": "n"})),
        (SERVICES, {**service("s"), "metadata": {"name": "s", "namespace": "n"}}),
    )
    await cluster.settle(5)
    await cluster.client.delete(NAMESPACES, "n")


async def quota(cluster: Cluster) -> None:
    hard = {"pods": "5", "count/configmaps": "3"}
    await create(cluster, (RESOURCEQUOTAS, {"metadata": labelled("q"), "spec": {"hard": hard}}), (PODS, pod("p")))
    await cluster.settle(5)
    await create(cluster, (CONFIGMAPS, {"metadata": labelled("c")}), (PODS, pod("r")))
    await cluster.client.delete(PODS, "p", namespace="default")
    await cluster.client.patch(RESOURCEQUOTAS, "q", {"spec": {"hard": {"pods": "7"}}}, namespace="default")


async def endpoints(cluster: Cluster) -> None:
    await create(cluster, (SERVICES, service("web", selector={"app": "ep"})))
    await create(cluster, *((PODS, pod(name, {"app": "ep"})) for name in ("a", "b", "c")))
    await cluster.settle(10)
    await cluster.client.delete(PODS, "b", namespace="default")
    await create(cluster, (SERVICES, service("gone", selector={"app": "ep"})))
    await cluster.settle(10)
    await cluster.client.delete(SERVICES, "gone", namespace="default")


async def mirroring(cluster: Cluster) -> None:
    subset = {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}
    for name in ("kept", "gone"):
        await create(cluster, (SERVICES, service(name)))
        await create(cluster, (ENDPOINTS, {"metadata": labelled(name), "subsets": [subset]}))
    await cluster.settle(5)
    more = {"subsets": [{**subset, "addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]}]}
    await cluster.client.patch(ENDPOINTS, "kept", more, namespace="default")
    await cluster.client.delete(ENDPOINTS, "gone", namespace="default")


async def node_that_returns(cluster: Cluster) -> None:
    await create(cluster, (PODS, pod("on-it", nodeName="node-1")))
    await cluster.settle(30)
    cluster.nodes.silent.add("node-1")
    await cluster.settle(90)
    cluster.nodes.silent.clear()


async def node_that_is_lost(cluster: Cluster) -> None:
    soon = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    await create(cluster, (PODS, pod("on-it", nodeName="node-1", tolerations=[{**soon, "tolerationSeconds": 5}])))
    await cluster.settle(30)
    cluster.nodes.silent.add("node-1")
    await cluster.settle(90)
    cluster.nodes.names = ("node-0", "node-2")
    await cluster.client.delete(NODES, "node-1")
    cluster.nodes.silent.clear()


async def job_that_goes(cluster: Cluster) -> None:
    cluster.exits["work:1"] = lambda pod: 0
    await create(cluster, (JOBS, job(completions=2, ttlSecondsAfterFinished=10)))


async def budget(cluster: Cluster) -> None:
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "pdb"}}}
    await create(cluster, (PODDISRUPTIONBUDGETS, {"metadata": labelled("web"), "spec": spec}))
    await create(cluster, *((PODS, pod(name, {"app": "pdb"})) for name in ("x", "y", "z")))
    await cluster.settle(10)
    await cluster.client.delete(PODS, "y", namespace="default")


async def accounts(cluster: Cluster) -> None:
    await create(cluster, (NAMESPACES, {"metadata": {"name": "n"}}), (NAMESPACES, {"metadata": {"name": "m"}}))
    await cluster.settle(5)
    await cluster.client.delete(SERVICEACCOUNTS, "default", namespace="n")
    await cluster.client.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "x"}}, namespace="m")


async def finished_pods(cluster: Cluster) -> None:
    cluster.exits["image:1"] = lambda pod: 0
    await create(cluster, *((PODS, pod(f"p{n}", restartPolicy="Never")) for n in range(4)))


async def claim_in_use(cluster: Cluster) -> None:
    metadata = labelled("disk", finalizers=["kubernetes.io/pvc-protection"])
    await create(cluster, (PERSISTENTVOLUMECLAIMS, {"metadata": metadata, "spec": {"accessModes": []}}))
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}}]
    await create(cluster, (PODS, pod("user", volumes=volumes)))
    await cluster.settle(10)
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "disk", namespace="default")
    await cluster.settle(10)
    await cluster.client.delete(PODS, "user", namespace="default")


async def old_request(cluster: Cluster) -> None:
    spec = {"signerName": "example.com/x", "request": "", "usages": []}
    for name in ("one", "two"):
        await create(cluster, (CERTIFICATESIGNINGREQUESTS, {"metadata": {"name": name}, "spec": spec}))
    await cluster.settle(5)
    cluster.clock.jump(90_000)


async def stateful_set(cluster: Cluster) -> None:
    spec = {"replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template("db")}
    await create(cluster, (STATEFULSETS, {"metadata": labelled("db"), "spec": spec}))
    await cluster.settle(20)
    changed = {"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "main", "image": "image:2"}]}}}}
    await cluster.client.patch(STATEFULSETS, "db", changed, namespace="default")


DAYS = {
    "replication controller": Day(("replicationcontroller",), replication_controller, least_writes=7),
    "replica set": Day(("replicaset", "garbage-collector"), replica_set, least_writes=8),
    "daemon set": Day(("daemonset",), daemon_set, least_writes=10),
    "stateful set": Day(("statefulset",), stateful_set, 120, least_writes=9),
    "job": Day(("job", "ttl-after-finished", "garbage-collector"), job_that_goes, 120, least_writes=6),
    "garbage": Day(("garbage-collector",), garbage, least_writes=6),
    "namespace": Day(("namespace", "serviceaccount"), namespace, 120, least_writes=4),
    "quota": Day(("resourcequota",), quota, 30, least_writes=2),
    "endpoints": Day(("endpoints", "endpointslice", "garbage-collector"), endpoints, least_writes=6),
    "mirrored endpoints": Day(("endpointslice-mirroring",), mirroring, least_writes=4),
    "node that returns": Day(("node-lifecycle",), node_that_returns, 120, least_writes=4),
    "node that is lost": Day(("node-lifecycle", "pod-garbage-collector"), node_that_is_lost, 200, least_writes=4),
    "budget": Day(("disruption",), budget, least_writes=2),
    "accounts and authorities": Day(
        ("serviceaccount", "root-ca-certificate-publisher"), accounts, 10, least_writes=4
    ),
    "finished pods": Day(("pod-garbage-collector",), finished_pods, 120, least_writes=2),
    "claim in use": Day(("persistentvolumeclaim-protection",), claim_in_use),
    "old certificate requests": Day(
        ("certificatesigningrequest-cleaner",), old_request, LOOK_AGAIN_SECONDS, least_writes=2
    ),
}  # fmt: skip
