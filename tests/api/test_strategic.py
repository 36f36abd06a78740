"""Strategic merge patches merge lists by their keys, as Kubernetes' schema says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes.schema import definition_of
from kontinuum.api.kubernetes.strategic import strategic_merge
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.status import ApiError

POD = definition_of("v1", "Pod")
DEPLOYMENT = definition_of("apps/v1", "Deployment")
NAMES = st.sampled_from("abcde")


def pod(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **more}}


def merged(doc: dict[str, Any], patch: dict[str, Any]) -> Any:
    return strategic_merge(doc, patch, POD)["spec"]


def test_containers_merge_by_name_and_new_ones_come_first() -> None:
    doc = pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"})
    result = merged(doc, pod({"name": "b", "image": "2"}, {"name": "c", "image": "3"}))
    assert [(one["name"], one["image"]) for one in result["containers"]] == [("a", "1"), ("b", "2"), ("c", "3")]
    assert [one["name"] for one in merged(doc, pod({"name": "z"}))["containers"]] == ["z", "a", "b"]


def test_the_order_that_a_patch_sets_is_kept() -> None:
    doc = pod({"name": "a"}, {"name": "b"}, {"name": "server-only"})
    order = [{"name": "c"}, {"name": "b"}, {"name": "a"}]
    patch = {"spec": {"$setElementOrder/containers": order, "containers": [{"name": "c"}]}}
    assert [one["name"] for one in merged(doc, patch)["containers"]] == ["c", "b", "a", "server-only"]


def test_an_order_alone_reorders() -> None:
    patch = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    assert [one["name"] for one in merged(pod({"name": "a"}, {"name": "b"}), patch)["containers"]] == ["b", "a"]


def test_a_list_element_is_deleted_by_its_key() -> None:
    patch = pod({"name": "a", "$patch": "delete"})
    assert merged(pod({"name": "a"}, {"name": "b"}), patch)["containers"] == [{"name": "b"}]


def test_what_is_new_is_taken_as_it_is() -> None:
    # The ports of a name server: the merge key is the number alone, and kubectl apply sends such lists whole.
    ports = [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]
    new = {"name": "dns", "ports": ports}
    assert merged(pod({"name": "a"}), pod(new))["containers"] == [new, {"name": "a"}]
    assert merged(pod({"name": "dns"}), pod(new))["containers"] == [new]


def test_elements_of_one_key_stay_beside_each_other() -> None:
    ports = [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]

    def patched(*patch: dict[str, Any]) -> Any:
        return merged(pod({"name": "dns", "ports": ports}), pod({"name": "dns", "ports": list(patch)}))

    assert patched({"containerPort": 80})["containers"][0]["ports"] == [{"containerPort": 80}, *ports]
    named = patched({"containerPort": 53, "name": "dns"})["containers"][0]["ports"]
    assert named == [{"containerPort": 53, "protocol": "UDP", "name": "dns"}, ports[1]]
    assert patched({"containerPort": 53, "$patch": "delete"})["containers"][0]["ports"] == []


def test_a_list_is_replaced_on_demand() -> None:
    patch = pod({"$patch": "replace"}, {"name": "c"})
    assert merged(pod({"name": "a"}, {"name": "b"}), patch)["containers"] == [{"name": "c"}]


def test_a_map_is_replaced_on_demand() -> None:
    patch = {"spec": {"nodeSelector": {"$patch": "replace", "b": "2"}}}
    assert merged(pod(nodeSelector={"a": "1"}), patch)["nodeSelector"] == {"b": "2"}


def test_atomic_lists_are_replaced() -> None:
    patch = {"spec": {"tolerations": [{"key": "b"}]}}
    assert merged(pod(tolerations=[{"key": "a"}]), patch)["tolerations"] == [{"key": "b"}]


def test_plain_lists_that_merge_are_sets() -> None:
    doc = {"metadata": {"finalizers": ["a", "b"]}}
    patch = {"metadata": {"finalizers": ["c", "b"], "$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategic_merge(doc, patch, POD)["metadata"]["finalizers"] == ["c", "b"]


def test_retain_keys_clears_the_other_members_of_a_union() -> None:
    doc = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge(doc, patch, DEPLOYMENT)["spec"]["strategy"] == {"type": "Recreate"}


def test_null_removes_a_field_and_is_forgotten_where_there_was_none() -> None:
    patch = {"spec": {"nodeName": None, "securityContext": {"runAsUser": None, "fsGroup": 1}}}
    assert merged(pod(nodeName="n"), patch) == {"containers": [], "securityContext": {"fsGroup": 1}}


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"spec": {"containers": [{"image": "no name"}]}},
        {"spec": {"$patch": "explode"}},
        {"spec": {"$setElementOrder/tolerations": [], "nodeName": "n"}},
    ],
)
def test_a_patch_that_contradicts_itself_is_a_bad_request(patch: Any) -> None:
    with pytest.raises(ApiError) as caught:
        strategic_merge(pod({"name": "a"}, tolerations=[]), patch, POD)
    assert caught.value.code == 400


CONTAINERS = st.lists(
    st.builds(lambda name, image: {"name": name, "image": image}, NAMES, st.sampled_from("12")),
    max_size=4,
    unique_by=lambda one: one["name"],
)


@given(CONTAINERS, CONTAINERS)
def test_merging_twice_changes_nothing_more_and_loses_nobody(first: list[Any], second: list[Any]) -> None:
    doc, patch = pod(*first), pod(*second)
    doc_before, patch_before = copy(doc), copy(patch)
    once = strategic_merge(doc, patch, POD)
    assert strategic_merge(once, patch, POD) == once
    assert (doc, patch) == (doc_before, patch_before)
    names = [one["name"] for one in once["spec"]["containers"]]
    assert sorted(names) == sorted({one["name"] for one in first + second})


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ([], "invalid JSON document"),
        ({"spec": {"$patch": "explode"}}, "unknown patch type: explode in map: map[$patch:explode]"),
        (pod({"name": "a", "$patch": "merge"}), "merging lists cannot yet be specified in the patch"),
        (pod({"name": "a", "$patch": "explode"}), "unknown patch type: explode in map: map[$patch:explode name:a]"),
        ({"spec": {"$retainKeys": ["a"], "nodeName": "n"}}, "invalid patch format of retainKeys"),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}, "invalid patch format of primitive list"),
        ({"spec": {"$setElementOrder/containers": "a"}}, "invalid patch format of setElementOrder list"),
        (pod({"image": "1"}), "map: map[image:1] does not contain declared merge key: name"),
        (pod(1),  # type: ignore[arg-type]
         "map: 1 does not contain declared merge key: name"),
        ({"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}},
         "The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n"),
    ],
)  # fmt: skip
def test_a_contradiction_is_told_in_kubernetes_words(patch: Any, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        strategic_merge({"metadata": {}, **pod({"name": "a"})}, patch, POD)
    assert (caught.value.code, caught.value.message) == (400, words)


def test_long_lists_are_merged_in_good_time() -> None:
    doc = pod(*({"name": f"c{number}"} for number in range(20_000)))
    order = [{"name": f"c{number}"} for number in reversed(range(20_000))]
    patch = {"spec": {"$setElementOrder/containers": order, "containers": [{"name": "c7", "image": "2"}]}}
    result = merged(doc, patch)["containers"]
    assert result[0] == {"name": "c19999"} and result[-8] == {"name": "c7", "image": "2"}


def two_way_patch(old: Any, new: Any, kind: Any) -> dict[str, Any]:
    """What kubectl makes of two versions of an object: the strategic patch from one to the other."""
    patch: dict[str, Any] = {}
    for key in old.keys() | new.keys():
        below = kind.fields.get(key) if kind is not None else None
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if after is None:
            patch[key] = None
        elif isinstance(before, dict) and isinstance(after, dict):
            patch[key] = two_way_patch(before, after, below)
        elif isinstance(before, list) and below is not None and "merge" in below.strategies:
            patch |= list_patch(key, before, after, below)
        else:
            patch[key] = after
    return patch


def list_patch(field: str, old: list[Any], new: list[Any], kind: Any) -> dict[str, Any]:
    name = kind.merge_key
    if not name:
        gone = [one for one in old if one not in new]
        added = [one for one in new if one not in old]
        return {f"$setElementOrder/{field}": new, f"$deleteFromPrimitiveList/{field}": gone, field: added}
    before = {one[name]: one for one in old}
    changed = [
        {name: one[name], **two_way_patch(before.get(one[name], {}), one, kind.element)}
        for one in new
        if before.get(one[name]) != one
    ]
    kept = {one[name] for one in new}
    gone = [{name: one, "$patch": "delete"} for one in before if one not in kept]
    return {f"$setElementOrder/{field}": [{name: one[name]} for one in new], field: changed + gone}


ENVIRONMENTS = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"value": NAMES}), max_size=3, unique_by=lambda one: one["name"]
)
OBJECTS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": NAMES},
            optional={
                "labels": st.dictionaries(NAMES, NAMES, min_size=1, max_size=3),
                "finalizers": st.lists(NAMES, unique=True, min_size=1, max_size=4),
            },
        ),
        "spec": st.fixed_dictionaries(
            {
                "containers": st.lists(
                    st.fixed_dictionaries({"name": NAMES}, optional={"image": NAMES, "env": ENVIRONMENTS}),
                    max_size=4,
                    unique_by=lambda one: one["name"],
                )
            },
            optional={
                "nodeName": NAMES,
                "tolerations": st.lists(st.fixed_dictionaries({"key": NAMES}), min_size=1, max_size=2),
            },
        ),
    }
)


@given(OBJECTS, OBJECTS)
def test_the_patch_from_one_version_to_another_leads_there(old: Any, new: Any) -> None:
    assert strategic_merge(old, two_way_patch(old, new, POD), POD) == new


@given(OBJECTS, OBJECTS, NAMES)
def test_a_patch_between_two_versions_leaves_what_a_third_party_added(old: Any, new: Any, name: str) -> None:
    live = copy(old)
    live["metadata"].setdefault("annotations", {})["theirs"] = name
    live["spec"]["containers"].append({"name": "theirs", "image": name})
    patched = strategic_merge(live, two_way_patch(old, new, POD), POD)
    assert patched["metadata"]["annotations"] == {"theirs": name}
    ours = [one for one in patched["spec"]["containers"] if one["name"] != "theirs"]
    assert ours == new["spec"]["containers"] and len(patched["spec"]["containers"]) == len(ours) + 1
