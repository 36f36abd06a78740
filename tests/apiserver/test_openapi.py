"""The OpenAPI documents are whole: every reference leads somewhere, and kubectl can decode the protobuf form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from tests.kubectls import newest_kubectl
from tools import go_descriptors

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.resources import RESOURCES
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import dispatch, openapi_v2_protobuf
from kontinuum.apiserver.openapi import V2_PROTOBUF_ASKED, OpenApi


@pytest.fixture(scope="module")
def openapi() -> OpenApi:
    return OpenApi(RESOURCES, dispatch.verbs, KINDS.__getitem__)


def read(openapi: OpenApi, path: str, accept: str = "application/json") -> Any:
    document = openapi.find(path, accept)
    assert document is not None
    return orjson.loads(document.plain())


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_every_group_s_document_is_in_the_index_and_can_be_read(openapi: OpenApi) -> None:
    index = read(openapi, "/openapi/v3")["paths"]
    versions = {f"{'apis' if each.group else 'api'}/{each.api_version}" for each in RESOURCES}
    groups = {f"apis/{each.group}" for each in RESOURCES if each.group}
    others = {"api", "apis", "version", "openid/v1/jwks", ".well-known/openid-configuration"}
    assert set(index) == versions | groups | others
    for group, entry in index.items():
        path, _, mark = entry["serverRelativeURL"].partition("?hash=")
        assert path == f"/openapi/v3/{group}" and mark
        assert read(openapi, path)["openapi"] == "3.0.0"


@pytest.mark.parametrize("path", ["/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1"])
def test_references_of_v3_lead_to_components_and_stand_alone(openapi: OpenApi, path: str) -> None:
    document = read(openapi, path)
    found = set(references(document))
    assert found
    assert {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} >= found


def test_references_of_v2_lead_to_definitions(openapi: OpenApi) -> None:
    document = read(openapi, "/openapi/v2")
    assert {f"#/definitions/{name}" for name in document["definitions"]} >= set(references(document))


def test_fields_carry_their_prose(openapi: OpenApi) -> None:
    pod_spec = read(openapi, "/openapi/v3/api/v1")["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]
    assert "RuntimeClass" in pod_spec["properties"]["runtimeClassName"]["description"]


def test_patch_tells_that_field_validation_and_dry_run_are_understood(openapi: OpenApi) -> None:
    path = read(openapi, "/openapi/v3/apis/apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    assert {"fieldValidation", "dryRun"} <= {parameter["name"] for parameter in path["patch"]["parameters"]}
    assert path["patch"]["x-kubernetes-group-version-kind"]["kind"] == "Deployment"


def test_operations_have_names_of_their_own(openapi: OpenApi) -> None:
    names = [
        operation["operationId"]
        for path in read(openapi, "/openapi/v2")["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("accept", V2_PROTOBUF_ASKED)
def test_v2_in_protobuf_comes_under_a_media_type_that_is_valid(openapi: OpenApi, accept: str) -> None:
    document = openapi.find("/openapi/v2", accept)
    assert document is not None
    assert "@" not in document.media
    assert document.plain().startswith(b"\x0a\x032.0")


def test_a_form_that_cannot_be_made_is_not_acceptable(openapi: OpenApi) -> None:
    with pytest.raises(ApiError) as refused:
        openapi.find("/openapi/v2", "text/html")
    assert refused.value.code == 406


def test_field_numbers_are_those_that_kubectl_was_built_with() -> None:
    described = go_descriptors.plain(newest_kubectl(), "openapiv2/OpenAPIv2.proto")
    if described is None:
        pytest.skip(f"{newest_kubectl()} does not carry the definition of the OpenAPI v2 message")
    messages = {
        message.name: {field.name: field.number for field in message.field} for message in described.message_type
    }
    for name, fields in openapi_v2_protobuf.FIELDS.items():
        assert fields.items() <= messages[name].items(), name
