"""Every kind that is stored is created, read in every form, watched, changed in every way and deleted."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from tests.apiserver.every_kind import SAMPLES, Sample
from tests.apiserver.serving import TABLE, Answer, Api

from kontinuum.api.kubernetes.kinds import KINDS

PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
# What is answered and not kept, or only read.
NOT_STORED = {
    "bindings", "componentstatuses", "selfsubjectreviews.authentication.k8s.io", "tokenreviews.authentication.k8s.io",
    "localsubjectaccessreviews.authorization.k8s.io", "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io", "subjectaccessreviews.authorization.k8s.io",
}  # fmt: skip
# Several shapes of one life are conformance behaviours of their own.
BEHAVIOURS = {
    "flowschemas.flowcontrol.apiserver.k8s.io": [
        pytest.mark.behaviour("API priority and fairness should support FlowSchema API operations"),
    ],
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": [
        pytest.mark.behaviour("API priority and fairness should support PriorityLevelConfiguration API operations"),
    ],
    "validatingadmissionpolicies.admissionregistration.k8s.io": [
        pytest.mark.behaviour("ValidatingAdmissionPolicy should support ValidatingAdmissionPolicy API operations"),
    ],
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": [
        pytest.mark.behaviour(
            "ValidatingAdmissionPolicy should support ValidatingAdmissionPolicyBinding API operations"
        ),
    ],
    "mutatingadmissionpolicies.admissionregistration.k8s.io": [
        pytest.mark.behaviour("MutatingAdmissionPolicy should support MutatingAdmissionPolicy API operations"),
    ],
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": [
        pytest.mark.behaviour("MutatingAdmissionPolicy should support MutatingAdmissionPolicyBinding API operations"),
    ],
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": [
        pytest.mark.behaviour("AdmissionWebhook should include webhook resources in discovery documents"),
    ],
    "controllerrevisions.apps": [
        pytest.mark.behaviour("ControllerRevision should manage the lifecycle of a ControllerRevision"),
    ],
    "cronjobs.batch": [pytest.mark.behaviour("CronJob should support CronJob API operations")],
    "certificatesigningrequests.certificates.k8s.io": [
        pytest.mark.behaviour("Certificates API should support CSR API operations"),
    ],
    "ingresses.networking.k8s.io": [
        pytest.mark.behaviour("Ingress API should support creating Ingress API operations"),
    ],
    "ingressclasses.networking.k8s.io": [
        pytest.mark.behaviour("IngressClass API should support creating IngressClass API operations"),
    ],
    "ipaddresses.networking.k8s.io": [
        pytest.mark.behaviour("ServiceCIDR and IPAddress API should support IPAddress API operations"),
    ],
    "servicecidrs.networking.k8s.io": [
        pytest.mark.behaviour("ServiceCIDR and IPAddress API should support ServiceCIDR API operations"),
    ],
    "endpointslices.discovery.k8s.io": [
        pytest.mark.behaviour("EndpointSlice should support creating EndpointSlice API operations"),
    ],
    "endpoints": [pytest.mark.behaviour("Endpoints should test the lifecycle of an Endpoint")],
    "runtimeclasses.node.k8s.io": [
        pytest.mark.behaviour("RuntimeClass should support RuntimeClasses API operations"),
    ],
    "leases.coordination.k8s.io": [pytest.mark.behaviour("Lease lease API should be available")],
    "podtemplates": [
        pytest.mark.behaviour("PodTemplates should run the lifecycle of PodTemplates"),
        pytest.mark.behaviour("PodTemplates should replace a pod template"),
        pytest.mark.behaviour("PodTemplates should delete a collection of pod templates"),
    ],
    "configmaps": [
        pytest.mark.behaviour("ConfigMap should run through a ConfigMap lifecycle"),
        pytest.mark.behaviour("ConfigMap should update ConfigMap successfully"),
    ],
    "secrets": [pytest.mark.behaviour("Secrets should patch a secret")],
    "limitranges": [pytest.mark.behaviour("LimitRange should list, patch and delete a LimitRange by collection")],
    "nodes": [pytest.mark.behaviour("Node Lifecycle should run through the lifecycle of a node")],
    "services": [
        pytest.mark.behaviour("Services should complete a service status lifecycle"),
        pytest.mark.behaviour("Services should delete a collection of services"),
    ],
    "serviceaccounts": [
        pytest.mark.behaviour("ServiceAccounts should run through the lifecycle of a ServiceAccount"),
        pytest.mark.behaviour("ServiceAccounts should update a ServiceAccount"),
    ],
    "events": [
        pytest.mark.behaviour("Events should manage the lifecycle of an event"),
        pytest.mark.behaviour("Events should delete a collection of events"),
    ],
    "events.events.k8s.io": [
        pytest.mark.behaviour("Events API should ensure that an event can be fetched, patched, deleted, and listed"),
        pytest.mark.behaviour("Events API should delete a collection of events"),
    ],
    "deviceclasses.resource.k8s.io": [pytest.mark.behaviour("CRUD Tests resource.k8s.io/v1 DeviceClass")],
    "resourceclaims.resource.k8s.io": [pytest.mark.behaviour("CRUD Tests resource.k8s.io/v1 ResourceClaim")],
    "resourceclaimtemplates.resource.k8s.io": [
        pytest.mark.behaviour("CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate"),
    ],
    "resourceslices.resource.k8s.io": [pytest.mark.behaviour("CRUD Tests resource.k8s.io/v1 ResourceSlice")],
    "daemonsets.apps": [
        pytest.mark.behaviour("Daemon set should list and delete a collection of DaemonSets"),
        pytest.mark.behaviour("Daemon set should verify changes to a daemon set status"),
    ],
    "statefulsets.apps": [
        pytest.mark.behaviour(
            "StatefulSet Basic StatefulSet functionality should list, patch and delete a collection of StatefulSets"
        ),
        pytest.mark.behaviour(
            "StatefulSet Basic StatefulSet functionality should validate Statefulset Status endpoints"
        ),
    ],
    "jobs.batch": [
        pytest.mark.behaviour("Job should manage the lifecycle of a job"),
    ],
    "resourcequotas": [
        pytest.mark.behaviour("ResourceQuota should be able to update and delete ResourceQuota."),
        pytest.mark.behaviour("ResourceQuota should manage the lifecycle of a ResourceQuota"),
    ],
    "csidrivers.storage.k8s.io": [
        pytest.mark.behaviour("CSIInlineVolumes should run through the lifecycle of a CSIDriver"),
    ],
    "csinodes.storage.k8s.io": [
        pytest.mark.behaviour("CSINodes CSI Conformance should run through the lifecycle of a csinode"),
    ],
    "csistoragecapacities.storage.k8s.io": [
        pytest.mark.behaviour("CSIStorageCapacity should support CSIStorageCapacities API operations"),
    ],
    "storageclasses.storage.k8s.io": [
        pytest.mark.behaviour("StorageClasses CSI Conformance should run through the lifecycle of a StorageClass"),
    ],
    "volumeattachments.storage.k8s.io": [
        pytest.mark.behaviour("VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment"),
        pytest.mark.behaviour("VolumeAttachment Conformance should apply changes to a volumeattachment status"),
    ],
    "volumeattributesclasses.storage.k8s.io": [
        pytest.mark.behaviour("VolumeAttributesClass should run through the lifecycle of a VolumeAttributesClass"),
    ],
    "poddisruptionbudgets.policy": [
        pytest.mark.behaviour("DisruptionController should update/patch PodDisruptionBudget status"),
        pytest.mark.behaviour("DisruptionController should create a PodDisruptionBudget"),
        pytest.mark.behaviour(
            "DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection "
            "of PodDisruptionBudgets"
        ),
    ],
    "priorityclasses.scheduling.k8s.io": [
        pytest.mark.behaviour(
            "SchedulerPreemption PriorityClass endpoints verify PriorityClass endpoints can be operated with different "
            "HTTP methods"
        ),
    ],
}  # fmt: skip


def samples() -> list[Any]:
    return [pytest.param(sample, id=name, marks=BEHAVIOURS.get(name, [])) for name, sample in SAMPLES.items()]


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(SAMPLES) | NOT_STORED == {resource.qualified for resource in KINDS}


def whole(sample: Sample, name: str, turn: str) -> dict[str, Any]:
    """The sample as a client sends it; ``turn`` tells objects of one test from those of others."""
    text = orjson.dumps(sample.body).replace(b'"NS"', b'"default"')
    body: dict[str, Any] = copy.deepcopy(orjson.loads(text))
    body["metadata"] = {"name": name, "labels": {"turn": turn}}
    return body


def includes(whole: Any, part: Any) -> bool:
    """Whether everything in ``part`` is in ``whole``."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and includes(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(includes(one, each) for one in whole) for each in part)
    return bool(whole == part)


def good(answer: Answer, code: int = 200) -> Any:
    assert answer.code == code, answer.body
    return answer.body


async def settled(api: Api, path: str) -> None:
    """Objects that something must let go of first are let go by the test: there are no controllers here."""
    answer = await api.get(path)
    if answer.code == 200:
        await api.patch(path, {"metadata": {"finalizers": None}})
        namespace = answer.body["kind"] == "Namespace"
        if namespace:
            body = (await api.get(path)).body | {"spec": {"finalizers": []}}
            await api.update(f"{path}/finalize", body)
        if answer.body["kind"] == "Pod":
            await api.call("DELETE", f"{path}?gracePeriodSeconds=0")
    assert (await api.get(path)).code == 404


@pytest.mark.parametrize("sample", samples())
async def test_a_kind_lives_from_create_to_delete(api: Api, sample: Sample) -> None:
    collection = sample.path.replace("NS", "default")
    path = f"{collection}/{sample.name}"
    body = whole(sample, sample.name, "life")
    since = good(await api.get(f"{collection}?labelSelector=turn%3Dlife"))["metadata"]["resourceVersion"]

    dry = good(await api.create(f"{collection}?dryRun=All", body), 201)
    assert dry["metadata"]["uid"]
    assert (await api.get(path)).code == 404, "a dry run stores nothing"
    made = good(await api.create(collection, body), 201)
    assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"]
    assert made["metadata"]["managedFields"][0]["operation"] == "Update"
    assert good(await api.create(collection, body), 409)["reason"] == "AlreadyExists"

    read = good(await api.get(path))
    assert includes(read, {key: value for key, value in body.items() if key != "stringData"})
    listed = good(await api.get(f"{collection}?labelSelector=turn%3Dlife"))
    assert listed["kind"] == f"{read['kind']}List"
    assert [one["metadata"]["name"] for one in listed["items"]] == [sample.name]
    if "/namespaces/default/" in collection:
        everywhere = good(await api.get(collection.replace("/namespaces/default", "") + "?labelSelector=turn%3Dlife"))
        assert [one["metadata"]["uid"] for one in everywhere["items"]] == [read["metadata"]["uid"]]
    table = good(await api.get(f"{collection}?labelSelector=turn%3Dlife", accept=TABLE))
    assert table["kind"] == "Table" and len(table["rows"][0]["cells"]) == len(table["columnDefinitions"])
    partial = good(await api.get(path, accept=PARTIAL))
    assert partial["kind"] == "PartialObjectMetadata" and "spec" not in partial
    partials = good(await api.get(f"{collection}?labelSelector=turn%3Dlife", accept=PARTIALS))
    assert (partials["kind"], len(partials["items"])) == ("PartialObjectMetadataList", 1)

    async with api.watch(collection, f"resourceVersion={since}&labelSelector=turn%3Dlife") as watch:
        assert (await watch.next())["type"] == "ADDED"
        more = {"annotations": {"patched": "merge"}, "labels": {"patched": "merge"}}
        patched = good(await api.patch(path, {"metadata": more, **sample.patch}))
        assert includes(patched, sample.patch) and patched["metadata"]["labels"]["patched"] == "merge"
        event = await watch.next()
        # The server itself writes the status of some kinds meanwhile.
        while "annotations" not in event["object"]["metadata"]:
            event = await watch.next()
        assert (event["type"], event["object"]["metadata"]["annotations"]["patched"]) == ("MODIFIED", "merge")

        add = [{"op": "add", "path": "/metadata/annotations/json", "value": "yes"}]
        good(await api.patch(path, add, "json"))
        good(await api.patch(path, {"metadata": {"annotations": {"strategic": "yes"}}}, "strategic"))
        applied = {
            "apiVersion": read["apiVersion"],
            "kind": read["kind"],
            "metadata": {"annotations": {"applied": "yes"}},
        }
        await api.patch(f"{path}?fieldManager=test", applied, "apply")
        current = good(await api.get(path))
        assert set(current["metadata"]["annotations"]) >= {"patched", "json", "strategic", "applied"}

        current["metadata"]["annotations"] = {"updated": "yes"}
        updated = good(await api.update(path, current))
        assert (
            updated["metadata"]["annotations"]["updated"] == "yes" and "json" not in updated["metadata"]["annotations"]
        )
        stale = good(await api.update(path, current | {"metadata": current["metadata"] | {"annotations": {}}}), 409)
        assert stale["reason"] == "Conflict"

        if sample.status is not None:
            await status_is_written_by_its_own_path(api, path, sample.status)
        await api.delete(path)
        await settled(api, path)
        while (event := await watch.next())["type"] != "DELETED":
            assert event["type"] == "MODIFIED"
        assert event["object"]["metadata"]["uid"] == read["metadata"]["uid"]


async def updated_once_current(api: Api, path: str) -> Answer:
    """The status written back as it is read, again if the server has written it in between."""
    answer = await api.update(f"{path}/status", good(await api.get(path)))
    while answer.code == 409:
        answer = await api.update(f"{path}/status", good(await api.get(path)))
    return answer


async def status_is_written_by_its_own_path(api: Api, path: str, status: dict[str, Any]) -> None:
    before = good(await api.get(f"{path}/status"))
    patched = good(await api.patch(f"{path}/status", {"status": status, "metadata": {"annotations": {"status": "y"}}}))
    assert includes(patched["status"], status)
    assert patched["metadata"].get("generation") == before["metadata"].get("generation")
    again = good(await updated_once_current(api, path))
    assert includes(again["status"], status)
    ignored = good(await api.patch(path, {"status": None}))
    assert includes(ignored["status"], status), "a write of the object leaves its status alone"


@pytest.mark.parametrize("sample", samples())
async def test_a_kinds_collection_is_deleted_by_label(api: Api, sample: Sample) -> None:
    collection = sample.path.replace("NS", "default")
    if collection == "/api/v1/namespaces":
        assert (await api.delete(f"{collection}?labelSelector=turn%3Dmany")).code == 405
        return
    name = "192.0.2.201" if sample.name.startswith("192.") else sample.name
    good(await api.create(collection, whole(sample, name, "many")), 201)
    good(await api.delete(f"{collection}?labelSelector=turn%3Dnone"))
    assert (await api.get(f"{collection}/{name}")).code == 200
    good(await api.delete(f"{collection}?labelSelector=turn%3Dmany"))
    await settled(api, f"{collection}/{name}")
