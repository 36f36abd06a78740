"""Volumes that are directories of a node: made where the pod will be, grown when asked, erased before they go."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.controllers.cluster import Cluster, running
from tests.controllers.storage import bindings, claim, create, events, get_claim, phases

from kontinuum.api.kontinuum.host_path import NODE_LABEL, PROVISIONER, ROOT, to_erase
from kontinuum.api.kubernetes.resources import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time

SELECTED = "volume.kubernetes.io/selected-node"


def scenario(main: Callable[[Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running(ControllersSettings(host_path_class="host-path")) as cluster:
            await cluster.settle(1)
            for name in cluster.nodes.names:
                labels = {NODE_LABEL: "true", "kubernetes.io/hostname": f"host-{name}"}
                metadata = {"labels": labels, "annotations": {ROOT: f"/data/{name}"}}
                await cluster.client.patch(NODES, name, {"metadata": metadata})
            await main(cluster)

    virtual_time.run(run)


async def wanted(cluster: Cluster, name: str, node: str = "node-0", **spec: Any) -> None:
    """A claim whose node the scheduler has selected."""
    await create(cluster, claim(name, storageClassName="host-path", **spec))
    await cluster.settle(1)
    await select(cluster, name, node)


async def select(cluster: Cluster, name: str, node: str) -> None:
    patch = {"metadata": {"annotations": {SELECTED: node}}}
    await cluster.client.patch(PERSISTENTVOLUMECLAIMS, name, patch, namespace="default")


def volumes(cluster: Cluster) -> list[Object]:
    return cluster.everything(PERSISTENTVOLUMES)


async def answer(cluster: Cluster, node: str) -> list[str]:
    """The node erases what it is asked to; the names of those volumes."""
    found = cluster.api.storage.get(NODES, node)
    assert found is not None
    names = to_erase(found)
    for name in names:
        patch = {"metadata": {"annotations": {f"erase.kontinuum.dev/{name}": None}}}
        await cluster.client.patch(NODES, node, patch)
    return names


def test_the_class_is_there_and_the_default_while_there_is_no_other() -> None:
    async def main(cluster: Cluster) -> None:
        [made] = cluster.everything(STORAGECLASSES)
        assert (name_of(made), made["provisioner"]) == ("host-path", PROVISIONER)
        assert annotations_of(made) == {"storageclass.kubernetes.io/is-default-class": "true"}
        await create(cluster, {"metadata": {"name": "other", "annotations": annotations_of(made)}, "provisioner": "x"})
        await cluster.client.delete(STORAGECLASSES, "host-path")
        await cluster.settle(5)
        again = cluster.api.storage.get(STORAGECLASSES, "host-path")
        assert again is not None and annotations_of(again) == {}

    scenario(main)


def test_a_claim_gets_a_directory_of_the_selected_node() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, claim("c", "3Gi", storageClassName="host-path"))
        await cluster.settle(5)
        assert volumes(cluster) == []
        await select(cluster, "c", "node-1")
        await cluster.settle(5)
        [made] = volumes(cluster)
        own = get_claim(cluster, "c")
        assert bindings(cluster) == {"c": name_of(made)}
        assert name_of(made) == f"pvc-{uid_of(own)}"
        assert made["spec"]["hostPath"] == {"path": f"/data/node-1/{name_of(made)}", "type": "DirectoryOrCreate"}
        [term] = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert term["matchExpressions"][0]["values"] == ["host-node-1"]
        assert made["spec"]["capacity"] == own["status"]["capacity"] == {"storage": "3Gi"}
        assert made["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        assert f"Normal ProvisioningSucceeded: Successfully provisioned volume {name_of(made)}" in events(cluster, "c")

    scenario(main)


def test_a_volume_goes_only_after_its_node_has_erased_it() -> None:
    async def main(cluster: Cluster) -> None:
        await wanted(cluster, "c")
        await cluster.settle(5)
        [made] = volumes(cluster)
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "c", namespace="default")
        await cluster.settle(700)
        assert phases(cluster) == {name_of(made): "Released"}
        assert await answer(cluster, "node-0") == [name_of(made)]
        await cluster.settle(5)
        assert volumes(cluster) == []
        assert await answer(cluster, "node-0") == []

    scenario(main)


def test_what_is_to_be_retained_is_never_erased() -> None:
    async def main(cluster: Cluster) -> None:
        await wanted(cluster, "c")
        await cluster.settle(5)
        [made] = volumes(cluster)
        patch = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
        await cluster.client.patch(PERSISTENTVOLUMES, name_of(made), patch)
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "c", namespace="default")
        await cluster.settle(700)
        assert phases(cluster) == {name_of(made): "Released"}
        await cluster.client.delete(PERSISTENTVOLUMES, name_of(made))
        await cluster.settle(5)
        assert volumes(cluster) == []
        assert await answer(cluster, "node-0") == []

    scenario(main)


def test_a_volume_of_a_node_that_is_gone_goes_too() -> None:
    async def main(cluster: Cluster) -> None:
        await wanted(cluster, "c")
        await cluster.settle(5)
        await cluster.client.delete(NODES, "node-0")
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "c", namespace="default")
        await cluster.settle(5)
        assert volumes(cluster) == []

    scenario(main)


def test_a_volume_grows_when_its_claim_asks() -> None:
    async def main(cluster: Cluster) -> None:
        await wanted(cluster, "c")
        await cluster.settle(5)
        patch = {"spec": {"resources": {"requests": {"storage": "7Gi"}}}}
        await cluster.client.patch(PERSISTENTVOLUMECLAIMS, "c", patch, namespace="default")
        await cluster.settle(5)
        [made] = volumes(cluster)
        assert made["spec"]["capacity"] == {"storage": "7Gi"}
        # What is in it grows on its node, which then tells the claim.
        status = get_claim(cluster, "c")["status"]
        assert status["capacity"] != {"storage": "7Gi"}
        assert [one["type"] for one in status["conditions"]] == ["FileSystemResizePending"]
        told = events(cluster, "c")
        assert "Normal FileSystemResizeRequired: Require file system resize of volume on node" in told
        assert not any("ExternalExpanding" in one for one in told)

    scenario(main)


@pytest.mark.parametrize(
    ("spec", "node", "problem"),
    [
        (
            {"dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}},
            "node-0",
            "host-path volumes begin empty: a data source is not supported",
        ),
        (
            {},
            "elsewhere",
            f'node "elsewhere" keeps no host-path volumes: only nodes with the label {NODE_LABEL}=true do',
        ),
    ],
)
def test_what_cannot_be_made_is_refused_and_left_to_the_scheduler(spec: Object, node: str, problem: str) -> None:
    async def main(cluster: Cluster) -> None:
        await wanted(cluster, "c", node, **spec)
        await cluster.settle(5)
        assert volumes(cluster) == []
        assert f"Warning ProvisioningFailed: {problem}" in events(cluster, "c")
        assert SELECTED not in annotations_of(get_claim(cluster, "c"))

    scenario(main)


def run_life(prepare: Callable[[Cluster], None]) -> tuple[list[str], list[int]]:
    """A claim is made, bound, deleted; what is left of it and of another, and the numbers of the writes."""

    async def run() -> tuple[list[str], list[int]]:
        storage = ("persistentvolume-binder", "host-path-provisioner", "persistentvolume-protection")
        async with running(ControllersSettings(host_path_class="host-path", enabled=storage)) as cluster:
            await cluster.settle(1)
            await cluster.client.patch(NODES, "node-0", {"metadata": {"annotations": {ROOT: "/data"}}})
            prepare(cluster)
            await wanted(cluster, "goes")
            await wanted(cluster, "stays")
            await cluster.settle(3)
            await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "goes", namespace="default")
            erased: list[str] = []
            for _ in range(15):
                await cluster.settle(5)
                with contextlib.suppress(ApiError):
                    erased += await answer(cluster, "node-0")
            kept = {f"pvc-{uid_of(get_claim(cluster, 'stays'))}"}
            assert not kept & set(erased), "a volume was erased whose claim is there"
            assert erased, "the volume is gone, but nobody erased it"
            writes = [n for n, one in enumerate(cluster.faults.writes, 1) if "/persistentvolume" in one.path]
            return [f"{bindings(cluster).keys()} {phases(cluster).values()}"], writes

    return virtual_time.run(run)


def test_wherever_the_controllers_are_killed_no_data_is_lost_or_left() -> None:
    expected, writes = run_life(lambda cluster: None)
    assert expected == ["dict_keys(['stays']) dict_values(['Bound'])"]
    assert len(writes) > 12
    for point in writes:

        def kill_at(cluster: Cluster, point: int = point) -> None:
            def after_write(number: int, request: object) -> None:
                if number == point:
                    cluster.replace_controllers()

            cluster.faults.after_write = after_write

        assert run_life(kill_at)[0] == expected, f"killed after write {point}"
        lost, _ = run_life(lambda cluster, point=point: cluster.faults.lose_answer(point))  # type: ignore[misc]
        assert lost == expected, f"the answer to write {point} was lost"
