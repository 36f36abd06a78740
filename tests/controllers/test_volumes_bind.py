"""Claims get the volumes that fit them, keep them, and lose them only as Kubernetes says."""

from __future__ import annotations

import pytest
from tests.controllers.cluster import Cluster, scenario
from tests.controllers.storage import (
    PROVISIONER,
    bindings,
    claim,
    create,
    events,
    get_claim,
    get_volume,
    phases,
    storage_class,
    volume,
)

from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from kontinuum.api.machinery.objects import Object, annotations_of

COMPLETED, BY_US = "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"


def reserved(name: str, for_claim: str, **spec: object) -> Object:
    return volume(name, claimRef={"namespace": "default", "name": for_claim}, **spec)


def test_a_claim_gets_the_smallest_volume_that_holds_it() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, volume("large", "10Gi"), volume("right", "2Gi"), volume("small", "1Gi"))
        await cluster.settle(5)
        assert phases(cluster) == {"large": "Available", "right": "Available", "small": "Available"}
        await create(cluster, claim("c", "1500Mi"))
        await cluster.settle(5)
        bound, given = get_claim(cluster, "c"), get_volume(cluster, "right")
        assert bindings(cluster) == {"c": "right"}
        assert phases(cluster) == {"large": "Available", "right": "Bound", "small": "Available"}
        assert annotations_of(bound) == {COMPLETED: "yes", BY_US: "yes"}
        assert annotations_of(given) == {BY_US: "yes"}
        assert bound["status"]["capacity"] == {"storage": "2Gi"}
        assert bound["status"]["accessModes"] == ["ReadWriteOnce"]
        reference = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": "default", "name": "c"}
        assert reference.items() <= given["spec"]["claimRef"].items()
        assert given["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]

    scenario(main)


@pytest.mark.parametrize(
    ("offer", "wish"),
    [
        ({"storageClassName": "fast"}, {}),
        ({}, {"storageClassName": "fast"}),
        ({"volumeMode": "Block"}, {}),
        ({}, {"accessModes": ["ReadWriteMany"]}),
        ({}, {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}),
        ({}, {"selector": {"matchLabels": {"disk": "ssd"}}}),
        ({}, {"resources": {"requests": {"storage": "2Gi"}}}),
        ({"volumeAttributesClassName": "gold"}, {}),
        ({"claimRef": {"namespace": "default", "name": "other"}}, {}),
        ({"claimRef": {"namespace": "other", "name": "c"}}, {}),
    ],
)
def test_a_claim_does_not_get_what_does_not_fit(offer: Object, wish: Object) -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, volume("v", **offer), claim("c", **wish))
        await cluster.settle(20)
        assert bindings(cluster) == {}
        assert phases(cluster) == {"v": "Available"}
        assert "resourceVersion" in get_claim(cluster, "c")["metadata"]

    scenario(main)


def test_a_claim_that_nothing_fits_says_so_and_gets_what_comes_later() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, claim("c"))
        await cluster.settle(5)
        text = "Normal FailedBinding: no persistent volumes available for this claim and no storage class is set"
        assert events(cluster, "c") == [text]
        assert get_claim(cluster, "c")["status"] == {"phase": "Pending"}
        await create(cluster, volume("v"))
        await cluster.settle(5)
        assert bindings(cluster) == {"c": "v"}

    scenario(main)


def test_a_reserved_volume_goes_to_its_claim_alone() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, reserved("mine", "c", capacity={"storage": "9Gi"}), volume("smaller"))
        await create(cluster, claim("other", "5Gi"), claim("c"))
        await cluster.settle(5)
        assert bindings(cluster) == {"c": "mine"}
        assert BY_US not in annotations_of(get_volume(cluster, "mine"))
        assert BY_US in annotations_of(get_claim(cluster, "c"))

    scenario(main)


def test_a_claim_may_name_its_volume() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, claim("c", volumeName="v"), claim("d", volumeName="v"))
        await cluster.settle(5)
        assert bindings(cluster) == {}
        await create(cluster, volume("v"))
        await cluster.settle(5)
        [(winner, _)] = bindings(cluster).items()
        assert BY_US not in annotations_of(get_claim(cluster, winner))
        loser = {"c": "d", "d": "c"}[winner]
        assert events(cluster, loser) == ['Warning FailedBinding: volume "v" already bound to a different claim.']

    scenario(main)


@pytest.mark.parametrize(
    ("offer", "problem"),
    [
        ({"capacity": {"storage": "1Mi"}}, "requested PV is too small"),
        ({"storageClassName": "fast"}, "storageClassName does not match"),
        ({"volumeMode": "Block"}, "incompatible volumeMode"),
        ({"accessModes": ["ReadOnlyMany"]}, "incompatible accessMode"),
        ({"volumeAttributesClassName": "gold"}, "volumeAttributesClassName does not match"),
    ],
)
def test_a_named_volume_that_does_not_fit_is_refused(offer: Object, problem: str) -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, volume("v", **offer), claim("c", volumeName="v"))
        await cluster.settle(20)
        assert bindings(cluster) == {}
        assert events(cluster, "c") == [f'Warning VolumeMismatch: Cannot bind to requested volume "v": {problem}']

    scenario(main)


def test_a_provisioner_is_asked_and_what_it_makes_is_bound() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, storage_class("fast"), claim("c", storageClassName="fast"))
        await cluster.settle(5)
        asked = get_claim(cluster, "c")
        for prefix in ("volume", "volume.beta"):
            assert annotations_of(asked)[f"{prefix}.kubernetes.io/storage-provisioner"] == PROVISIONER
        assert events(cluster, "c") == [
            f"Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner "
            f"'{PROVISIONER}' or manually by the system administrator. If volume creation is delayed, please verify "
            "that the provisioner is running and correctly registered."
        ]
        reference = {"namespace": "default", "name": "c", "uid": asked["metadata"]["uid"]}
        await create(cluster, volume("pvc-1", storageClassName="fast", claimRef=reference))
        await cluster.settle(5)
        assert bindings(cluster) == {"c": "pvc-1"}

    scenario(main)


@pytest.mark.parametrize(
    ("provisioner", "problem"),
    [
        ("", 'storageclass.storage.k8s.io "fast" not found'),
        ("kubernetes.io/no-provisioner", "no volume plugin matched name: kubernetes.io/no-provisioner"),
    ],
)
def test_a_class_that_nobody_provisions_says_so(provisioner: str, problem: str) -> None:
    async def main(cluster: Cluster) -> None:
        if provisioner:
            await create(cluster, {**storage_class("fast"), "provisioner": provisioner})
        await create(cluster, claim("c", storageClassName="fast"))
        await cluster.settle(5)
        assert events(cluster, "c") == [f"Warning ProvisioningFailed: {problem}"]

    scenario(main)


def test_a_claim_whose_class_waits_is_left_to_the_scheduler() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.nodes.names = ()
        cluster.node_faults.down = True
        await create(cluster, storage_class("local", waits=True), volume("v", storageClassName="local"))
        await create(cluster, claim("c", storageClassName="local"))
        await cluster.settle(5)
        text = "Normal WaitForFirstConsumer: waiting for first consumer to be created before binding"
        assert events(cluster, "c") == [text]
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]
        for name in ("p", "q"):
            spec = {"containers": [{"name": "main", "image": "i"}], "volumes": volumes}
            await cluster.client.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
            await cluster.settle(5)
        assert events(cluster, "c")[1:] == [
            "Normal WaitForPodScheduled: waiting for pod p to be scheduled",
            "Normal WaitForPodScheduled: waiting for pods p,q to be scheduled",
        ]
        assert bindings(cluster) == {}
        # The scheduler decides for a volume that is there.
        own = get_claim(cluster, "c")["metadata"]
        reference = {"namespace": "default", "name": "c", "uid": own["uid"]}
        await cluster.client.patch(PERSISTENTVOLUMES, "v", {"spec": {"claimRef": reference}})
        await cluster.settle(5)
        assert bindings(cluster) == {"c": "v"}

    scenario(main)


def test_a_selected_node_sets_the_provisioner_to_work() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, storage_class("local", waits=True), claim("c", storageClassName="local"))
        await cluster.settle(5)
        assert "volume.kubernetes.io/storage-provisioner" not in annotations_of(get_claim(cluster, "c"))
        patch = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-0"}}}
        await cluster.client.patch(PERSISTENTVOLUMECLAIMS, "c", patch, namespace="default")
        await cluster.settle(5)
        assert annotations_of(get_claim(cluster, "c"))["volume.kubernetes.io/storage-provisioner"] == PROVISIONER

    scenario(main)


def test_a_claim_that_named_no_class_gets_a_later_default() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, claim("c"), claim("none", storageClassName=""))
        await cluster.settle(5)
        await create(cluster, storage_class("standard", default=True))
        await cluster.settle(5)
        assert get_claim(cluster, "c")["spec"]["storageClassName"] == "standard"
        assert get_claim(cluster, "none")["spec"]["storageClassName"] == ""

    scenario(main)


@pytest.mark.parametrize(
    ("policy", "more", "phase", "told"),
    [
        ("Retain", {}, "Released", []),
        ("Delete", {}, "Released", []),
        ("Recycle", {}, "Failed", ["Warning VolumeFailedRecycle: No recycler plugin found for the volume!"]),
        (
            "Delete",
            {"csi": None, "nfs": {"server": "s", "path": "/"}},
            "Failed",
            [
                'Warning VolumeFailedDelete: error getting deleter volume plugin for volume "v": '
                "no deletable volume plugin matched"
            ],
        ),
    ],
)
def test_a_volume_whose_claim_is_gone_is_reclaimed_by_its_policy(
    policy: str, more: Object, phase: str, told: list[str]
) -> None:
    async def main(cluster: Cluster) -> None:
        offer = volume("v", persistentVolumeReclaimPolicy=policy, **more)
        offer["spec"] = {key: value for key, value in offer["spec"].items() if value is not None}
        await create(cluster, offer, claim("c"))
        await cluster.settle(5)
        await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "c", namespace="default")
        await cluster.settle(5)
        assert phases(cluster) == {"v": phase}
        assert events(cluster, "v") == told
        # A new claim of the same name is another claim: what the volume holds is not its data.
        await create(cluster, claim("c"))
        await cluster.settle(20)
        assert bindings(cluster) == {}
        assert phases(cluster) == {"v": phase}

    scenario(main)


@pytest.mark.parametrize("who", ["volume", "reference"])
def test_a_claim_whose_volume_is_gone_is_lost(who: str) -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, volume("v"), claim("c"))
        await cluster.settle(5)
        if who == "volume":
            await cluster.client.delete(PERSISTENTVOLUMES, "v")
            reason = "Bound claim has lost its PersistentVolume"
        else:
            await cluster.client.patch(PERSISTENTVOLUMECLAIMS, "c", {"spec": {"volumeName": None}}, namespace="default")
            reason = "Bound claim has lost reference to PersistentVolume"
        await cluster.settle(20)
        assert get_claim(cluster, "c")["status"] == {"phase": "Lost"}
        assert events(cluster, "c") == [f"Warning ClaimLost: {reason}. Data on the volume is lost!"]

    scenario(main)


def test_of_two_claims_with_one_volume_the_wrong_one_is_lost() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, volume("v"), claim("c"))
        await cluster.settle(5)
        thief = claim("thief", volumeName="v")
        thief["metadata"]["annotations"] = {COMPLETED: "yes"}
        await create(cluster, thief)
        await cluster.settle(5)
        assert get_claim(cluster, "thief")["status"] == {"phase": "Lost"}
        text = "Warning ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly"
        assert events(cluster, "thief") == [text]
        assert bindings(cluster) == {"c": "v"}

    scenario(main)


def test_a_binding_that_somebody_undid_is_mended() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, volume("v"), claim("c"))
        await cluster.settle(5)
        await cluster.client.patch(PERSISTENTVOLUMES, "v", {"spec": {"claimRef": None}})
        await cluster.settle(5)
        assert bindings(cluster) == {"c": "v"}
        assert get_volume(cluster, "v")["spec"]["claimRef"]["name"] == "c"

    scenario(main)


def test_a_claim_of_a_class_without_its_class_object_binds_what_is_there() -> None:
    async def main(cluster: Cluster) -> None:
        await create(cluster, volume("v", storageClassName="manual"), claim("c", storageClassName="manual"))
        await cluster.settle(5)
        assert bindings(cluster) == {"c": "v"}
        assert cluster.everything(STORAGECLASSES) == []

    scenario(main)
