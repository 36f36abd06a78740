"""However a change is sent, it comes to the same object; and who has written a field is who owns it.

Random objects and changes against a real server. What each patch type means by itself is in ``tests/api``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import jsonpatch
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from tests.api.test_strategic import two_way_patch
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PATCH_TYPES, Answer, Api, Certificates, serving

from kontinuum.api.kubernetes.schema import definition_of
from kontinuum.api.machinery.patches import copy
from kontinuum.store.memory.store import MemoryStore

Object = dict[str, Any]
DEPLOYMENT = definition_of("apps/v1", "Deployment")
NUMBERS = itertools.count()
SLOWLY = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@dataclass
class Server:
    """A server that the examples of one property share; each has objects of its own."""

    runner: asyncio.Runner
    api: Api

    def run(self, work: Coroutine[Any, Any, Answer], *codes: int) -> Any:
        answer = self.runner.run(work)
        assert answer.code in (codes or (200, 201)), answer.body
        return answer.body

    def apply(self, path: str, config: Object, manager: str, *, force: bool = True) -> Any:
        query = f"?fieldManager={manager}&force={str(force).lower()}"
        body = orjson.dumps(config)
        return self.run(self.api.call("PATCH", path + query, body, content_type=PATCH_TYPES["apply"]))

    def patch(self, path: str, patch: Any, kind: str, manager: str = "tests") -> Any:
        body = orjson.dumps(patch)
        return self.run(self.api.call("PATCH", f"{path}?fieldManager={manager}", body, content_type=PATCH_TYPES[kind]))


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Server]:
    with asyncio.Runner() as runner:
        context = serving(MemoryStore(), certificates)
        api = runner.run(context.__aenter__())
        yield Server(runner, api)
        runner.run(context.__aexit__(None, None, None))


KEYS = st.sampled_from("abcd")
WORDS = st.sampled_from(["x", "y", "z"])
MAPS = st.dictionaries(KEYS, WORDS, min_size=1, max_size=3)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": KEYS, "image": WORDS},
        optional={
            "command": st.lists(WORDS, min_size=1, max_size=3),
            "env": st.lists(
                st.fixed_dictionaries({"name": KEYS, "value": WORDS}),
                min_size=1,
                max_size=3,
                unique_by=lambda e: e["name"],
            ),
            "ports": st.lists(
                st.fixed_dictionaries({"containerPort": st.integers(1, 4)}, optional={"protocol": st.just("UDP")}),
                min_size=1,
                max_size=3,
                unique_by=lambda one: one["containerPort"],
            ),
            "resources": st.fixed_dictionaries({"requests": st.just({"cpu": "100m"})}),
            "imagePullPolicy": st.sampled_from(["Always", "Never"]),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one["name"],
)
PODS = st.fixed_dictionaries(
    {"containers": CONTAINERS},
    optional={
        "volumes": st.lists(KEYS, min_size=1, max_size=3, unique=True).map(
            lambda names: [{"name": name, "emptyDir": {}} for name in names]
        ),
        "nodeSelector": MAPS,
        "tolerations": st.lists(
            st.fixed_dictionaries({"key": KEYS, "operator": st.just("Exists")}), min_size=1, max_size=2
        ),
        "terminationGracePeriodSeconds": st.integers(0, 40),
        "priorityClassName": st.sampled_from(["system-node-critical", "system-cluster-critical"]),
    },
)
SPECS = st.fixed_dictionaries(
    {"pod": PODS},
    optional={"replicas": st.integers(0, 3), "paused": st.just(True), "minReadySeconds": st.integers(1, 9)},
)
MARKS = st.fixed_dictionaries({}, optional={"labels": MAPS, "annotations": MAPS})


def made(marks: Object, spec: Object) -> Object:
    """A Deployment as a client sends it."""
    labels = {"app": "x"}
    rest = {key: value for key, value in spec.items() if key != "pod"}
    template = {"metadata": {"labels": labels}, "spec": spec["pod"]}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": copy(marks),
        "spec": {"selector": {"matchLabels": labels}, "template": copy(template), **rest},
    }  # fmt: skip


OBJECTS = st.builds(made, MARKS, SPECS)


def named(obj: Object, name: str) -> Object:
    return {**copy(obj), "metadata": {**copy(obj["metadata"]), "name": name}}


def content(obj: Object) -> Object:
    """What a client says, with what the server fills in; not the object's identity and history."""
    metadata = {key: obj["metadata"][key] for key in ("labels", "annotations") if key in obj["metadata"]}
    return {"metadata": metadata, "spec": obj["spec"]}


def merge_patch(old: Any, new: Any) -> Any:
    """The RFC 7386 patch from one version to another."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    changed = {key: merge_patch(old.get(key), value) for key, value in new.items() if old.get(key) != value}
    return {**changed, **dict.fromkeys(old.keys() - new.keys())}


def begin(server: Server, obj: Object, kind: str) -> tuple[str, Object]:
    """A new object for one kind of change: its path, and what is stored."""
    name = f"{kind}-{next(NUMBERS)}"
    path = f"{DEPLOYMENTS}/{name}"
    if kind == "apply":
        return path, server.apply(path, named(obj, name), "me")
    return path, server.run(server.api.create(DEPLOYMENTS, named(obj, name)))


@SLOWLY
@given(old=OBJECTS, new=OBJECTS)
def test_every_kind_of_change_leads_to_the_same_object(server: Server, old: Object, new: Object) -> None:
    path, _ = begin(server, old, "put")
    put = server.run(server.api.update(path, named(new, path.rpartition("/")[2])))
    expected = content(put)

    path, stored = begin(server, old, "json")
    operations = jsonpatch.make_patch(content(stored), expected).patch
    assert content(server.patch(path, operations, "json")) == expected

    path, _ = begin(server, old, "merge")
    assert content(server.patch(path, merge_patch(old, new), "merge")) == expected

    path, _ = begin(server, old, "strategic")
    assert content(server.patch(path, two_way_patch(old, new, DEPLOYMENT), "strategic")) == expected

    path, _ = begin(server, old, "apply")
    assert content(server.apply(path, named(new, path.rpartition("/")[2]), "me")) == expected


@SLOWLY
@given(old=OBJECTS, new=OBJECTS)
def test_the_same_change_again_writes_nothing(server: Server, old: Object, new: Object) -> None:
    for kind, patch in (("merge", merge_patch(old, new)), ("strategic", two_way_patch(old, new, DEPLOYMENT))):
        path, _ = begin(server, old, kind)
        once = server.patch(path, patch, kind)
        assert server.patch(path, patch, kind) == once
    path, _ = begin(server, old, "apply")
    config = named(new, path.rpartition("/")[2])
    once = server.apply(path, config, "me")
    assert server.apply(path, config, "me") == once
    sent = {key: value for key, value in once.items() if key != "status"}
    assert server.run(server.api.update(path, sent)) == once


@SLOWLY
@given(old=OBJECTS, marks=MARKS, new=OBJECTS, theirs=WORDS)
def test_changes_of_different_fields_commute(
    server: Server, old: Object, marks: Object, new: Object, theirs: str
) -> None:
    """And leave alone what a third party has added meanwhile."""
    sections = {name: (old["metadata"].get(name, {}), marks.get(name, {})) for name in ("labels", "annotations")}
    first = {"metadata": {name: merge_patch(before, after) for name, (before, after) in sections.items()}}
    for kind, second in (
        ("merge", {"spec": merge_patch(old["spec"], new["spec"])}),
        ("strategic", two_way_patch({"spec": old["spec"]}, {"spec": new["spec"]}, DEPLOYMENT)),
    ):
        results = []
        for order in ((first, second), (second, first)):
            path, _ = begin(server, old, kind)
            server.patch(path, {"metadata": {"annotations": {"theirs": theirs}}}, "merge", "third")
            for patch in order:
                last = server.patch(path, patch, kind)
            results.append(content(last))
            assert last["metadata"]["annotations"]["theirs"] == theirs
        assert results[0] == results[1]


YOURS = ("paused", "minReadySeconds", "replicas")


def without(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if key not in YOURS}


@SLOWLY
@given(old=OBJECTS, mine=MARKS, yours=SPECS)
def test_applies_of_different_managers_commute(server: Server, old: Object, mine: Object, yours: Object) -> None:
    results = []
    for order in (("me", "you"), ("you", "me")):
        path, _ = begin(server, {**old, "spec": without(old["spec"])}, "apply")
        name = path.rpartition("/")[2]
        configs = {
            "me": named({**old, "metadata": mine, "spec": without(old["spec"])}, name),
            "you": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
                key: yours[key] for key in YOURS if key in yours}},
        }  # fmt: skip
        for manager in order:
            last = server.apply(path, configs[manager], manager)
        results.append(content(last))
    assert results[0] == results[1]


# Who owns what, in the simplest of kinds: every leaf is a key of labels or data.
STATES = st.fixed_dictionaries({}, optional={"labels": MAPS, "data": MAPS})
STEPS = st.lists(
    st.tuples(st.sampled_from(["one", "two", "three"]), st.sampled_from(["apply", "put", "merge"]), STATES),
    min_size=1,
    max_size=6,
)
Leaf = tuple[str, str]


def leaves(obj: Object) -> dict[Leaf, str]:
    labels = (obj.get("metadata") or {}).get("labels") or {}
    found = {("labels", key): value for key, value in labels.items()}
    return found | {("data", key): value for key, value in (obj.get("data") or {}).items()}


def owners(obj: Object) -> dict[Leaf, set[tuple[str, str]]]:
    """Leaf → manager and operation of every entry that names it."""
    found: dict[Leaf, set[tuple[str, str]]] = {}
    for entry in obj["metadata"].get("managedFields") or ():
        fields = entry["fieldsV1"]
        sections = {"labels": fields.get("f:metadata", {}).get("f:labels", {}), "data": fields.get("f:data", {})}
        for section, keys in sections.items():
            for key in keys:
                if key != ".":
                    found.setdefault((section, key[2:]), set()).add((entry["manager"], entry["operation"]))
    return found


BASE = {"data": {"base": "x"}}
"""An object that nobody owns any field of is not tracked until somebody applies to it."""


def body_of(name: str, state: Object) -> Object:
    metadata = {"name": name, **({"labels": state["labels"]} if "labels" in state else {})}
    data = {"data": state["data"]} if "data" in state else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **data}


def merging(state: Object) -> Object:
    """A merge patch that sets what ``state`` says; what is "z" there, it removes."""
    sections = {
        name: {key: None if value == "z" else value for key, value in keys.items()} for name, keys in state.items()
    }
    return {"metadata": {"labels": sections.get("labels", {})}, "data": sections.get("data", {})}


@SLOWLY
@given(first=STATES, steps=STEPS)
def test_who_writes_a_field_owns_it(server: Server, first: Object, steps: list[tuple[str, str, Object]]) -> None:
    name = f"owned-{next(NUMBERS)}"
    path = f"{CONFIGMAPS}/{name}"
    create = server.api.create(f"{CONFIGMAPS}?fieldManager=zero", body_of(name, {**first, **BASE}))
    obj = server.run(create)
    for manager, kind, state in steps:
        before, owned = leaves(obj), owners(obj)
        body = body_of(name, state)
        if kind == "apply":
            obj = server.apply(path, body, manager)
        elif kind == "put":
            whole = body_of(name, {**state, "data": {**(state.get("data") or {}), **BASE["data"]}})
            obj = server.run(server.api.update(f"{path}?fieldManager={manager}", whole))
        else:
            obj = server.patch(path, merging(state), "merge", manager)
        after, now = leaves(obj), owners(obj)
        assert now.keys() == after.keys(), "every field has an owner, and nobody owns what is not there"
        me = (manager, "Apply" if kind == "apply" else "Update")
        for leaf, value in after.items():
            if kind == "apply" and leaf in leaves(body):
                assert me in now[leaf]
            if before.get(leaf) != value:
                assert now[leaf] == {me}, "what changes belongs to who has changed it"
            elif kind == "apply":
                assert now[leaf] - {me} == owned[leaf] - {me}, "whoever wanted the same stays an owner"
            else:
                assert now[leaf] == owned[leaf], "what does not change keeps its owners"
        if kind == "apply":
            left = {leaf for leaf, names in owned.items() if me in names and leaf not in leaves(body)}
            assert all(me not in now.get(leaf, ()) for leaf in left)
            assert all(leaf in after if owned[leaf] - {me} else leaf not in after for leaf in left)


@SLOWLY
@given(first=STATES, update=STATES, config=STATES)
def test_an_apply_conflicts_with_exactly_what_others_say_otherwise(
    server: Server, first: Object, update: Object, config: Object
) -> None:
    name = f"conflict-{next(NUMBERS)}"
    path = f"{CONFIGMAPS}/{name}"
    server.apply(path, body_of(name, BASE), "other")
    server.apply(path, body_of(name, first), "me")
    obj = server.patch(path, merging(update), "merge", "editor")
    there, owned = leaves(obj), owners(obj)
    contested = {
        leaf
        for leaf, value in leaves(body_of(name, config)).items()
        if leaf in there and there[leaf] != value and owned[leaf] - {("me", "Apply")}
    }
    body = orjson.dumps(body_of(name, config))
    query = f"{path}?fieldManager=me"
    answer = server.runner.run(server.api.call("PATCH", query, body, content_type=PATCH_TYPES["apply"]))
    assert answer.code == (409 if contested else 200), answer.body
    if contested:
        named_ = {cause["field"] for cause in answer.body["details"]["causes"]}
        expected = {f".metadata.labels.{key}" if section == "labels" else f".data.{key}" for section, key in contested}
        assert named_ == expected
        assert server.run(server.api.get(path)) == obj
