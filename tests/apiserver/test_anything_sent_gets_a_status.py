"""Generated requests to a real server: whatever is sent, the answer comes soon, is a Status, and is never a 500."""

from __future__ import annotations

import copy
import resource
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PATCH_TYPES, PODS, Certificates, configmap, deployment, pod
from tests.apiserver.threaded import Threaded, threaded

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12) | st.sampled_from(["", "x", "a/b", "100m", "$patch", "IfNotPresent", "2024-01-01T00:00:00Z"])
)  # fmt: skip
NAMES = st.text(max_size=5) | st.sampled_from(
    ["metadata", "name", "spec", "status", "data", "labels", "annotations", "containers", "$patch", "$retainKeys",
     "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "finalizers", "managedFields", "replicas",
     "ownerReferences", "resources", "image", "kind", "apiVersion", "generateName", "selector", "template"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=4), max_leaves=15
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Threaded]:
    with threaded(certificates, request_timeout_seconds=20.0) as server:
        server.call("POST", CONFIGMAPS, orjson.dumps(configmap("c", a="b")))
        server.call("POST", DEPLOYMENTS, orjson.dumps(deployment("web")))
        server.call("POST", PODS, orjson.dumps(pod("p")))
        yield server


def check(answer: tuple[int, bytes]) -> None:
    code, body = answer
    assert code < 500, (code, body)
    if code >= 400:
        status = orjson.loads(body)
        assert status["kind"] == "Status" and status["code"] == code and status["message"]


def damaged(base: dict[str, Any], path: list[Any], value: Any) -> bytes:
    """``base`` with ``value`` somewhere in it; ``path`` chooses where."""
    found: Any = copy.deepcopy(base)
    root = found
    for step in path:
        keys = list(found) if isinstance(found, dict) else list(range(len(found)))
        if not keys:
            break
        key = keys[step % len(keys)]
        if not isinstance(found[key], dict | list) or not found[key]:
            found[key] = value
            return orjson.dumps(root)
        found = found[key]
    if isinstance(found, dict):
        found["x" if len(path) % 2 else "metadata"] = value
    else:
        found.append(value)
    return orjson.dumps(root)


DEFINITION = {
    "metadata": {"name": "gadgets.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                "type": "object", "properties": {"size": {"type": "integer", "minimum": 1, "default": 3},
                                                 "text": {"type": "string", "pattern": "^a+$"}},
                "x-kubernetes-validations": [{"rule": "self.size < 10"}],
            }}}},
        }],
    },
}  # fmt: skip
KINDS = {
    "configmap": (CONFIGMAPS, configmap("new", a="b")), "pod": (PODS, pod("new", nodeName="n", hostNetwork=True)),
    "deployment": (DEPLOYMENTS, deployment("new")), "definition": (CRDS, DEFINITION),
    "service": ("/api/v1/namespaces/default/services",
                {"metadata": {"name": "new"}, "spec": {"ports": [{"port": 80, "nodePort": 0}], "type": "NodePort",
                                                       "selector": {"a": "b"}}}),
    "role": ("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
             {"metadata": {"name": "new"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
    "cronjob": ("/apis/batch/v1/namespaces/default/cronjobs",
                {"metadata": {"name": "new"}, "spec": {"schedule": "* * * * *", "jobTemplate": {
                    "spec": {"template": {"spec": pod("x")["spec"]}}}}}),
    "review": ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
               {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}),
    "policy": ("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
               {"metadata": {"name": "new"}, "spec": {"validations": [{"expression": "true"}], "matchConstraints": {
                   "resourceRules": [{"apiGroups": ["x"], "apiVersions": ["v1"], "operations": ["CREATE"],
                                      "resources": ["x"]}]}}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(path=st.lists(st.integers(0, 20), max_size=8), value=VALUES)
@SOME
def test_any_damage_to_an_object_is_stored_or_refused(server: Threaded, kind: str, path: list[int], value: Any) -> None:
    place, base = KINDS[kind]
    check(server.call("POST", f"{place}?dryRun=All&fieldValidation=Strict", damaged(base, path, value)))
    check(server.call("POST", f"{place}?dryRun=All", damaged(base, path, value)))


@pytest.mark.parametrize("kind", ["merge", "strategic", "apply"])
@pytest.mark.parametrize("target", [f"{CONFIGMAPS}/c", f"{DEPLOYMENTS}/web", f"{PODS}/p", f"{DEPLOYMENTS}/web/scale"])
@given(patch=OBJECTS)
@SOME
def test_any_patch_is_applied_or_refused(server: Threaded, kind: str, target: str, patch: dict[str, Any]) -> None:
    query = "?dryRun=All&fieldManager=x&force=true" if kind == "apply" else "?dryRun=All"
    check(server.call("PATCH", target + query, orjson.dumps(patch), PATCH_TYPES[kind]))


POINTERS = st.text(max_size=10) | st.sampled_from(
    ["", "/", "/metadata", "/metadata/name", "/spec/template/spec/containers/0", "/spec/template/spec/containers/-",
     "/data/~1", "/data/~2", "/x", "/spec/replicas", "/metadata/labels", "/spec/template/spec/containers/99999999999",
     "no"]
)  # fmt: skip
OPERATIONS = st.fixed_dictionaries(
    {}, optional={"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": POINTERS,
                  "from": POINTERS, "value": VALUES}
)  # fmt: skip


@given(patch=st.lists(OPERATIONS | SCALARS, max_size=5) | VALUES)
@SOME
def test_any_json_patch_is_applied_or_refused(server: Threaded, patch: Any) -> None:
    for target in (f"{DEPLOYMENTS}/web", f"{CONFIGMAPS}/c"):
        check(server.call("PATCH", f"{target}?dryRun=All", orjson.dumps(patch), PATCH_TYPES["json"]))


TEXTS = st.text(max_size=20) | st.sampled_from(
    ["1", "0", "-1", "true", "All", "Exact", "NotOlderThan", "999999999999999999999", "metadata.name=c", "a in (b,c)",
     "a!=b", "Foreground", "nope", "1h", "1e9h", "٣", "%", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ"]
)  # fmt: skip
QUERIES = st.dictionaries(
    st.sampled_from(
        ["limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "pretty",
         "dryRun", "fieldValidation", "fieldManager", "force", "propagationPolicy", "gracePeriodSeconds", "timeout",
         "orphanDependents", "includeObject", "timeoutSeconds", "x"]
    ), TEXTS, max_size=5,
)  # fmt: skip


@given(query=QUERIES, method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]), one=st.booleans())
@example(query={"resourceVersion": "٣"}, method="GET", one=False)
@example(query={"continue": "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ"}, method="GET", one=False)
@SOME
def test_any_query_is_answered_or_refused(server: Threaded, query: dict[str, str], method: str, one: bool) -> None:
    target = f"{CONFIGMAPS}/absent" if one else CONFIGMAPS
    code, body = server.call(method, f"{target}?{urlencode(query, errors='surrogatepass')}", b"{}")
    if code == 504 and b"Too large resource version" in body:
        return  # A revision that is still to come; Kubernetes answers the same.
    check((code, body))


@given(path=st.text(alphabet="abn/%2Ef.-~ü:;=@&+$,!'()*", max_size=40))
@SOME
def test_any_path_is_answered_or_refused(server: Threaded, path: str) -> None:
    for target in (f"/{quote(path, safe='/%:;=@&+$,!()*')}", f"/api/v1/{quote(path)}", f"{CONFIGMAPS}/{quote(path)}"):
        check(server.call("GET", target))


@given(media=st.text(alphabet="abcjson/+-;= yaml*", max_size=30), body=st.binary(max_size=30))
@SOME
def test_any_media_type_is_read_or_refused(server: Threaded, media: str, body: bytes) -> None:
    check(server.call("POST", CONFIGMAPS, body, media.strip() or "x"))
    check(server.call("PATCH", f"{CONFIGMAPS}/c", body, media.strip() or "x"))


DEEP = 10_000
DEEP_BODIES = {
    "objects": b'{"data":' * DEEP + b"1" + b"}" * DEEP, "lists": b'{"data":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "hundreds": b'{"spec":' * 240 + b"1" + b"}" * 240, "many": b"[" + b"[]," * 500_000 + b"[]]",
    "wide": b'{"data":{' + b",".join(b'"k%d":"v"' % number for number in range(100_000)) + b"}}",
    "one path": b'[' + b",".join(b'{"op":"copy","from":"/data","path":"/data/x%d"}' % n for n in range(40)) + b"]",
}  # fmt: skip


@pytest.mark.parametrize("name", DEEP_BODIES)
@pytest.mark.parametrize("media", ["application/json", "application/yaml", *PATCH_TYPES.values()])
def test_bombs_are_refused_within_bounded_memory(server: Threaded, name: str, media: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    method, target = ("PATCH", f"{CONFIGMAPS}/c") if "patch" in media else ("POST", CONFIGMAPS)
    for place in (target, target.replace("configmaps/c", "configmaps/absent")):
        check(server.call(method, f"{place}?fieldManager=x&dryRun=All", DEEP_BODIES[name], media))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 400 * 1024, f"{grown} KiB"


def test_a_hundred_megabytes_are_refused_without_being_kept(server: Threaded) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        code, _ = server.call("POST", CONFIGMAPS, b"x" * 100_000_000)
        assert code == 413
    except OSError:
        pass  # The server does not read on what it has refused.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert server.call("GET", "/readyz") == (200, b"ok")
