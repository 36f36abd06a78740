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
