"""ResourceQuotas are held exactly, in Kubernetes' words, by one server and by two."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.apiserver.serving import CONFIGMAPS, PODS, Answer, Api, Certificates, configmap, serving

from kontinuum.store.memory.store import MemoryStore

QUOTAS = "/api/v1/namespaces/default/resourcequotas"
SERVICES = "/api/v1/namespaces/default/services"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
SECRETS = "/api/v1/namespaces/default/secrets"


def quota(name: str, hard: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"hard": hard, **spec}}


def pod(name: str, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **spec: Any) -> Any:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    containers = [{"name": "main", "image": "i:1", "resources": resources}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def claim(name: str, size: str, **spec: Any) -> dict[str, Any]:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": {"name": name}, "spec": wanted}


def service(name: str, kind: str, ports: int = 1, **spec: Any) -> dict[str, Any]:
    listed = [{"name": f"p{index}", "port": 80 + index} for index in range(ports)]
    return {"metadata": {"name": name}, "spec": {"type": kind, "ports": listed, "selector": {"a": "b"}, **spec}}


def problem(answer: Answer) -> str:
    assert (answer.code, answer.body["reason"]) == (403, "Forbidden"), answer.body
    return str(answer.body["message"]).partition(" is forbidden: ")[2]


async def good(answering: Any, code: int = 201) -> Any:
    answer: Answer = await answering
    assert answer.code == code, answer.body
    return answer.body


async def test_the_third_pod_of_two_is_refused_in_kubernetes_words(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"pods": "2"})))
    for name in ("a", "b"):
        await good(api.create(PODS, pod(name)))
    refused = await api.create(PODS, pod("c"))
    assert refused.body["message"] == (
        'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
    )
    assert refused.body["details"] == {"name": "c", "kind": "pods"}


async def test_room_is_there_again_as_soon_as_an_object_is_gone(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"count/configmaps": "1"})))
    for _ in range(20):
        await good(api.create(CONFIGMAPS, configmap("c")))
        assert (await api.create(CONFIGMAPS, configmap("d"))).code == 403
        await good(api.delete(f"{CONFIGMAPS}/c"), 200)


async def test_a_write_that_fails_afterwards_gives_its_room_back(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"configmaps": "2"})))
    await good(api.create(CONFIGMAPS, configmap("c")))
    for _ in range(3):
        again = await api.create(CONFIGMAPS, configmap("c"))
        assert (again.code, again.body["reason"]) == (409, "AlreadyExists")
    await good(api.create(CONFIGMAPS, configmap("d")))
    assert problem(await api.create(CONFIGMAPS, configmap("e"))) == (
        "exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2"
    )


async def test_a_dry_run_is_judged_and_takes_nothing(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"configmaps": "1"})))
    for _ in range(3):
        await good(api.create(f"{CONFIGMAPS}?dryRun=All", configmap("c")))
    await good(api.create(CONFIGMAPS, configmap("c")))
    assert "exceeded quota" in problem(await api.create(f"{CONFIGMAPS}?dryRun=All", configmap("d")))


async def test_every_quota_has_to_have_room_and_the_first_by_name_says_so(api: Api) -> None:
    await good(api.create(QUOTAS, quota("b", {"configmaps": "1"})))
    await good(api.create(QUOTAS, quota("a", {"count/configmaps": "1", "secrets": "9"})))
    await good(api.create(CONFIGMAPS, configmap("c")))
    assert problem(await api.create(CONFIGMAPS, configmap("d"))) == (
        "exceeded quota: a, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"
    )


async def test_other_namespaces_and_kinds_do_not_count(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"configmaps": "0"})))
    await good(api.create("/api/v1/namespaces", {"metadata": {"name": "other"}}))
    await good(api.create("/api/v1/namespaces/other/configmaps", configmap("c")))
    await good(api.create(SECRETS, {"metadata": {"name": "s"}}))


async def test_amounts_of_containers_are_added_up_and_shown_as_they_were_given(api: Api) -> None:
    hard = {"requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "2", "requests.example.com/gpu": "1"}
    await good(api.create(QUOTAS, quota("q", hard)))
    full = {"cpu": "600m", "memory": "512Mi"}
    await good(api.create(PODS, pod("a", full, {"cpu": "1"})))
    assert problem(await api.create(PODS, pod("b", full, {"cpu": "1"}))) == (
        "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
    )
    assert problem(await api.create(PODS, pod("b", {"cpu": "1", "memory": "1Gi"}, {"cpu": "3"}))) == (
        "exceeded quota: q, requested: limits.cpu=3,requests.cpu=1,requests.memory=1Gi, "
        "used: limits.cpu=1,requests.cpu=600m,requests.memory=512Mi, "
        "limited: limits.cpu=2,requests.cpu=1,requests.memory=1Gi"
    )
    gpu = {"example.com/gpu": "2"}
    asked = {"cpu": "1m", "memory": "1Mi", **gpu}
    assert "requests.example.com/gpu=2" in problem(await api.create(PODS, pod("b", asked, {"cpu": "1m", **gpu})))


async def test_containers_have_to_say_what_is_limited(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"requests.cpu": "1", "limits.memory": "1Gi"})))
    body = pod("p")
    body["spec"]["containers"].append({"name": "also", "image": "i:1", "resources": {"requests": {"cpu": "1m"}}})
    assert problem(await api.create(PODS, body)) == (
        "failed quota: q: must specify limits.memory for: also,main; requests.cpu for: main"
    )


async def test_a_pod_that_has_ended_uses_nothing_but_its_place_in_the_store(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"pods": "1", "count/pods": "2"})))
    await good(api.create(PODS, pod("a")))
    await good(api.patch(f"{PODS}/a/status", {"status": {"phase": "Succeeded"}}), 200)
    await good(api.create(PODS, pod("b")))
    await good(api.patch(f"{PODS}/b/status", {"status": {"phase": "Failed"}}), 200)
    assert problem(await api.create(PODS, pod("c"))) == (
        "exceeded quota: q, requested: count/pods=1, used: count/pods=2, limited: count/pods=2"
    )


async def test_a_pod_whose_grace_is_over_uses_nothing(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"pods": "1"})))
    await good(api.create(PODS, pod("a", nodeName="gone")))
    await good(api.call("DELETE", f"{PODS}/a?gracePeriodSeconds=1"), 200)
    assert (await api.create(PODS, pod("b"))).code == 403
    for _ in range(100):
        if (made := await api.create(PODS, pod("b"))).code == 201:
            break
        await asyncio.sleep(0.05)
    assert made.code == 201


@pytest.mark.parametrize(
    ("spec", "counted", "free"),
    [
        ({"scopes": ["Terminating"]}, {"activeDeadlineSeconds": 5}, {}),
        ({"scopes": ["NotTerminating"]}, {}, {"activeDeadlineSeconds": 5}),
        ({"scopes": ["BestEffort"]}, {}, {"requests": {"cpu": "1"}}),
        ({"scopes": ["NotBestEffort"]}, {"requests": {"cpu": "1"}}, {}),
        ({"scopes": ["PriorityClass"]}, {"priorityClassName": "system-node-critical"}, {}),
        ({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}]}},
         {"priorityClassName": "system-node-critical"}, {"priorityClassName": "system-cluster-critical"}),
        ({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "NotIn", "values": ["system-node-critical"]}]}},
         {}, {"priorityClassName": "system-node-critical"}),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}},
         {}, {"priorityClassName": "system-node-critical"}),
        ({"scopes": ["CrossNamespacePodAffinity"]},
         {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
             {"topologyKey": "h", "namespaces": ["other"], "labelSelector": {}}]}}},
         {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
             {"weight": 1, "podAffinityTerm": {"topologyKey": "h", "labelSelector": {}}}]}}}),
        ({"scopes": ["NotBestEffort", "Terminating"]},
         {"requests": {"cpu": "1"}, "activeDeadlineSeconds": 5}, {"activeDeadlineSeconds": 5}),
    ],
)  # fmt: skip
async def test_a_scope_means_some_pods_only(
    api: Api, spec: dict[str, Any], counted: dict[str, Any], free: dict[str, Any]
) -> None:
    await good(api.create(QUOTAS, quota("q", {"pods": "1"}, **spec)))
    for name in ("a", "b"):
        await good(api.create(PODS, pod(name, **free)))
    await good(api.create(PODS, pod("c", **counted)))
    assert problem(await api.create(PODS, pod("d", **counted))) == (
        "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
    )
    await good(api.create(PODS, pod("e", **free)))


async def test_a_pod_that_comes_into_a_scope_is_counted_from_then_on(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"pods": "1"}, scopes=["Terminating"])))
    await good(api.create(PODS, pod("a", activeDeadlineSeconds=5)))
    await good(api.create(PODS, pod("b")))
    refused = await api.patch(f"{PODS}/b", {"spec": {"activeDeadlineSeconds": 5}})
    assert problem(refused) == "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
    await good(api.patch(f"{PODS}/b", {"metadata": {"labels": {"x": "y"}}}), 200)


async def test_services_are_counted_by_what_they_take(api: Api) -> None:
    hard = {"services": "9", "services.nodeports": "3", "services.loadbalancers": "1"}
    await good(api.create(QUOTAS, quota("q", hard)))
    await good(api.create(SERVICES, service("a", "ClusterIP", 5)))
    await good(api.create(SERVICES, service("b", "NodePort", 2)))
    assert "services.nodeports=2" in problem(await api.create(SERVICES, service("c", "NodePort", 2)))
    await good(api.create(SERVICES, service("c", "LoadBalancer", 1)))
    without = service("d", "LoadBalancer", 1, allocateLoadBalancerNodePorts=False)
    assert problem(await api.create(SERVICES, without)) == (
        "exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=1, "
        "limited: services.loadbalancers=1"
    )
    changed = await api.patch(f"{SERVICES}/a", {"spec": {"type": "NodePort"}})
    assert problem(changed) == (
        "exceeded quota: q, requested: services.nodeports=5, used: services.nodeports=3, limited: services.nodeports=3"
    )
    await good(api.patch(f"{SERVICES}/b", {"spec": {"type": "ClusterIP"}}), 200)
    await good(api.patch(f"{SERVICES}/a", {"metadata": {"labels": {"x": "y"}}}), 200)


async def test_claims_are_counted_by_size_and_by_class(api: Api) -> None:
    gold = "gold.storageclass.storage.k8s.io"
    hard = {"persistentvolumeclaims": "9", "requests.storage": "10Gi", f"{gold}/requests.storage": "2Gi",
            f"{gold}/persistentvolumeclaims": "2"}  # fmt: skip
    await good(api.create(QUOTAS, quota("q", hard)))
    await good(api.create(CLAIMS, claim("a", "2Gi", storageClassName="gold")))
    assert problem(await api.create(CLAIMS, claim("b", "1Gi", storageClassName="gold"))) == (
        f"exceeded quota: q, requested: {gold}/requests.storage=1Gi, used: {gold}/requests.storage=2Gi, "
        f"limited: {gold}/requests.storage=2Gi"
    )
    await good(api.create(CLAIMS, claim("b", "8Gi", storageClassName="lead")))
    assert problem(await api.create(CLAIMS, claim("c", "1Mi", storageClassName="lead"))) == (
        "exceeded quota: q, requested: requests.storage=1Mi, used: requests.storage=10Gi, "
        "limited: requests.storage=10Gi"
    )


async def test_claims_of_an_attributes_class_are_a_scope(api: Api) -> None:
    selector = {"matchExpressions": [{"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]}]}
    await good(api.create(QUOTAS, quota("q", {"persistentvolumeclaims": "1"}, scopeSelector=selector)))
    await good(api.create(CLAIMS, claim("a", "1Gi", storageClassName="s", volumeAttributesClassName="fast")))
    await good(api.create(CLAIMS, claim("b", "1Gi", storageClassName="s", volumeAttributesClassName="slow")))
    refused = await api.create(CLAIMS, claim("c", "1Gi", storageClassName="s", volumeAttributesClassName="fast"))
    assert "exceeded quota: q" in problem(refused)


async def test_what_grows_needs_room_for_the_difference_only(api: Api) -> None:
    await good(api.create("/apis/storage.k8s.io/v1/storageclasses",
                          {"metadata": {"name": "g"}, "provisioner": "x", "allowVolumeExpansion": True}))  # fmt: skip
    await good(api.create(QUOTAS, quota("q", {"requests.storage": "3Gi"})))
    await good(api.create(CLAIMS, claim("a", "1Gi", storageClassName="g", volumeName="v")))
    bound = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
    await good(api.patch(f"{CLAIMS}/a/status", bound), 200)

    def grown(size: str) -> dict[str, Any]:
        return {"spec": {"resources": {"requests": {"storage": size}}}}

    assert problem(await api.patch(f"{CLAIMS}/a", grown("4Gi"))) == (
        "exceeded quota: q, requested: requests.storage=3Gi, used: requests.storage=1Gi, limited: requests.storage=3Gi"
    )
    await good(api.patch(f"{CLAIMS}/a", grown("3Gi")), 200)


async def test_a_quota_that_is_made_smaller_refuses_only_what_is_more(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"configmaps": "3"})))
    for name in ("a", "b", "c"):
        await good(api.create(CONFIGMAPS, configmap(name)))
    await good(api.patch(f"{QUOTAS}/q", {"spec": {"hard": {"configmaps": "1"}}}), 200)
    await good(api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "y"}}), 200)
    assert problem(await api.create(CONFIGMAPS, configmap("d"))) == (
        "exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=1"
    )
    await good(api.delete(f"{QUOTAS}/q"), 200)
    await good(api.create(CONFIGMAPS, configmap("d")))


async def test_many_at_once_fill_a_quota_exactly(api: Api) -> None:
    await good(api.create(QUOTAS, quota("q", {"pods": "17", "requests.cpu": "10"})))
    made = await asyncio.gather(*(api.create(PODS, pod(f"p{number}", {"cpu": "500m"})) for number in range(60)))
    assert sorted({one.code for one in made}) == [201, 403]
    assert sum(one.code == 201 for one in made) == 17
    assert len((await api.get(PODS)).body["items"]) == 17


async def test_two_servers_on_one_store_fill_a_quota_exactly(certificates: Certificates) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as one, serving(store, certificates) as other:
        await good(one.create(QUOTAS, quota("q", {"configmaps": "25"})))
        while (await other.get(f"{QUOTAS}/q")).code != 200:
            await asyncio.sleep(0.01)
        made = await asyncio.gather(
            *(api.create(CONFIGMAPS, configmap(f"{name}{number}"))
              for number in range(40) for name, api in (("a", one), ("b", other)))
        )  # fmt: skip
        assert sum(answer.code == 201 for answer in made) == 25
        told = {problem(answer) for answer in made if answer.code != 201}
        assert told == {"exceeded quota: q, requested: configmaps=1, used: configmaps=25, limited: configmaps=25"}
        for number in range(40):
            await one.delete(f"{CONFIGMAPS}/a{number}")
            await one.delete(f"{CONFIGMAPS}/b{number}")
        again = await asyncio.gather(*(other.create(CONFIGMAPS, configmap(f"c{number}")) for number in range(25)))
        assert {answer.code for answer in again} == {201}


async def test_nobody_is_refused_for_a_write_that_then_fails(api: Api) -> None:
    """Two names, one taken: all that ask for the free one at once leave room for others."""
    await good(api.create(QUOTAS, quota("q", {"configmaps": "10"})))
    await good(api.create(CONFIGMAPS, configmap("taken")))
    clashes = [api.create(CONFIGMAPS, configmap("taken")) for _ in range(30)]
    fresh = [api.create(CONFIGMAPS, configmap(f"c{number}")) for number in range(9)]
    made = await asyncio.gather(*clashes, *fresh)
    assert {one.code for one in made[30:]} == {201}
    assert {one.code for one in made[:30]} <= {409, 403}
