"""Pods are labelled with the zone and region of the node that they are put on."""

from __future__ import annotations

from typing import Any

from tests.apiserver.serving import PODS, Api, pod

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
NODE = {"metadata": {"name": "n1", "labels": {ZONE: "z1", REGION: "r1", "kubernetes.io/arch": "amd64"}}}


async def labels_of(api: Api, name: str) -> Any:
    return (await api.get(f"{PODS}/{name}")).body["metadata"]["labels"]


async def bind(api: Api, name: str, node: str, **labels: str) -> int:
    body = {"metadata": {"name": name, "labels": labels}, "target": {"kind": "Node", "name": node}}
    return (await api.create(f"{PODS}/{name}/binding", body)).code


async def test_a_pod_gets_its_nodes_zone_and_region_when_it_is_bound(api: Api) -> None:
    await api.create("/api/v1/nodes", NODE)
    await api.create(PODS, pod("a"))
    assert await labels_of(api, "a") == {"app": "a"}
    assert await bind(api, "a", "n1", more="yes") == 201
    assert await labels_of(api, "a") == {"app": "a", "more": "yes", ZONE: "z1", REGION: "r1"}


async def test_a_pod_that_is_created_on_a_node_gets_them_at_once_and_keeps_its_own(api: Api) -> None:
    await api.create("/api/v1/nodes", NODE)
    body = pod("a", nodeName="n1")
    body["metadata"]["labels"][ZONE] = "mine"
    made = await api.create(PODS, body)
    assert made.body["metadata"]["labels"] == {"app": "a", ZONE: "mine", REGION: "r1"}


async def test_a_node_that_is_not_there_or_says_nothing_adds_nothing(api: Api) -> None:
    await api.create("/api/v1/nodes", {"metadata": {"name": "plain"}})
    for name, node in (("a", "plain"), ("b", "absent")):
        await api.create(PODS, pod(name))
        assert await bind(api, name, node) == 201
        assert await labels_of(api, name) == {"app": name}
