"""Priority, storage and ingress classes: who gets which, and what may be done with claims of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.serving import PODS, Api, Certificates, pod, serving

from kontinuum.apiserver.admission.settings import AdmissionSettings
from kontinuum.store.memory.store import MemoryStore

PRIORITIES = "/apis/scheduling.k8s.io/v1/priorityclasses"
STORAGE = "/apis/storage.k8s.io/v1/storageclasses"
INGRESS_CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
NODES = "/api/v1/nodes"
IS_DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


def claim(name: str, **spec: Any) -> dict[str, Any]:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"metadata": {"name": name}, "spec": wanted}


async def test_a_pod_gets_the_number_and_the_policy_of_its_class(api: Api) -> None:
    await api.create(PRIORITIES, {"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"})
    spec = (await api.create(PODS, pod("p", priorityClassName="high"))).body["spec"]
    assert (spec["priority"], spec["preemptionPolicy"], spec["priorityClassName"]) == (1000, "Never", "high")


async def test_pods_without_a_class_get_the_default_one_and_there_is_only_one(api: Api) -> None:
    made = await api.create(PRIORITIES, {"metadata": {"name": "usual"}, "value": 5, "globalDefault": True})
    assert made.code == 201
    spec = (await api.create(PODS, pod("p"))).body["spec"]
    assert (spec["priority"], spec["priorityClassName"]) == (5, "usual")
    second = await api.create(PRIORITIES, {"metadata": {"name": "other"}, "value": 6, "globalDefault": True})
    assert second.code == 403
    assert second.body["message"] == (
        'priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass usual is already marked as default. '
        "Only one default can exist"
    )
    again = await api.patch(f"{PRIORITIES}/usual", {"description": "still the default"})
    assert again.code == 200


async def test_a_pod_may_not_say_its_priority_otherwise(api: Api) -> None:
    await api.create(PRIORITIES, {"metadata": {"name": "high"}, "value": 1000})
    refused = await api.create(PODS, pod("p", priorityClassName="high", priority=7))
    assert refused.body["message"] == (
        'pods "p" is forbidden: the integer value of priority (7) must not be provided in pod spec; '
        "priority admission controller computed 1000 from the given PriorityClass name"
    )
    refused = await api.create(PODS, pod("p", priorityClassName="high", preemptionPolicy="Never"))
    assert refused.body["message"] == (
        'pods "p" is forbidden: the string value of PreemptionPolicy (Never) must not be provided in pod spec; '
        "priority admission controller computed PreemptLowerPriority from the given PriorityClass name"
    )


async def test_a_pod_written_back_without_its_priority_keeps_it(api: Api) -> None:
    await api.create(PRIORITIES, {"metadata": {"name": "high"}, "value": 1000})
    made = (await api.create(PODS, pod("p", priorityClassName="high"))).body
    del made["spec"]["priority"], made["spec"]["preemptionPolicy"]
    written = await api.update(f"{PODS}/p", made)
    assert written.code == 200 and written.body["spec"]["priority"] == 1000


async def test_a_claim_gets_the_default_storage_class_unless_it_wants_none(api: Api) -> None:
    assert "storageClassName" not in (await api.create(CLAIMS, claim("early"))).body["spec"]
    for name in ("b", "a"):
        await api.create(STORAGE, {"metadata": {"name": name, "annotations": IS_DEFAULT}, "provisioner": "x"})
    newest = (await api.get(f"{STORAGE}/a")).body["metadata"]["creationTimestamp"]
    oldest = (await api.get(f"{STORAGE}/b")).body["metadata"]["creationTimestamp"]
    expected = "a" if newest >= oldest else "b"
    assert (await api.create(CLAIMS, claim("c"))).body["spec"]["storageClassName"] == expected
    assert (await api.create(CLAIMS, claim("none", storageClassName=""))).body["spec"]["storageClassName"] == ""
    annotated = claim("annotated")
    annotated["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": "z"}
    assert "storageClassName" not in (await api.create(CLAIMS, annotated)).body["spec"]


async def test_an_ingress_gets_the_default_class_unless_it_names_one(api: Api) -> None:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
    controller = {"controller": "example.com/c"}
    await api.create(INGRESS_CLASSES, {"metadata": {"name": "d", "annotations": annotations}, "spec": controller})
    body = {"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}}
    assert (await api.create(INGRESSES, body)).body["spec"]["ingressClassName"] == "d"
    body = {"metadata": {"name": "o", "annotations": {"kubernetes.io/ingress.class": "old"}}, "spec": body["spec"]}
    made = await api.create(INGRESSES, body)
    assert made.code == 201 and "ingressClassName" not in made.body["spec"]


async def test_only_a_bound_claim_of_a_class_that_allows_it_grows(api: Api) -> None:
    await api.create(STORAGE, {"metadata": {"name": "fixed"}, "provisioner": "x"})
    await api.create(STORAGE, {"metadata": {"name": "grows"}, "provisioner": "x", "allowVolumeExpansion": True})
    for name in ("fixed", "grows"):
        await api.create(CLAIMS, claim(name, storageClassName=name))
    larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    bound = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
    unbound = await api.patch(f"{CLAIMS}/grows", larger)
    assert unbound.code in (403, 422)
    for name in ("fixed", "grows"):
        await api.patch(f"{CLAIMS}/{name}", {"spec": {"volumeName": "v"}})
        assert (await api.patch(f"{CLAIMS}/{name}/status", bound)).code == 200
    refused = await api.patch(f"{CLAIMS}/fixed", larger)
    assert refused.body["message"] == (
        'persistentvolumeclaims "fixed" is forbidden: only dynamically provisioned pvc can be resized and the '
        "storageclass that provisions the pvc must support resize"
    )
    grown = await api.patch(f"{CLAIMS}/grows", larger)
    assert grown.code == 200, grown.body
    assert grown.body["spec"]["resources"]["requests"]["storage"] == "2Gi"


@pytest.mark.parametrize(
    ("path", "body", "finalizer"),
    [
        (CLAIMS, claim("x"), "kubernetes.io/pvc-protection"),
        (VOLUMES, {"metadata": {"name": "x"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/x"},
        }}, "kubernetes.io/pv-protection"),
        ("/apis/storage.k8s.io/v1/volumeattributesclasses",
         {"metadata": {"name": "x"}, "driverName": "d", "parameters": {"a": "b"}}, "kubernetes.io/vac-protection"),
    ],
)  # fmt: skip
async def test_storage_is_protected_from_its_first_moment(
    api: Api, path: str, body: dict[str, Any], finalizer: str
) -> None:
    made = await api.create(path, body)
    assert made.code == 201, made.body
    assert made.body["metadata"]["finalizers"] == [finalizer]
    await api.delete(f"{path}/x")
    assert (await api.get(f"{path}/x")).body["metadata"]["deletionTimestamp"]


async def test_a_new_node_is_avoided_until_it_is_known_to_be_ready(api: Api) -> None:
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    assert (await api.create(NODES, {"metadata": {"name": "n"}})).body["spec"]["taints"] == [taint]
    again = {"metadata": {"name": "m"}, "spec": {"taints": [taint]}}
    assert (await api.create(NODES, again)).body["spec"]["taints"] == [taint]


async def test_a_namespace_gives_and_restricts_tolerations_where_that_is_switched_on(
    certificates: Certificates,
) -> None:
    admission = AdmissionSettings(pod_toleration_restriction=True)
    async with serving(MemoryStore(), certificates, admission=admission) as api:
        prefix = "scheduler.alpha.kubernetes.io"
        annotations = {
            f"{prefix}/defaultTolerations": '[{"key": "team", "operator": "Equal", "value": "a"}]',
            f"{prefix}/tolerationsWhitelist": '[{"key": "team", "operator": "Exists"}, '
            '{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}, '
            '{"key": "node.kubernetes.io/unreachable", "operator": "Exists"}]',
        }
        await api.patch("/api/v1/namespaces/default", {"metadata": {"annotations": annotations}})
        made = (await api.create(PODS, pod("p"))).body
        assert {"key": "team", "operator": "Equal", "value": "a"} in made["spec"]["tolerations"]
        refused = await api.create(PODS, pod("q", tolerations=[{"key": "other", "operator": "Exists"}]))
        assert refused.code == 403
        assert refused.body["message"] == (
            'pods "q" is forbidden: pod tolerations (possibly merged with namespace default tolerations) conflict '
            "with its namespace whitelist"
        )
