"""What has lost its last owner goes; what has one left stays; whoever deletes decides when and how."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, deployment, scenario

from kontinuum.api.kubernetes.resources import CONFIGMAPS, DEPLOYMENTS, LEASES, NODES, PODS, REPLICASETS, SECRETS
from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError


def owned(name: str, *owners: tuple[Resource, Object], blocks: bool = False, **metadata: Any) -> Object:
    references = [
        {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "name": name_of(owner),
            "uid": uid_of(owner),
            "blockOwnerDeletion": blocks,
        }
        for resource, owner in owners
    ]
    return {"metadata": {"name": name, "namespace": "default", "ownerReferences": references, **metadata}}


def names(cluster: Cluster, resource: Resource) -> set[str]:
    return {name_of(obj) for obj in cluster.everything(resource)}


def test_a_deleted_deployment_takes_its_replica_sets_and_pods_along() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle()
        await cluster.client.delete(DEPLOYMENTS, "web", namespace="default")
        await cluster.settle(20)
        assert cluster.everything(REPLICASETS) == []
        assert cluster.everything(PODS) == []

    scenario(main)


def test_in_the_foreground_owners_go_after_what_they_own() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle()
        cluster.nodes.stop_seconds = 10
        await cluster.client.delete(DEPLOYMENTS, "web", namespace="default", propagation="Foreground")
        await cluster.settle(5)
        assert (len(names(cluster, DEPLOYMENTS)), len(names(cluster, REPLICASETS)), len(names(cluster, PODS))) == (
            1,
            1,
            3,
        )
        log = len(cluster.api.storage.log)
        await cluster.settle(20)
        removals = [entry.resource.plural for entry in cluster.api.storage.log[log:] if entry.new is None]
        assert removals == ["pods", "pods", "pods", "replicasets", "deployments"]

    scenario(main)


def test_orphans_stay_and_are_adopted_by_the_next_owner_of_that_name() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle()
        pods = {uid_of(pod) for pod in cluster.pods()}
        await cluster.client.delete(DEPLOYMENTS, "web", namespace="default", propagation="Orphan")
        await cluster.settle(20)
        (replicaset,) = cluster.everything(REPLICASETS)
        assert names(cluster, DEPLOYMENTS) == set()
        assert not replicaset["metadata"].get("ownerReferences")
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle(20)
        assert len(cluster.everything(REPLICASETS)) == 1
        assert {uid_of(pod) for pod in cluster.pods()} == pods

    scenario(main)


def test_a_child_of_two_stays_with_the_one_that_is_left() -> None:
    async def main(cluster: Cluster) -> None:
        one = await cluster.client.create(SECRETS, owned("one"))
        two = await cluster.client.create(SECRETS, owned("two"))
        await cluster.client.create(CONFIGMAPS, owned("child", (SECRETS, one), (SECRETS, two)))
        await cluster.settle(5)
        await cluster.client.delete(SECRETS, "one", namespace="default")
        await cluster.settle(5)
        assert names(cluster, CONFIGMAPS) == {"child"}
        await cluster.client.delete(SECRETS, "two", namespace="default")
        await cluster.settle(5)
        assert names(cluster, CONFIGMAPS) == set()

    scenario(main)


def test_a_child_that_names_an_owner_of_another_life_is_collected() -> None:
    async def main(cluster: Cluster) -> None:
        owner = await cluster.client.create(SECRETS, owned("owner"))
        await cluster.client.delete(SECRETS, "owner", namespace="default")
        await cluster.client.create(SECRETS, owned("owner"))
        await cluster.client.create(CONFIGMAPS, owned("child", (SECRETS, owner)))
        await cluster.settle(5)
        assert names(cluster, CONFIGMAPS) == set()

    scenario(main)


def test_a_child_of_an_unknown_kind_stays_because_nobody_can_say_that_its_owner_is_gone() -> None:
    async def main(cluster: Cluster) -> None:
        child = owned("child")
        child["metadata"]["ownerReferences"] = [
            {"apiVersion": "example.com/v1", "kind": "Strange", "name": "x", "uid": "some-uid"}
        ]
        await cluster.client.create(CONFIGMAPS, child)
        await cluster.settle(600)
        assert names(cluster, CONFIGMAPS) == {"child"}

    scenario(main)


def test_a_namespaced_child_of_a_cluster_scoped_owner_is_collected() -> None:
    async def main(cluster: Cluster) -> None:
        node = await cluster.client.create(NODES, {"metadata": {"name": "extra"}})
        await cluster.client.create(CONFIGMAPS, owned("child", (NODES, node)))
        await cluster.settle(5)
        assert names(cluster, CONFIGMAPS) == {"child"}
        await cluster.client.delete(NODES, "extra")
        await cluster.settle(5)
        assert names(cluster, CONFIGMAPS) == set()

    scenario(main)


def test_a_circle_deleted_in_the_foreground_does_not_wait_for_itself() -> None:
    async def main(cluster: Cluster) -> None:
        one = await cluster.client.create(SECRETS, owned("one"))
        two = await cluster.client.create(CONFIGMAPS, owned("two", (SECRETS, one), blocks=True))
        circle = owned("one", (CONFIGMAPS, two), blocks=True)["metadata"]["ownerReferences"]
        patch = {"metadata": {"ownerReferences": circle}}
        await cluster.client.patch(SECRETS, "one", patch, namespace="default")
        await cluster.settle(5)
        await cluster.client.delete(SECRETS, "one", namespace="default", propagation="Foreground")
        await cluster.settle(30)
        assert (names(cluster, SECRETS), names(cluster, CONFIGMAPS)) == (set(), set())

    scenario(main)


def test_leases_go_with_what_owns_them_though_nobody_watches_them() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(70)
        await cluster.client.delete(NODES, "node-1")
        await cluster.settle(5)
        assert names(cluster, LEASES) == {"node-0", "node-2"}
        gone = {"metadata": {"name": "gone", "uid": "of-another-life"}}
        await cluster.client.create(LEASES, owned("late", (NODES, gone)))
        await cluster.settle(70)
        assert names(cluster, LEASES) == {"node-0", "node-2"}

    scenario(main)


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_a_lost_watch_loses_no_garbage(propagation: str) -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle()
        cluster.faults.down = True
        cluster.api.drop_watches()
        await cluster.client.delete(DEPLOYMENTS, "web", namespace="default", propagation=propagation)
        cluster.api.compact()
        await cluster.settle(60)
        cluster.faults.down = False
        await cluster.settle(120)
        assert cluster.everything(PODS) == []
        assert cluster.everything(DEPLOYMENTS) == []

    scenario(main)


@settings(max_examples=20, deadline=None)
@given(
    parents=st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=8, max_size=8),
    deleted=st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["Background", "Foreground"])), max_size=4),
    blocks=st.booleans(),
)
def test_exactly_what_no_living_object_owns_is_collected(
    parents: list[set[int]], deleted: list[tuple[int, str]], blocks: bool
) -> None:
    """Objects 0 to 7; each may be owned by ones with smaller numbers."""

    async def main(cluster: Cluster) -> None:
        made: list[Object] = []
        owners = [sorted(one for one in wished if one < number) for number, wished in enumerate(parents)]
        for number in range(8):
            references = [(CONFIGMAPS, made[one]) for one in owners[number]]
            made.append(await cluster.client.create(CONFIGMAPS, owned(f"c{number}", *references, blocks=blocks)))
        await cluster.settle(5)
        for number, propagation in deleted:
            if cluster.api.storage.get(CONFIGMAPS, f"default/c{number}"):
                name = f"c{number}"
                try:
                    await cluster.client.delete(CONFIGMAPS, name, namespace="default", propagation=propagation)
                except ApiError as error:
                    # The collector was quicker: an object that waited for its dependents is gone by now.
                    assert error.is_not_found
        await cluster.settle(300)
        gone = {number for number, _ in deleted}
        for number in range(8):
            if owners[number] and all(one in gone for one in owners[number]):
                gone.add(number)
        assert names(cluster, CONFIGMAPS) == {f"c{number}" for number in range(8) if number not in gone}
        before = len(cluster.faults.writes)
        await cluster.settle(600)
        assert cluster.faults.writes[before:] == []

    scenario(main)
