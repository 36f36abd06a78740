"""Create, get, update, patch: what is stored, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PATCH_TYPES, PODS, Api, configmap, deployment, pod


async def test_a_created_object_gets_an_identity_and_is_read_back_as_it_was_answered(api: Api) -> None:
    created = await api.create(CONFIGMAPS, configmap("a", x="1"))
    assert created.code == 201
    metadata = created.body["metadata"]
    assert metadata["uid"] and metadata["creationTimestamp"] and metadata["namespace"] == "default"
    assert created.body["kind"] == "ConfigMap" and created.body["apiVersion"] == "v1"
    read = await api.get(f"{CONFIGMAPS}/a")
    assert read.code == 200 and read.body == created.body


async def test_a_second_object_of_the_same_name_is_refused(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    again = await api.create(CONFIGMAPS, configmap("a"))
    assert (again.code, again.body["reason"]) == (409, "AlreadyExists")
    assert again.body["message"] == 'configmaps "a" already exists'


async def test_generated_names_differ_and_keep_their_prefix(api: Api) -> None:
    body = {"metadata": {"generateName": "job-"}}
    names = {(await api.create(CONFIGMAPS, body)).body["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20 and all(name.startswith("job-") and len(name) == 9 for name in names)


async def test_an_object_without_any_name_is_invalid(api: Api) -> None:
    refused = await api.create(CONFIGMAPS, {"metadata": {}})
    assert (refused.code, refused.body["reason"]) == (422, "Invalid")
    assert "name or generateName is required" in refused.body["message"]


async def test_a_namespace_that_contradicts_the_url_is_refused(api: Api) -> None:
    refused = await api.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "kube-system"}})
    assert refused.code == 400 and "does not match the namespace" in refused.body["message"]


async def test_nothing_is_created_in_a_namespace_that_does_not_exist(api: Api) -> None:
    refused = await api.create("/api/v1/namespaces/nowhere/configmaps", configmap("a"))
    assert (refused.code, refused.body["message"]) == (404, 'namespaces "nowhere" not found')


async def test_an_update_with_an_old_resource_version_conflicts(api: Api) -> None:
    first = (await api.create(CONFIGMAPS, configmap("a", x="1"))).body
    second = await api.update(f"{CONFIGMAPS}/a", {**first, "data": {"x": "2"}})
    assert second.code == 200 and second.body["data"] == {"x": "2"}
    stale = await api.update(f"{CONFIGMAPS}/a", {**first, "data": {"x": "3"}})
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    assert (await api.get(f"{CONFIGMAPS}/a")).body["data"] == {"x": "2"}


async def test_an_update_cannot_change_what_belongs_to_the_server(api: Api) -> None:
    first = (await api.create(CONFIGMAPS, configmap("a"))).body
    changed = {**first, "metadata": {**first["metadata"], "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 9}}
    second = await api.update(f"{CONFIGMAPS}/a", changed)
    assert second.body["metadata"]["creationTimestamp"] == first["metadata"]["creationTimestamp"]
    assert "generation" not in second.body["metadata"]


async def test_an_update_for_another_incarnation_conflicts(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    other = {"metadata": {"name": "a", "uid": "00000000-0000-0000-0000-000000000000"}}
    assert (await api.update(f"{CONFIGMAPS}/a", other)).code == 409


async def test_an_update_that_changes_nothing_writes_nothing(api: Api) -> None:
    first = await api.create(CONFIGMAPS, configmap("a", x="1"))
    again = await api.update(f"{CONFIGMAPS}/a", first.body)
    assert again.version == first.version


async def test_the_order_of_fields_is_no_change(api: Api) -> None:
    first = await api.create(CONFIGMAPS, configmap("a", x="1", y="2"))
    turned = {key: first.body[key] for key in reversed(first.body)}
    again = await api.update(f"{CONFIGMAPS}/a", {**turned, "data": {"y": "2", "x": "1"}})
    assert again.version == first.version


async def test_an_update_of_a_missing_object_is_not_found_but_a_lease_is_created(api: Api) -> None:
    assert (await api.update(f"{CONFIGMAPS}/a", configmap("a"))).code == 404
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = {"metadata": {"name": "l", "resourceVersion": "1"}, "spec": {"holderIdentity": "me"}}
    assert (await api.update(f"{leases}/l", lease)).code == 201
    assert (await api.get(f"{leases}/l")).body["spec"] == {"holderIdentity": "me"}


async def test_a_lease_is_never_updated_unconditionally(api: Api) -> None:
    lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l"
    assert (await api.update(lease, {"metadata": {"name": "l"}})).code == 201
    refused = await api.update(lease, {"metadata": {"name": "l"}})
    assert refused.code == 422 and "must be specified for an update" in refused.body["message"]


async def test_each_patch_type_patches(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a", x="1", y="1"))
    merged = await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "2", "y": None}})
    assert merged.body["data"] == {"x": "2"}
    strategic = await api.patch(f"{CONFIGMAPS}/a", {"data": {"z": "3"}}, "strategic")
    assert strategic.body["data"] == {"x": "2", "z": "3"}
    operations = [{"op": "test", "path": "/data/x", "value": "2"}, {"op": "remove", "path": "/data/x"}]
    assert (await api.patch(f"{CONFIGMAPS}/a", operations, "json")).body["data"] == {"z": "3"}


async def test_a_strategic_patch_merges_containers_by_name(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other:2"}]}}}}
    patched = await api.patch(f"{DEPLOYMENTS}/web", patch, "strategic")
    (container,) = patched.body["spec"]["template"]["spec"]["containers"]
    assert (container["name"], container["image"]) == ("main", "other:2")


async def test_concurrent_patches_without_resource_version_are_all_kept(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    answers = await asyncio.gather(*(api.patch(f"{CONFIGMAPS}/a", {"data": {f"k{n}": "v"}}) for n in range(8)))
    assert {answer.code for answer in answers} == {200}
    assert len((await api.get(f"{CONFIGMAPS}/a")).body["data"]) == 8


async def test_a_patch_with_an_old_resource_version_conflicts(api: Api) -> None:
    first = await api.create(CONFIGMAPS, configmap("a"))
    await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})
    stale = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"resourceVersion": first.version}, "data": {"x": "2"}})
    assert stale.code == 409


async def test_the_generation_counts_changes_of_the_specification_only(api: Api) -> None:
    first = await api.create(DEPLOYMENTS, deployment("web"))
    assert first.body["metadata"]["generation"] == 1
    labelled = await api.patch(f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"a": "b"}}})
    assert labelled.body["metadata"]["generation"] == 1
    scaled = await api.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 3}})
    assert scaled.body["metadata"]["generation"] == 2


async def test_an_autoscaler_has_one_generation_in_both_its_versions(api: Api) -> None:
    v1, v2 = (f"/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers" for version in ("v1", "v2"))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    made = await api.create(v2, {"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}})
    assert made.body["metadata"]["generation"] == 1
    older = (await api.get(f"{v1}/web")).body
    same = await api.update(f"{v1}/web", {**older, "metadata": {**older["metadata"], "labels": {"a": "b"}}})
    assert same.body["metadata"]["generation"] == 1
    wider = await api.patch(f"{v1}/web", {"spec": {"maxReplicas": 5}})
    assert (wider.body["metadata"]["generation"], wider.body["spec"]["maxReplicas"]) == (2, 5)
    seen = await api.patch(f"{v2}/web/status", {"status": {"observedGeneration": 2, "desiredReplicas": 1}})
    assert seen.body["metadata"]["generation"] == 2


async def test_status_and_specification_are_written_separately(api: Api) -> None:
    created = (await api.create(DEPLOYMENTS, {**deployment("web"), "status": {"replicas": 7}})).body
    assert (created.get("status") or {}).get("replicas", 0) == 0
    reported = await api.patch(f"{DEPLOYMENTS}/web/status", {"spec": {"replicas": 5}, "status": {"replicas": 2}})
    assert reported.body["status"]["replicas"] == 2 and reported.body["spec"]["replicas"] == 1
    both = await api.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 4}, "status": {"replicas": 9}})
    assert both.body["status"]["replicas"] == 2 and both.body["spec"]["replicas"] == 4


async def test_a_dry_run_answers_as_if_and_stores_nothing(api: Api) -> None:
    tried = await api.create(f"{CONFIGMAPS}?dryRun=All", configmap("a"))
    assert tried.code == 201 and tried.body["metadata"]["uid"]
    assert (await api.get(f"{CONFIGMAPS}/a")).code == 404
    await api.create(CONFIGMAPS, configmap("a", x="1"))
    await api.patch(f"{CONFIGMAPS}/a?dryRun=All", {"data": {"x": "2"}})
    await api.delete(f"{CONFIGMAPS}/a?dryRun=All")
    assert (await api.get(f"{CONFIGMAPS}/a")).body["data"] == {"x": "1"}


async def test_unknown_fields_are_warned_about_refused_or_ignored_and_never_stored(api: Api) -> None:
    body = {**configmap("a"), "bogus": 1}
    refused = await api.create(f"{CONFIGMAPS}?fieldValidation=Strict", body)
    assert refused.code == 400 and 'unknown field "bogus"' in refused.body["message"]
    warned = await api.create(CONFIGMAPS, body)
    assert warned.code == 201 and "unknown field" in warned.headers["Warning"] and "bogus" not in warned.body
    silent = await api.create(f"{CONFIGMAPS}?fieldValidation=Ignore", {**body, "metadata": {"name": "b"}})
    assert silent.code == 201 and "Warning" not in silent.headers


async def test_a_field_of_the_wrong_type_is_refused(api: Api) -> None:
    refused = await api.create(DEPLOYMENTS, {**deployment("web"), "spec": {"replicas": "three"}})
    assert refused.code == 400 and "cannot unmarshal string" in refused.body["message"]


async def test_a_write_is_seen_by_the_next_read(api: Api) -> None:
    for number in range(50):
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"n": str(number)}}) if number else await api.create(
            CONFIGMAPS, configmap("a", n="0")
        )
        assert (await api.get(f"{CONFIGMAPS}/a")).body["data"]["n"] == str(number)
        (listed,) = [item for item in (await api.get(CONFIGMAPS)).body["items"] if item["metadata"]["name"] == "a"]
        assert listed["data"]["n"] == str(number)


async def test_a_binding_of_its_own_names_the_pod(api: Api) -> None:
    bindings = "/api/v1/namespaces/default/bindings"
    await api.create(PODS, pod("named"))
    target = {"target": {"kind": "Node", "name": "n1"}}
    assert (await api.create(bindings, {**target, "metadata": {"name": "nobody"}})).code == 404
    nameless = await api.create(bindings, {**target, "metadata": {}})
    assert nameless.body["message"].endswith("metadata.name: Required value: name or generateName is required")
    assert (await api.create(bindings, {**target, "metadata": {"name": "named"}})).code == 201
    assert (await api.get(f"{PODS}/named")).body["spec"]["nodeName"] == "n1"
    again = await api.create(bindings, {**target, "metadata": {"name": "named"}})
    assert (again.code, again.body["reason"]) == (409, "Conflict")


async def test_a_pod_is_bound_once(api: Api) -> None:
    await api.create(PODS, pod("p"))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    assert (await api.create(f"{PODS}/p/binding", binding)).code == 201
    bound = (await api.get(f"{PODS}/p")).body
    assert bound["spec"]["nodeName"] == "n1"
    assert any(c["type"] == "PodScheduled" and c["status"] == "True" for c in bound["status"]["conditions"])
    again = await api.create(f"{PODS}/p/binding", binding)
    assert again.code == 409 and 'already assigned to node "n1"' in again.body["message"]


async def test_scale_reads_and_writes_the_number_of_replicas(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web", replicas=2))
    scale = await api.get(f"{DEPLOYMENTS}/web/scale")
    assert scale.body["kind"] == "Scale" and scale.body["spec"] == {"replicas": 2}
    assert scale.body["status"]["selector"] == "app=web"
    assert (await api.update(f"{DEPLOYMENTS}/web/scale", {**scale.body, "spec": {"replicas": 5}})).code == 200
    assert (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 6}})).body["spec"] == {"replicas": 6}
    assert (await api.get(f"{DEPLOYMENTS}/web")).body["spec"]["replicas"] == 6
    assert (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": -1}})).code == 422


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", {"spec": {"replicas": "three"}}),
        ("strategic", {"spec": {"replicas": "three"}}),
        ("json", [{"op": "replace", "path": "/spec/replicas", "value": "three"}]),
    ],
)
async def test_a_patch_to_something_impossible_is_invalid(api: Api, kind: str, patch: Any) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    refused = await api.patch(f"{DEPLOYMENTS}/web", patch, kind)
    assert (refused.code, refused.body["reason"]) == (422, "Invalid")
    assert refused.body["message"].startswith(' "" is invalid: patch: Invalid value: ')
    assert "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas" in refused.body["message"]


async def test_unknown_and_duplicate_fields_of_a_patch_are_refused_or_warned_about(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    media = {"content_type": PATCH_TYPES["merge"]}
    body = b'{"bogus": 1, "data": {"x": "1", "x": "2"}}'
    refused = await api.call("PATCH", f"{CONFIGMAPS}/a?fieldValidation=Strict", body, **media)
    assert refused.code == 422
    assert 'strict decoding error: duplicate field "data.x", unknown field "bogus"' in refused.body["message"]
    warned = await api.call("PATCH", f"{CONFIGMAPS}/a", body, **media)
    assert warned.body["data"] == {"x": "2"}
    assert warned.headers.getall("Warning") == [
        '299 - "duplicate field \\"data.x\\""', '299 - "unknown field \\"bogus\\""',
    ]  # fmt: skip


async def test_duplicate_fields_of_a_body_are_warned_about_by_default(api: Api) -> None:
    made = await api.create(CONFIGMAPS, b'{"metadata": {"name": "a"}, "data": {"x": "1"}, "data": {"x": "2"}}')
    assert made.code == 201 and made.headers["Warning"] == '299 - "duplicate field \\"data\\""'
