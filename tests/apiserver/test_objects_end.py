"""Deletes: at once, gracefully, held back by finalizers, in order of dependants, and whole namespaces."""

from __future__ import annotations

from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PODS, Api, configmap, deployment, pod

BIND = {"metadata": {}, "target": {"kind": "Node", "name": "n1"}}


async def _running_pod(api: Api, name: str, **spec: object) -> dict[str, object]:
    await api.create(PODS, pod(name, **spec))
    await api.create(f"{PODS}/{name}/binding", BIND)
    bound: dict[str, object] = (await api.get(f"{PODS}/{name}")).body
    return bound


async def test_most_objects_go_at_once_with_a_status(api: Api) -> None:
    uid = (await api.create(CONFIGMAPS, configmap("a"))).body["metadata"]["uid"]
    gone = await api.delete(f"{CONFIGMAPS}/a")
    assert (gone.code, gone.body["status"], gone.body["details"]["uid"]) == (200, "Success", uid)
    assert (await api.get(f"{CONFIGMAPS}/a")).code == 404
    assert (await api.delete(f"{CONFIGMAPS}/a")).code == 404


async def test_preconditions_protect_another_incarnation_and_a_newer_state(api: Api) -> None:
    first = await api.create(CONFIGMAPS, configmap("a"))
    other = {"preconditions": {"uid": "someone-else"}}
    refused = await api.delete(f"{CONFIGMAPS}/a", other)
    assert refused.code == 409 and "Precondition failed: UID" in refused.body["message"]
    await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})
    stale = {"preconditions": {"resourceVersion": first.version}}
    assert (await api.delete(f"{CONFIGMAPS}/a", stale)).code == 409
    good = {"preconditions": {"uid": first.body["metadata"]["uid"]}}
    assert (await api.delete(f"{CONFIGMAPS}/a", good)).code == 200


async def test_a_pod_on_a_node_ends_gracefully_and_goes_with_the_second_delete(api: Api) -> None:
    await _running_pod(api, "p", terminationGracePeriodSeconds=7)
    ending = await api.delete(f"{PODS}/p")
    assert ending.code == 200 and ending.body["metadata"]["deletionGracePeriodSeconds"] == 7
    assert ending.body["metadata"]["deletionTimestamp"]
    assert (await api.get(f"{PODS}/p")).code == 200
    shorter = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 2})
    assert shorter.body["metadata"]["deletionGracePeriodSeconds"] == 2
    longer = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 60})
    assert longer.body["metadata"]["deletionGracePeriodSeconds"] == 2
    last = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert last.code == 200 and last.body["kind"] == "Pod"
    assert (await api.get(f"{PODS}/p")).code == 404


async def test_a_pod_that_no_node_runs_goes_at_once(api: Api) -> None:
    await api.create(PODS, pod("p"))
    assert (await api.delete(f"{PODS}/p")).code == 200
    assert (await api.get(f"{PODS}/p")).code == 404
    await _running_pod(api, "q")
    await api.patch(f"{PODS}/q/status", {"status": {"phase": "Succeeded"}})
    await api.delete(f"{PODS}/q")
    assert (await api.get(f"{PODS}/q")).code == 404


async def test_a_finalizer_holds_an_object_until_it_is_removed(api: Api) -> None:
    await api.create(CONFIGMAPS, {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}})
    held = await api.delete(f"{CONFIGMAPS}/a")
    assert held.code == 200 and held.body["metadata"]["deletionTimestamp"]
    more = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}})
    assert more.code == 422 and "no new finalizers can be added" in more.body["message"]
    assert (await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}})).code == 200
    assert (await api.get(f"{CONFIGMAPS}/a")).code == 404


async def test_propagation_is_written_down_for_the_garbage_collector(api: Api) -> None:
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        await api.create(DEPLOYMENTS, deployment("web"))
        held = await api.delete(f"{DEPLOYMENTS}/web", {"propagationPolicy": policy})
        assert held.body["metadata"]["finalizers"] == [finalizer]
        await api.delete(f"{DEPLOYMENTS}/web", {"propagationPolicy": "Background"})
        assert (await api.get(f"{DEPLOYMENTS}/web")).code == 404


async def test_propagation_in_the_query_counts_and_nonsense_is_refused(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    assert (await api.delete(f"{DEPLOYMENTS}/web?propagationPolicy=Sideways")).code == 422
    both = {"propagationPolicy": "Orphan", "orphanDependents": True}
    assert (await api.delete(f"{DEPLOYMENTS}/web", both)).code == 422
    held = await api.delete(f"{DEPLOYMENTS}/web?propagationPolicy=Foreground")
    assert held.body["metadata"]["finalizers"] == ["foregroundDeletion"]


async def test_deletecollection_ends_what_the_selector_matches(api: Api) -> None:
    for number in range(4):
        await api.create(CONFIGMAPS, configmap(f"c{number}", {"odd": str(number % 2)}))
    ended = await api.delete(f"{CONFIGMAPS}?labelSelector=odd%3D1")
    assert [item["metadata"]["name"] for item in ended.body["items"]] == ["c1", "c3"]
    left = await api.get(CONFIGMAPS)
    assert [item["metadata"]["name"] for item in left.body["items"]] == ["c0", "c2"]


async def test_a_namespace_terminates_takes_nothing_new_and_goes_when_finalized(api: Api) -> None:
    await api.create("/api/v1/namespaces", {"metadata": {"name": "team"}})
    created = await api.get("/api/v1/namespaces/team")
    assert created.body["spec"]["finalizers"] == ["kubernetes"] and created.body["status"]["phase"] == "Active"
    ending = await api.delete("/api/v1/namespaces/team")
    assert ending.body["status"]["phase"] == "Terminating"
    refused = await api.create("/api/v1/namespaces/team/configmaps", configmap("a"))
    assert refused.code == 403 and refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    current = (await api.get("/api/v1/namespaces/team")).body
    current["spec"]["finalizers"] = []
    assert (await api.update("/api/v1/namespaces/team/finalize", current)).code == 200
    assert (await api.get("/api/v1/namespaces/team")).code == 404


async def test_the_systems_namespaces_never_end(api: Api) -> None:
    refused = await api.delete("/api/v1/namespaces/kube-system")
    assert refused.code == 403 and "may not be deleted" in refused.body["message"]


async def test_an_eviction_is_a_graceful_delete(api: Api) -> None:
    await _running_pod(api, "p")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await api.create(f"{PODS}/p/eviction", eviction)).code == 201
    assert (await api.get(f"{PODS}/p")).body["metadata"]["deletionTimestamp"]
