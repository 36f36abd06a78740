"""Owners of fields: what updates take, what applies share, dispute and leave behind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kontinuum.api.kubernetes.shapes import shape_of_kind
from kontinuum.api.machinery import fieldsets, managed_fields, merging
from kontinuum.api.machinery.comparing import Comparison
from kontinuum.api.machinery.managed_fields import APPLY, UPDATE, Applied, Owner, Owners
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.status import ApiError

DEPLOYMENT = shape_of_kind("apps/v1", "Deployment")
SERVICE = shape_of_kind("v1", "Service")
CONFIGMAP = shape_of_kind("v1", "ConfigMap")
POD = shape_of_kind("v1", "Pod")

Value = dict[str, Any]


class Live:
    """An object and its owners, as a server would keep them."""

    def __init__(self, shape: Any, version: str) -> None:
        self.shape = shape
        self.version = version
        self.obj: Value = {"metadata": {"name": "x"}}
        self.owners: Owners = {}
        self.exists = False

    def apply(self, manager: str, force: bool = False, **config: Any) -> Applied:
        body = {"metadata": {}, **copy(config)}
        merging.check(body, self.shape)
        author = Owner(manager, APPLY, self.version, time="now")
        result = managed_fields.apply(self.obj, body, self.shape, self.owners, author, force=force)
        self.obj, self.owners = copy(result.obj), result.owners
        return result

    def update(self, manager: str, subresource: str = "", **fields: Any) -> None:
        new = {**copy(self.obj), **copy(fields)}
        changes = managed_fields.changes_between(self.obj if self.owners else None, new, self.shape)
        author = Owner(manager, UPDATE, self.version, subresource, time="now")
        self.owners = managed_fields.updated(self.owners, changes, author)
        self.obj = new

    def owned(self, manager: str) -> set[str]:
        found = [one.fields for one in self.owners.values() if one.manager == manager]
        return {fieldsets.as_text(path) for fields in found for path in fieldsets.paths(fields)}


def deployment() -> Live:
    return Live(DEPLOYMENT, "apps/v1")


def service() -> Live:
    return Live(SERVICE, "v1")


def conflicts(live: Live, manager: str, **config: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        live.apply(manager, **config)
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    return caught.value


def test_a_configuration_makes_its_manager_the_owner_of_its_leaves() -> None:
    live = deployment()
    live.apply("one", metadata={"labels": {"a": "b"}}, spec={"replicas": 2})
    assert live.obj["spec"] == {"replicas": 2}
    assert live.owned("one") == {".metadata.labels.a", ".spec.replicas"}


def test_two_who_want_the_same_share_it() -> None:
    live = deployment()
    live.apply("one", spec={"replicas": 2})
    live.apply("two", spec={"replicas": 2})
    assert live.owned("one") == live.owned("two") == {".spec.replicas"}


def test_a_shared_field_stays_until_its_last_owner_leaves_it() -> None:
    live = deployment()
    live.apply("one", spec={"replicas": 2, "paused": True})
    live.apply("two", spec={"replicas": 2})
    live.apply("one", spec={"paused": True})
    assert live.obj["spec"] == {"replicas": 2, "paused": True}
    live.apply("two", metadata={"labels": {"a": "b"}})
    assert live.obj["spec"] == {"paused": True}


def test_one_who_wants_otherwise_is_told_whose_field_it_is() -> None:
    live = deployment()
    live.apply("one", spec={"replicas": 2})
    error = conflicts(live, "two", spec={"replicas": 3})
    assert error.message == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    (cause,) = error.details["causes"]
    assert cause == {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.replicas"}


def test_several_conflicts_are_listed_by_owner() -> None:
    live = deployment()
    live.update("editor", spec={"replicas": 2, "paused": True})
    live.update("scaler", subresource="scale", spec={"replicas": 4, "paused": True})
    error = conflicts(live, "two", spec={"replicas": 3, "paused": False})
    assert error.message == (
        'Apply failed with 2 conflicts: conflicts with "editor" using apps/v1 at now:\n- .spec.paused\n'
        'conflicts with "scaler" with subresource "scale" using apps/v1 at now:\n- .spec.replicas'
    )


def test_force_takes_the_field_from_its_owner() -> None:
    live = deployment()
    live.apply("one", spec={"replicas": 2, "paused": True})
    live.apply("two", force=True, spec={"replicas": 3})
    assert live.obj["spec"]["replicas"] == 3
    assert (live.owned("one"), live.owned("two")) == ({".spec.paused"}, {".spec.replicas"})


def test_an_update_takes_what_it_changes_and_an_apply_must_ask_for_it_back() -> None:
    live = deployment()
    live.apply("one", spec={"replicas": 2})
    live.update("two", spec={"replicas": 5})
    assert (live.owned("one"), live.owned("two")) == (set(), {".spec.replicas"})
    conflicts(live, "one", spec={"replicas": 2})


def test_what_an_update_removes_nobody_owns() -> None:
    live = deployment()
    live.apply("one", spec={"replicas": 2, "paused": True})
    live.update("two", spec={"paused": True})
    assert (live.owned("one"), live.owned("two")) == ({".spec.paused"}, set())


def test_ports_are_told_apart_by_number_and_protocol_which_is_tcp_by_default() -> None:
    live = service()
    live.apply("one", spec={"ports": [{"port": 53, "protocol": "UDP", "name": "u"}, {"port": 53, "name": "t"}]})
    live.apply("two", spec={"ports": [{"port": 53, "protocol": "TCP", "nodePort": 30053}, {"port": 80, "name": "h"}]})
    assert live.obj["spec"]["ports"] == [
        {"port": 53, "protocol": "UDP", "name": "u"},
        {"port": 53, "protocol": "TCP", "name": "t", "nodePort": 30053},
        {"port": 80, "name": "h"},
    ]
    live.apply("one", spec={"ports": [{"port": 53, "name": "t"}]})
    assert [port.get("name") for port in live.obj["spec"]["ports"]] == ["t", "h"]


def test_an_element_that_another_shares_loses_only_the_fields_of_who_leaves() -> None:
    live = deployment()
    spec = {"template": {"spec": {"containers": [{"name": "a", "image": "1", "tty": True}]}}}
    live.apply("one", spec=spec)
    live.apply("two", spec={"template": {"spec": {"containers": [{"name": "a", "workingDir": "/"}]}}})
    live.apply("one", metadata={"labels": {"a": "b"}})
    assert live.obj["spec"]["template"]["spec"]["containers"] == [{"name": "a", "workingDir": "/"}]


def test_whole_lists_and_objects_have_one_owner() -> None:
    live = service()
    live.apply("one", spec={"selector": {"a": "b"}, "externalIPs": ["1.1.1.1"]})
    assert live.owned("one") == {".spec.selector", ".spec.externalIPs"}
    assert len(conflicts(live, "two", spec={"selector": {"c": "d"}}).details["causes"]) == 1
    live.apply("one", spec={"selector": {"c": "d"}})
    assert live.obj["spec"]["selector"] == {"c": "d"}


def test_sets_are_owned_element_by_element() -> None:
    live = deployment()
    live.apply("one", metadata={"finalizers": ["a/a", "b/b"]})
    live.apply("two", metadata={"finalizers": ["b/b", "c/c"]})
    live.apply("one", metadata={"finalizers": ["a/a"]})
    assert sorted(live.obj["metadata"]["finalizers"]) == ["a/a", "b/b", "c/c"]
    live.apply("one", metadata={"labels": {"a": "b"}})
    assert live.obj["metadata"]["finalizers"] == ["b/b", "c/c"]


def test_what_a_create_sets_belongs_to_its_manager_but_not_the_servers_own() -> None:
    live = Live(POD, "v1")
    live.obj = {"metadata": {}}
    live.update(
        "kubelet", metadata={"name": "x", "uid": "u", "labels": {"a": "b"}}, spec={"containers": [{"name": "c"}]}
    )
    (owner,) = live.owners.values()
    assert owner.fields == {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:name": {}}}},
    }


def test_a_change_that_changes_nothing_leaves_the_entries_alone() -> None:
    live = deployment()
    live.update("one", spec={"replicas": 1})
    before = live.owners
    live.update("two", spec={"replicas": 1})
    assert live.owners is before


def test_the_oldest_of_many_updaters_become_ancient_changes() -> None:
    live = Live(CONFIGMAP, "v1")
    for number in range(13):
        author = Owner(f"m{number:02}", UPDATE, "v1", time=f"t{number:02}")
        new = {**live.obj, "data": {**live.obj.get("data", {}), f"k{number}": "v"}}
        changes = managed_fields.changes_between(live.obj if number else None, new, live.shape)
        live.owners, live.obj = managed_fields.updated(live.owners, changes, author), new
    assert len(live.owners) == 10
    assert live.owned("ancient-changes") == {".data", ".data.k0", ".data.k1", ".data.k2", ".data.k3"}


PARTS: Any = st.sampled_from([{}, {"f:a": {}}, {".": {}, "f:a": {}}, {"f:a": {}, "f:b": {"f:c": {}}}])
SETS: Any = st.dictionaries(st.sampled_from(["f:metadata", "f:spec", "f:status"]), PARTS, max_size=2)
OWNERS: Any = st.lists(
    st.builds(
        Owner,
        st.sampled_from(["one", "two", *(f"many{number}" for number in range(8))]),
        st.sampled_from([APPLY, UPDATE]),
        st.sampled_from(["v1", "v2"]),
        st.sampled_from(["", "status"]),
        st.sampled_from(["", "t1", "t2"]),
        SETS,
    ),
    max_size=12,
)


@given(
    OWNERS,
    st.none() | OWNERS,
    st.builds(Comparison, SETS, SETS, st.just({}) | SETS),
    st.sampled_from(["one", "two"]),
    st.sampled_from(["", "status"]),
)
def test_a_newcomer_comes_to_the_same_as_if_all_owners_were_looked_at(
    before: list[Owner], sent: list[Owner] | None, changes: Comparison, manager: str, subresource: str
) -> None:
    stored = managed_fields.encode({one.identity: one for one in before})
    written, author = copy(stored), Owner(manager, UPDATE, "v1", subresource, "t2")
    given = None if sent is None else {one.identity: one for one in sent}
    owners = managed_fields.decode(stored, trusted=True) if given is None else given
    looked = managed_fields.updated(owners, changes, author)
    expected = stored if looked is owners and given is None else managed_fields.encode(looked)
    assert managed_fields.entries_after(stored, given, changes, author) == expected
    assert stored == written


def test_entries_survive_their_encoding() -> None:
    live = deployment()
    live.apply("one", spec={"replicas": 2})
    live.update("two", subresource="status", status={"replicas": 2})
    entries = managed_fields.encode(live.owners)
    assert [entry["operation"] for entry in entries] == ["Apply", "Update"]
    assert entries[1]["subresource"] == "status" and "subresource" not in entries[0]
    assert managed_fields.decode(entries) == live.owners


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"spec": {"replicaz": 1}}, ".spec.replicaz: field not declared in schema"),
        ({"spec": {"replicas": "1"}}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}},
         '.spec.template.spec.containers: duplicate entries for key [name="a"]'),
        ({"spec": {"template": {"spec": {"containers": [{"image": "a"}]}}}},
         ".spec.template.spec.containers: element 0: associative list with keys has an element that omits all key "
         'fields ["name"] (and doesn\'t have default values for any of them)'),
        ({"spec": {"template": {"spec": {"containers": [{"name": "a", "env": [{"name": "E", "value": 1}]}]}}}},
         '.spec.template.spec.containers[name="a"].env[name="E"].value: expected string, got '
         "&value.valueUnstructured{Value:1}"),
    ],
)  # fmt: skip
def test_a_configuration_that_its_type_cannot_hold_is_refused_with_its_path(config: Value, problem: str) -> None:
    with pytest.raises(merging.Malformed) as caught:
        merging.check(config, DEPLOYMENT)
    assert str(caught.value) == problem


def test_the_order_of_a_configuration_wins_and_others_keep_their_place() -> None:
    shape = POD.below("spec").below("containers")

    def names(live: str, config: str) -> str:
        merged = merging.merge([{"name": one} for one in live], [{"name": one} for one in config], shape)
        return "".join(one["name"] for one in merged)

    assert names("abc", "cb") == "acb"
    assert names("ax", "na") == "nax"
    assert names("axb", "ba") == "xba"
    assert names("x", "n") == "xn"


KEYS = st.sampled_from("abcd")
NAMES = st.sampled_from(["x", "y", "z"])
PROTOCOLS = st.sampled_from(["TCP", "UDP"])
PORTS = st.lists(
    st.fixed_dictionaries({"port": st.integers(1, 3)}, optional={"name": NAMES, "protocol": PROTOCOLS}),
    max_size=3,
    unique_by=lambda one: (one["port"], one.get("protocol", "TCP")),
)  # fmt: skip
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(KEYS, NAMES, max_size=3),
                "finalizers": st.lists(KEYS, unique=True, max_size=3),
            },
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "type": NAMES,
                "selector": st.dictionaries(KEYS, NAMES, max_size=2),
                "ports": PORTS,
                "sessionAffinityConfig": st.just({"clientIP": {"timeoutSeconds": 1}}),
            },
        ),
    },
)

History = list[tuple[str, Value]]
HISTORIES = st.lists(st.tuples(st.sampled_from(["one", "two", "editor"]), CONFIGS), max_size=5)


@given(HISTORIES, CONFIGS)
def test_applying_twice_changes_nothing_more(history: History, config: Value) -> None:
    live = _after(history)
    live.apply("me", force=True, **config)
    obj, owners = copy(live.obj), live.owners
    assert live.apply("me", force=True, **config).is_same
    assert (live.obj, live.owners) == (obj, owners)


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), CONFIGS), max_size=3), CONFIGS, CONFIGS)
@example([], {"spec": {"ports": [{"port": 1}]}}, {"spec": {"ports": [{"port": 2}, {"protocol": "TCP", "port": 1}]}})
def test_applies_without_conflict_commute(history: History, first: Value, second: Value) -> None:
    results = []
    for order in ((("me", first), ("you", second)), (("you", second), ("me", first))):
        live = _after(history)
        try:
            for manager, config in order:
                live.apply(manager, **config)
        except ApiError:
            return
        results.append(live)
    assert results[0].owners == results[1].owners
    assert _without_order(results[0].obj) == _without_order(results[1].obj)


@given(HISTORIES, CONFIGS)
def test_whoever_applied_last_owns_all_that_the_configuration_says(history: History, config: Value) -> None:
    live = _after(history)
    live.apply("me", force=True, **config)
    merged = merging.merge(live.obj, {"metadata": {}, **config}, live.shape)
    assert _without_order(merged) == _without_order(live.obj), "the object holds what was applied"


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), CONFIGS), max_size=4))
def test_what_everybody_has_left_is_gone(history: History) -> None:
    live = _after(history)
    for manager in ("one", "two"):
        live.apply(manager, force=True)
    assert _without_order(live.obj) == {"metadata": {"name": "x"}}


def _after(history: History) -> Live:
    live = service()
    for manager, config in history:
        if manager == "editor":
            if live.owners:
                live.update(manager, **{"metadata": live.obj["metadata"], **config})
        else:
            live.apply(manager, force=True, **config)
    return live


def _without_order(value: Any) -> Any:
    if isinstance(value, dict):
        found = {key: _without_order(one) for key, one in sorted(value.items())}
        return {key: one for key, one in found.items() if one not in (None, {}, [])}
    if isinstance(value, list):
        return sorted((_without_order(one) for one in value), key=str)
    return value
