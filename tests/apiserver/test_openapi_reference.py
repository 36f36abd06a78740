"""OpenAPI tells what a real API server tells of everything we serve; each difference stands here with its reason."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import orjson
import pytest
from tests.reference import REFERENCE, needs_reference

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.resources import RESOURCES
from kontinuum.apiserver import dispatch
from kontinuum.apiserver.openapi import OpenApi

pytestmark = needs_reference

DESCRIBED_ELSEWHERE = {
    # The package that our definitions are taken from leaves these two out.
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "description"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "description"),
}
NOT_TAKEN = {
    # For objects that the store cannot read back; ours are deleted like all others.
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    # Alpha in 1.36 and off by default.
    "shardSelector",
}
NOT_ANSWERED = {
    # We read protobuf and write JSON, as every client that asks for protobuf accepts.
    "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;stream=watch",
    # Alpha, and off by default.
    "application/cbor", "application/cbor-seq", "application/apply-patch+cbor",
}  # fmt: skip
NOT_SERVED = {
    # The machine's log files, for whoever runs kube-apiserver with a directory of them.
    "/logs/", "/logs/{logpath}",
}  # fmt: skip
LOOSER = {
    # Documents answer whatever the client says it sends.
    "consumes",
    # Whose is HTTPS only, and says so once.
    "schemes",
}


@cache
def reference() -> Any:
    return json.loads((REFERENCE / "swagger.json").read_text())


@pytest.fixture(scope="module")
def openapi() -> OpenApi:
    return OpenApi(RESOURCES, dispatch.verbs, KINDS.__getitem__)


def read(openapi: OpenApi, path: str) -> Any:
    document = openapi.find(path, "application/json")
    assert document is not None
    return orjson.loads(document.plain())


def is_served(path: str) -> bool:
    """Whether a path of the real server's belongs to a group version that we serve, or to none."""
    parts = path.strip("/").split("/")
    served = {each.api_version for each in RESOURCES}
    if path in NOT_SERVED:
        return False
    if parts[0] == "api" and len(parts) > 1:
        return parts[1] in served
    if parts[0] == "apis" and len(parts) > 2:
        return "/".join(parts[1:3]) in served
    if parts[0] == "apis" and len(parts) == 2:
        return any(each.group == parts[1] for each in RESOURCES)
    return True


def test_definitions_are_those_of_a_real_server(openapi: OpenApi) -> None:
    ours, theirs = read(openapi, "/openapi/v2")["definitions"], reference()["definitions"]
    assert ours.keys() <= theirs.keys()
    differences = [
        (name, key)
        for name in ours
        for key in ours[name].keys() | theirs[name].keys()
        if ours[name].get(key) != theirs[name].get(key) and (name, key) not in DESCRIBED_ELSEWHERE
    ]
    assert differences == []


def test_paths_are_those_of_a_real_server(openapi: OpenApi) -> None:
    ours, theirs = read(openapi, "/openapi/v2")["paths"], reference()["paths"]
    assert set(ours) == {path for path in theirs if is_served(path)}


def test_operations_are_those_of_a_real_server(openapi: OpenApi) -> None:
    ours, theirs = read(openapi, "/openapi/v2"), reference()
    for path, item in ours["paths"].items():
        assert item.keys() - {"parameters"} == theirs["paths"][path].keys() - {"parameters"}, path
        for method in item.keys() - {"parameters"}:
            mine, real = operation(ours, path, method), operation(theirs, path, method)
            assert mine == real, f"{method} {path}"


def operation(document: Any, path: str, method: str) -> Any:
    """An operation as it is compared: parameters of the path and shared ones brought together, without their prose."""
    item = document["paths"][path]
    found = {key: value for key, value in item[method].items() if key not in LOOSER}
    given = [*item.get("parameters", ()), *item[method].get("parameters", ())]
    resolved = [document["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in given]
    found["parameters"] = {
        (one["in"], one["name"]): {key: value for key, value in one.items() if key != "description"}
        for one in resolved
        if one["name"] not in NOT_TAKEN
    }
    if method == "patch":
        found["consumes"] = [one for one in item[method]["consumes"] if one not in NOT_ANSWERED]
    if "produces" in found:
        found["produces"] = [one for one in found["produces"] if one not in NOT_ANSWERED]
    return found


@pytest.mark.parametrize("group_version", ["api/v1", "apis/apps/v1", "apis/authorization.k8s.io/v1"])
def test_version_3_tells_the_same_operations(openapi: OpenApi, group_version: str) -> None:
    old, new = read(openapi, "/openapi/v2"), read(openapi, f"/openapi/v3/{group_version}")
    assert set(new["paths"]) == {path for path in old["paths"] if path.startswith(f"/{group_version}/")}
    for path, item in new["paths"].items():
        for method in item.keys() - {"parameters"}:
            two, three = old["paths"][path][method], item[method]
            for key in ("operationId", "description", "tags", "x-kubernetes-action", "x-kubernetes-group-version-kind"):
                assert two.get(key) == three.get(key)
            assert two["responses"].keys() == three["responses"].keys()
            named = [one["name"] for one in two["parameters"] if one["in"] != "body"]
            assert named == [one["name"] for one in three["parameters"]]
            assert ("requestBody" in three) == (len(named) < len(two["parameters"]))


def test_operations_describe_only_what_is_defined(openapi: OpenApi) -> None:
    for path in read(openapi, "/openapi/v3")["paths"]:
        document = read(openapi, f"/openapi/v3/{path}")
        text = orjson.dumps(document["paths"]).decode()
        named = {one.partition('"')[0] for one in text.split('"#/components/schemas/')[1:]}
        assert named <= document["components"]["schemas"].keys(), path
