"""Role-based decisions are those of a slow and obvious reading of the rules."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.authz.index import Caches
from kontinuum.apiserver.authz.rbac import Rbac

Object = dict[str, Any]


class Entry:
    def __init__(self, obj: Object) -> None:
        self.value = orjson.dumps(obj)


class Cache:
    """Stands for a watch cache of objects by ``namespace/name``."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._changed: set[str] = set()

    def follow(self) -> set[str]:
        return self._changed

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def put(self, obj: Object) -> None:
        metadata = obj["metadata"]
        key = f"{metadata.get('namespace', '')}/{metadata['name']}"
        self.entries[key] = Entry(obj)
        self._changed.add(key)

    def remove(self, key: str) -> None:
        del self.entries[key]
        self._changed.add(key)

    def objects(self) -> list[Object]:
        return [orjson.loads(entry.value) for entry in self.entries.values()]


class World:
    def __init__(self) -> None:
        self.kinds = {kind: Cache() for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")}
        self.rbac = Rbac(Caches(*self.kinds.values()))

    def oracle(self, asked: Attributes) -> bool:
        """Kubernetes' documentation, word for word."""
        bindings = [(one, "") for one in self.kinds["ClusterRoleBinding"].objects()]
        for one in self.kinds["RoleBinding"].objects():
            namespace = one["metadata"]["namespace"]
            if asked.is_resource and namespace == asked.namespace:
                bindings.append((one, namespace))
        for one, namespace in bindings:
            if not any(speaks_of(subject, asked.user, namespace) for subject in one.get("subjects") or ()):
                continue
            for role in self.kinds[one["roleRef"]["kind"]].objects():
                home = role["metadata"].get("namespace", "")
                if role["metadata"]["name"] != one["roleRef"]["name"] or home not in ("", namespace):
                    continue
                if any(allows(rule, asked) for rule in role.get("rules") or ()):
                    return True
        return False


def speaks_of(subject: Object, user: User, namespace: str) -> bool:
    if subject["kind"] == "User":
        return bool(subject["name"] == user.name)
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    home = subject.get("namespace") or namespace
    return bool(home) and user.name == f"system:serviceaccount:{home}:{subject['name']}"


def allows(rule: Object, asked: Attributes) -> bool:
    if not ({"*", asked.verb} & set(rule["verbs"])):
        return False
    if not asked.is_resource:
        return any(
            pattern in ("*", asked.path) or (pattern.endswith("*") and asked.path.startswith(pattern.rstrip("*")))
            for pattern in rule.get("nonResourceURLs") or ()
        )
    what = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    resources = {"*", what} | ({f"*/{asked.subresource}"} if asked.subresource else set())
    names = rule.get("resourceNames")
    return (
        bool({"*", asked.group} & set(rule.get("apiGroups") or ()))
        and bool(resources & set(rule.get("resources") or ()))
        and (not names or asked.name in names)
    )


verbs = st.sampled_from(["get", "list", "delete", "*"])
groups = st.sampled_from(["", "apps", "*"])
resources = st.sampled_from(["pods", "pods/exec", "scale", "*/scale", "*", "deployments/scale"])
names = st.sampled_from(["a", "b"])
namespaces = st.sampled_from(["n1", "n2"])
paths = st.sampled_from(["/healthz", "/healthz/*", "/metrics", "*", "/h*"])
some = lambda values: st.lists(values, max_size=2)  # noqa: E731
resource_rules = st.fixed_dictionaries(
    {"verbs": some(verbs), "apiGroups": some(groups), "resources": some(resources)},
    optional={"resourceNames": some(names)},
)
path_rules = st.fixed_dictionaries({"verbs": some(verbs), "nonResourceURLs": some(paths)})
rules = st.lists(st.one_of(resource_rules, path_rules), max_size=3)
subjects = st.one_of(
    st.builds(lambda name: {"kind": "User", "name": name}, st.sampled_from(["jane", "joe"])),
    st.builds(lambda name: {"kind": "Group", "name": name}, st.sampled_from(["dev", "ops"])),
    st.builds(lambda namespace: {"kind": "ServiceAccount", "name": "sa", **namespace},
              st.sampled_from([{}, {"namespace": "n1"}, {"namespace": "n2"}])),
)  # fmt: skip
users = st.one_of(
    st.builds(User, st.sampled_from(["jane", "joe"]), st.sampled_from([(), ("dev",), ("dev", "ops")])),
    st.builds(lambda namespace: User(f"system:serviceaccount:{namespace}:sa"), namespaces),
)
questions = st.one_of(
    st.builds(
        Attributes, users, st.sampled_from(["get", "list", "delete"]), st.sampled_from(["", "apps"]),
        st.sampled_from(["pods", "deployments"]), st.sampled_from(["", "exec", "scale"]),
        st.sampled_from(["", "n1", "n2"]), st.sampled_from(["", "a", "b"]),
    ),
    st.builds(lambda user, path: Attributes(user, "get", path=path), users,
              st.sampled_from(["/healthz", "/healthz/etcd", "/metrics"])),
)  # fmt: skip


def role_of(kind: str, name: str, namespace: str, found: list[Object]) -> Object:
    home = {"namespace": namespace} if kind == "Role" else {}
    return {"metadata": {"name": name, **home}, "rules": found}


def binding_of(kind: str, name: str, namespace: str, role: tuple[str, str], found: list[Object]) -> Object:
    role_kind, role_name = role
    home = {"namespace": namespace} if kind == "RoleBinding" else {}
    reference = {"kind": "ClusterRole" if kind == "ClusterRoleBinding" else role_kind, "name": role_name}
    return {"metadata": {"name": name, **home}, "roleRef": reference, "subjects": found}


role_names = st.sampled_from(["r1", "r2"])
changes = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(["ClusterRole", "Role"]), role_names, namespaces, rules),
    st.tuples(
        st.just("bind"), st.sampled_from(["ClusterRoleBinding", "RoleBinding"]), st.sampled_from(["b1", "b2"]),
        namespaces, st.tuples(st.sampled_from(["ClusterRole", "Role"]), role_names), st.lists(subjects, max_size=3),
    ),
    st.tuples(st.just("remove"), st.sampled_from(["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"])),
)  # fmt: skip


def make(world: World, change: Any) -> None:
    match change:
        case ("put", kind, name, namespace, found):
            world.kinds[kind].put(role_of(kind, name, namespace, found))
        case ("bind", kind, name, namespace, role, found):
            world.kinds[kind].put(binding_of(kind, name, namespace, role, found))
        case ("remove", kind):
            cache = world.kinds[kind]
            if cache.entries:
                cache.remove(min(cache.entries))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(changes, questions, st.booleans()), min_size=1, max_size=12))
def test_every_decision_is_that_of_the_oracle_after_every_change(story: list[tuple[Any, Attributes, bool]]) -> None:
    world = World()
    everything_asked = []
    for change, asked, is_listed in story:
        make(world, change)
        if is_listed:
            # Whoever lists the rules first must not hide from the next decision that they have changed.
            world.rbac.rules(asked.user, asked.namespace)
        everything_asked.append(asked)
        for one in everything_asked:
            assert world.rbac.decide(one).allowed == world.oracle(one)
            # What is remembered of one object says nothing of others that other rules speak of, nor of paths.
            for other in (replace(one, name="b"), replace(one, path="/metrics", group="", resource="", subresource="")):
                assert world.rbac.decide(other).allowed == world.oracle(other)


def test_a_decision_names_the_binding_that_allowed_it() -> None:
    world = World()
    world.kinds["Role"].put(
        role_of("Role", "reader", "n1", [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])
    )
    jane = {"kind": "User", "name": "jane"}
    world.kinds["RoleBinding"].put(binding_of("RoleBinding", "readers", "n1", ("Role", "reader"), [jane]))
    decision = world.rbac.decide(Attributes(User("jane"), "get", "", "pods", "", "n1", "a"))
    assert decision.reason == 'RBAC: allowed by RoleBinding "readers/n1" of Role "reader" to User "jane"'


def test_a_missing_role_is_named_in_the_refusal() -> None:
    world = World()
    jane = {"kind": "User", "name": "jane"}
    world.kinds["ClusterRoleBinding"].put(
        binding_of("ClusterRoleBinding", "b", "", ("ClusterRole", "gone"), [jane]),
    )
    decision = world.rbac.decide(Attributes(User("jane"), "get", "", "pods", "", "n1", "a"))
    assert not decision.allowed
    assert decision.reason == 'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'
