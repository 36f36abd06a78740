"""metrics.k8s.io: what a real node server tells becomes what ``kubectl top`` shows, and nothing is made up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.commands import Kubectl
from tests.apiserver.people import serving_people
from tests.apiserver.serving import PODS, TABLE, Api, Certificates, pod, serving
from tests.apiserver.wardle import API_SERVICES
from tests.node.fake_runtime import FakeRuntime

from kontinuum.apiserver.app import ApiServer
from kontinuum.apiserver.usage.collector import collect_once
from kontinuum.client.connect import connect
from kontinuum.client.kubeconfig import Connection
from kontinuum.controllers import manager
from kontinuum.controllers.lib.scaling_ratio import Unknown
from kontinuum.controllers.metrics import Metrics
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation.clock import RealClock, rfc3339
from kontinuum.foundation.pki import Authority, KeyPair
from kontinuum.node.observed import Container, ContainerState, Observed, Sandbox
from kontinuum.node.pages import Pages
from kontinuum.node.probe_counts import ProbeCounts
from kontinuum.node.server import NodeServer
from kontinuum.node.settings import NodeSettings
from kontinuum.node.usage.gathering import Gatherer
from kontinuum.node.usage.measuring import Meter
from kontinuum.store.memory.store import MemoryStore

METRICS = "/apis/metrics.k8s.io/v1beta1"
POD_METRICS = f"{METRICS}/namespaces/default/pods"
SLOWLY = 3600.0
"""The collector asks when the server starts, before there is any node; then the tests ask."""


@dataclass
class Known:
    pod: Any
    observed: Observed
    places: Mapping[str, Path] = field(default_factory=dict)


@dataclass
class World:
    api: Api
    runtime: FakeRuntime
    known: dict[tuple[str, str], Known]

    async def collect(self) -> None:
        await collect_once(context_of(self.api.server))

    async def run_pod(self, name: str, *containers: str, container: Any = None) -> None:
        """A pod of the API that runs on the node; ``container`` is what is said of each."""
        body = pod(name, nodeName="n1")
        said = container or {"image": "localhost/nginx:1"}
        body["spec"]["containers"] = [{**said, "name": one} for one in containers]
        made = (await self.api.create(PODS, body)).body
        uid, now = made["metadata"]["uid"], self.runtime.clock.time()
        sandbox = Sandbox(f"s-{name}", uid, "default", name, 0, is_ready=True, created_at=now)
        self.runtime.sandboxes[sandbox.id] = sandbox
        running = [
            Container(f"{name}-{one}", sandbox.id, one, 0, ContainerState.RUNNING, now, now) for one in containers
        ]
        for one in running:
            self.runtime.containers[one.id] = (uid, one)
        self.known["default", name] = Known(made, Observed.of([sandbox], running))


def is_half(cpu: str) -> bool:
    """Of one CPU, in nanocores. Times are told in microseconds, and kept in floating point."""
    return cpu.endswith("n") and abs(int(cpu[:-1]) - 500_000_000) < 100_000


def context_of(server: ApiServer) -> Any:
    return server._context


@contextlib.asynccontextmanager
async def node(directory: Path, runtime: FakeRuntime, known: dict[tuple[str, str], Known]) -> AsyncIterator[Any]:
    """The node's server, and how the API server reaches it."""
    authority = Authority.ensure(directory / "node", RealClock(), name="node")
    own = authority.ensure_server("node-server", common_name="system:node:n1", hosts=["127.0.0.1"])
    to_nodes: KeyPair = authority.ensure_client("to-nodes", user="kube-apiserver-kubelet-client")
    settings = NodeSettings(
        name="n1",
        data_dir=str(directory / "data"),
        listen="127.0.0.1:0",
        certificate=str(own.certificate),
        key=str(own.key),
        client_ca=str(authority.certificate),
    )
    settings.imagefs.mkdir(parents=True)
    clock = RealClock()
    gatherer = Gatherer("n1", settings, runtime, clock, Meter(runtime, clock, settings), known.values)
    pages = Pages("n1", settings, gatherer, ProbeCounts(), known=known.values, evictions=dict)
    async with NodeServer(settings, runtime, clock, find_pod=lambda *key: known.get(key), pages=pages.routes) as server:
        yield (
            server.port,
            {
                "node_client_certificate": to_nodes.certificate,
                "node_client_key": to_nodes.key,
                "node_ca": authority.certificate,
                "metrics_seconds": SLOWLY,
            },
        )


@pytest.fixture
async def world(certificates: Certificates, tmp_path: Path) -> AsyncIterator[World]:
    runtime, known = FakeRuntime(RealClock()), dict[tuple[str, str], Known]()
    async with (
        node(tmp_path, runtime, known) as (port, settings),
        serving(MemoryStore(), certificates, **settings) as api,
    ):
        await register(api, port)
        yield World(api, runtime, known)


async def register(api: Api, port: int) -> None:
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    labels = {"disk": "fast"}
    made = await api.create("/api/v1/nodes", {"metadata": {"name": "n1", "labels": labels}, "status": status})
    assert made.code == 201


async def test_two_readings_make_a_rate(world: World) -> None:
    await world.run_pod("web", "main", "side")
    missing = await world.api.get(f"{POD_METRICS}/web")
    assert (missing.code, missing.body["message"]) == (404, 'podmetrics.metrics.k8s.io "default/web" not found')
    await world.collect()
    assert (await world.api.get(f"{POD_METRICS}/web")).code == 404, "one reading says nothing of a rate"
    assert (await world.api.get(f"{METRICS}/nodes/n1")).code == 404
    await asyncio.sleep(0.3)
    await world.collect()
    found = (await world.api.get(f"{POD_METRICS}/web")).body
    assert (found["kind"], found["apiVersion"]) == ("PodMetrics", "metrics.k8s.io/v1beta1")
    assert found["metadata"]["labels"] == {"app": "web"} and found["window"].endswith("s")
    assert [one["name"] for one in found["containers"]] == ["main", "side"]
    for one in found["containers"]:
        assert one["usage"]["memory"] == "10240Ki" and is_half(one["usage"]["cpu"])
    used = (await world.api.get(f"{METRICS}/nodes/n1")).body
    assert used["kind"] == "NodeMetrics" and used["metadata"]["labels"] == {"disk": "fast"}
    assert used["usage"]["memory"].endswith("Ki") and int(used["usage"]["memory"][:-2]) > 1024


async def test_an_autoscaler_reads_what_is_served(world: World, certificates: Certificates) -> None:
    await world.run_pod("web", "main", "side")
    await world.collect()
    await asyncio.sleep(0.05)
    await world.collect()
    admin = certificates.admin
    client = connect(Connection(world.api.address, certificates.authority, admin.certificate, admin.key))
    try:
        metrics = Metrics(client)
        whole = (await metrics.of_resource("default", "app=web", "cpu"))["web"]
        assert abs(whole.value - 1000) <= 10 and whole.window > 0 and abs(whole.at - time.time()) < 60
        main = (await metrics.of_resource("default", "app=web", "memory", "main"))["web"]
        assert main.value == 10 * 1024 * 1024 * 1000
        with pytest.raises(Unknown, match="no metrics returned from resource metrics API"):
            await metrics.of_resource("default", "app=none", "cpu")
        with pytest.raises(Unknown, match="unable to fetch metrics from custom metrics API: "):
            await metrics.of_pods("default", "app=web", "hits", "")
    finally:
        await client.close()


async def test_what_nodes_tell_makes_an_autoscaler_scale(world: World, certificates: Certificates) -> None:
    """All the way: a node's answer, our metrics.k8s.io, the controller, the ``scale`` of a ReplicaSet."""
    admin = certificates.admin
    client = connect(Connection(world.api.address, certificates.authority, admin.certificate, admin.key))
    container = {"name": "main", "image": "localhost/nginx:1", "resources": {"requests": {"cpu": "250m"}}}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    target = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
    scaling = {"scaleTargetRef": target, "maxReplicas": 9, "minReplicas": 1}
    sets = "/apis/apps/v1/namespaces/default/replicasets"
    scalers = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    await world.api.create(sets, {"metadata": {"name": "web"}, "spec": spec})
    await world.run_pod("web", "main", container=container)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(time.time() - 60)}
    status = {"phase": "Running", "startTime": rfc3339(time.time() - 60), "conditions": [ready]}
    assert (await world.api.patch(f"{PODS}/web/status", {"status": status})).code == 200
    await world.collect()
    await asyncio.sleep(0.3)
    await world.collect()
    await world.api.create(scalers, {"metadata": {"name": "web"}, "spec": scaling})
    settings = ControllersSettings(enabled=("horizontalpodautoscaler",), autoscaling_cpu_initialization_seconds=0)
    working = asyncio.create_task(manager.run(client, RealClock(), settings))
    try:
        async with asyncio.timeout(60):
            while (await world.api.get(f"{sets}/web")).body["spec"]["replicas"] == 1:
                await asyncio.sleep(0.05)
            # Half a CPU of a quarter that is requested is 200 %, of which 80 % are wanted.
            assert (await world.api.get(f"{sets}/web")).body["spec"]["replicas"] == 3
            while not (found := (await world.api.get(f"{scalers}/web")).body["status"]).get("currentMetrics"):
                await asyncio.sleep(0.05)
        assert found["currentMetrics"][0]["resource"]["current"]["averageUtilization"] in (199, 200)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await client.close()


async def test_lists_follow_the_selectors_of_the_pods_themselves(world: World) -> None:
    for name in ("web", "db"):
        await world.run_pod(name, "main")
    await world.api.create(PODS, pod("elsewhere"))
    await world.collect()
    await asyncio.sleep(0.05)
    await world.collect()

    async def names(query: str = "", path: str = POD_METRICS) -> list[str]:
        body = (await world.api.get(path + query)).body
        assert body["kind"] == "PodMetricsList"
        return [one["metadata"]["name"] for one in body["items"]]

    assert await names() == ["db", "web"]
    assert await names(path=f"{METRICS}/pods") == ["db", "web"]
    assert await names("?labelSelector=app%3Dweb") == ["web"]
    assert await names("?fieldSelector=metadata.name%3Ddb") == ["db"]
    assert await names(path=f"{METRICS}/namespaces/kube-system/pods") == []
    nodes = (await world.api.get(f"{METRICS}/nodes?labelSelector=disk%3Dfast")).body
    assert nodes["kind"] == "NodeMetricsList" and len(nodes["items"]) == 1
    table = (await world.api.get(POD_METRICS, accept=TABLE)).body
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    name, cpu, memory, _ = table["rows"][0]["cells"]
    assert (name, memory) == ("db", "10240Ki") and is_half(cpu)


async def test_a_container_that_has_begun_again_has_no_rate_yet(world: World) -> None:
    await world.run_pod("web", "main")
    await world.collect()
    await asyncio.sleep(0.05)
    await world.collect()
    assert (await world.api.get(f"{POD_METRICS}/web")).code == 200
    known = world.known["default", "web"]
    old = known.observed.containers[0]
    again = Container(
        "web-again", old.sandbox_id, "main", 1, ContainerState.RUNNING, old.created_at, old.started_at + 2
    )
    del world.runtime.containers[old.id]
    world.runtime.containers[again.id] = (known.pod["metadata"]["uid"], again)
    known.observed = Observed.of(known.observed.sandboxes, [again])
    await asyncio.sleep(0.05)
    await world.collect()
    assert (await world.api.get(f"{POD_METRICS}/web")).code == 404


async def test_what_is_gone_is_forgotten(world: World) -> None:
    await world.run_pod("web", "main")
    for _ in range(2):
        await world.collect()
        await asyncio.sleep(0.05)
    await world.api.delete("/api/v1/nodes/n1")
    await world.collect()
    assert (await world.api.get(f"{METRICS}/nodes")).body["items"] == []
    assert (await world.api.get(POD_METRICS)).body["items"] == []


async def test_a_node_that_does_not_answer_costs_the_others_nothing(world: World) -> None:
    away = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}},
    }
    await world.api.create("/api/v1/nodes", {"metadata": {"name": "away"}, "status": away})
    await world.api.create("/api/v1/nodes", {"metadata": {"name": "new"}})
    for _ in range(2):
        await world.collect()
        await asyncio.sleep(0.05)
    listed = (await world.api.get(f"{METRICS}/nodes")).body["items"]
    assert [one["metadata"]["name"] for one in listed] == ["n1"]


async def test_only_reading_is_promised_and_answered(world: World) -> None:
    found = (await world.api.get(METRICS)).body
    assert [(one["name"], one["kind"], one["verbs"]) for one in found["resources"]] == [
        ("nodes", "NodeMetrics", ["get", "list"]), ("pods", "PodMetrics", ["get", "list"]),
    ]  # fmt: skip
    assert (await world.api.create(POD_METRICS, {"metadata": {"name": "x"}})).code == 405
    assert (await world.api.delete(f"{POD_METRICS}/x")).code == 405
    groups = [one["name"] for one in (await world.api.get("/apis")).body["groups"]]
    assert groups[-1] == "metrics.k8s.io", "whoever says pods means the core group's"
    described = (await world.api.get("/openapi/v3/apis/metrics.k8s.io/v1beta1")).body["components"]["schemas"]
    assert "usage" in described["io.k8s.metrics.v1beta1.NodeMetrics"]["properties"]
    assert "io.k8s.metrics.v1beta1.PodMetrics" in (await world.api.get("/openapi/v2")).body["definitions"]


async def test_an_installed_metrics_server_takes_over_until_it_is_removed(world: World) -> None:
    name = "v1beta1.metrics.k8s.io"
    own = (await world.api.get(f"{API_SERVICES}/{name}")).body
    assert "service" not in own["spec"] and own["spec"]["groupPriorityMinimum"] == 100
    service = {"name": "metrics-server", "namespace": "kube-system"}
    change = {"spec": {"service": service, "insecureSkipTLSVerify": True}}
    assert (await world.api.patch(f"{API_SERVICES}/{name}", change)).code == 200
    # Theirs is asked, although it is not there (yet); ours keeps silent.
    away = await world.api.get(f"{METRICS}/nodes")
    assert (away.code, away.body) == (503, "service unavailable\n")
    await world.api.delete(f"{API_SERVICES}/{name}")
    assert (await world.api.get(f"{METRICS}/nodes")).code == 200


async def test_whoever_may_view_a_namespace_may_see_what_its_pods_use(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with serving_people(certificates, tmp_path, {"jane": ()}) as people:
        jane = people.as_user("jane")
        assert (await jane.get(POD_METRICS)).code == 403
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
        await people.admin.create(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            {"metadata": {"name": "jane"}, "subjects": [subject], "roleRef": role},
        )
        assert (await jane.get(POD_METRICS)).code == 200
        assert (await jane.get(f"{METRICS}/namespaces/kube-system/pods")).code == 403
        assert (await jane.get(f"{METRICS}/nodes")).code == 403


async def test_without_asking_nodes_the_group_is_not_there(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, metrics_seconds=0) as api:
        assert (await api.get(METRICS)).code == 404
        assert (await api.get(f"{API_SERVICES}/v1beta1.metrics.k8s.io")).code == 404


async def test_kubectl_top_shows_pods_containers_and_nodes(
    world: World, certificates: Certificates, tmp_path: Path
) -> None:
    await world.run_pod("web", "main", "side")
    capacity = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    node_status = {"status": {"capacity": capacity, "allocatable": capacity}}
    assert (await world.api.patch("/api/v1/nodes/n1/status", node_status)).code == 200
    for _ in range(2):
        await world.collect()
        await asyncio.sleep(0.2)
    kubectl = Kubectl(world.api, certificates, tmp_path)

    async def top(*arguments: str) -> list[list[str]]:
        return [line.split() for line in (await kubectl("top", *arguments, "--no-headers")).splitlines()]

    # kubectl rounds up, and the readings are a few nanocores off.
    ((name, cpu, memory),) = await top("pods")
    assert (name, memory) == ("web", "20Mi") and cpu in ("1000m", "1001m")
    both = await top("pods", "--containers")
    assert [(one[0], one[1], one[3]) for one in both] == [("web", "main", "10Mi"), ("web", "side", "10Mi")]
    assert all(one[2] in ("500m", "501m") for one in both)
    ((name, cpu, cpu_share, memory, memory_share),) = await top("nodes")
    assert name == "n1" and cpu.endswith("m") and memory.endswith("Mi")
    assert cpu_share.endswith("%") and memory_share.endswith("%")
