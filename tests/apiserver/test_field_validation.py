"""``fieldValidation``: what a typed object must not have is refused, warned of or dropped, in every way to send it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml
from tests.apiserver.serving import DEPLOYMENTS, PATCH_TYPES, Answer, Api, deployment

UNKNOWN_AND_TWICE = b"""{
  "apiVersion": "apps/v1", "kind": "Deployment",
  "metadata": {"name": "web", "labels": {"app": "web"}},
  "spec": {
    "unknown1": "val1", "unknownDupe": "valDupe", "unknownDupe": "valDupe2", "paused": true, "paused": false,
    "selector": {"matchLabels": {"app": "web"}},
    "template": {
      "metadata": {"labels": {"app": "web"}},
      "spec": {"containers": [{
        "name": "main", "image": "localhost/nginx:1",
        "unknownNested": "val1", "imagePullPolicy": "Always", "imagePullPolicy": "Never"
      }]}
    }
  }
}"""
PROBLEMS = (
    'unknown field "spec.unknown1"', 'unknown field "spec.unknownDupe"', 'duplicate field "spec.paused"',
    'unknown field "spec.template.spec.containers[0].unknownNested"',
    'duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
)  # fmt: skip
"""In the order of the document, as Go's decoder tells them; it does not look into what it does not know."""


def with_unknown_metadata(name: str = "web") -> dict[str, Any]:
    body = deployment(name) | {"apiVersion": "apps/v1", "kind": "Deployment"}
    body["metadata"]["unknownMeta"] = "unknown"
    body["spec"]["template"]["metadata"]["unknownSubMeta"] = "unknown"
    return body


async def apply(api: Api, name: str, body: Any, mode: str) -> Answer:
    path = f"{DEPLOYMENTS}/{name}?fieldManager=test&fieldValidation={mode}"
    return await api.patch(path, body, "apply")


@pytest.mark.behaviour("FieldValidation should detect unknown and duplicate fields of a typed object")
async def test_unknown_and_duplicate_fields_are_found(api: Api) -> None:
    refused = await api.create(f"{DEPLOYMENTS}?fieldValidation=Strict", UNKNOWN_AND_TWICE)
    assert (refused.code, refused.body["reason"]) == (400, "BadRequest")
    beginning = 'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
    assert refused.body["message"] == beginning + ", ".join(PROBLEMS)
    assert (await api.get(f"{DEPLOYMENTS}/web")).code == 404

    warned = await api.create(f"{DEPLOYMENTS}?dryRun=All&fieldValidation=Warn", UNKNOWN_AND_TWICE)
    warnings = " ".join(warned.headers.getall("Warning")).replace('\\"', '"')
    assert warned.code == 201 and all(problem in warnings for problem in PROBLEMS), warnings
    ignored = await api.create(f"{DEPLOYMENTS}?fieldValidation=Ignore", UNKNOWN_AND_TWICE)
    assert ignored.code == 201 and "Warning" not in ignored.headers
    spec = ignored.body["spec"]
    assert "unknown1" not in spec and spec["paused"] is False, "the last of two values counts"
    assert spec["template"]["spec"]["containers"][0]["imagePullPolicy"] == "Never"


async def test_unknown_and_duplicate_fields_are_found_in_updates_patches_and_yaml(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    one, strictly = f"{DEPLOYMENTS}/web", "?fieldValidation=Strict"
    refused = await api.call("PUT", one + strictly, UNKNOWN_AND_TWICE)
    assert refused.code == 400 and all(problem in refused.body["message"] for problem in PROBLEMS)
    for kind in ("merge", "strategic"):
        patched = await api.call("PATCH", one + strictly, UNKNOWN_AND_TWICE, content_type=PATCH_TYPES[kind])
        assert patched.code == 422 and "strict decoding error" in patched.body["message"], patched.body
        assert 'unknown field "spec.unknown1"' in patched.body["message"]
    add = [{"op": "add", "path": "/spec/unknown1", "value": 1}]
    assert (await api.call("PATCH", one + strictly, add, content_type=PATCH_TYPES["json"])).code == 422
    text = yaml.safe_dump(deployment("other") | {"unknown": 1}).encode() + b"spec: {}\n"
    found = await api.call("POST", DEPLOYMENTS + strictly, text, content_type="application/yaml")
    assert found.code == 400 and 'unknown field "unknown"' in found.body["message"], found.body
    assert (await api.get(one)).body["spec"]["replicas"] == 1


@pytest.mark.behaviour("FieldValidation should detect unknown metadata fields of a typed object")
async def test_unknown_metadata_fields_are_found(api: Api) -> None:
    body = with_unknown_metadata()
    refused = await api.create(f"{DEPLOYMENTS}?fieldValidation=Strict", body)
    assert refused.code == 400
    for path in ("metadata.unknownMeta", "spec.template.metadata.unknownSubMeta"):
        assert f'unknown field "{path}"' in refused.body["message"]
    assert (await api.get(f"{DEPLOYMENTS}/web")).code == 404
    applied = await apply(api, "web", orjson.dumps(body), "Strict")
    assert applied.code >= 400 and "unknownMeta" in applied.body["message"], applied.body
    made = await api.create(DEPLOYMENTS, body)
    assert made.code == 201 and "unknownMeta" not in made.body["metadata"]
    warnings = " ".join(made.headers.getall("Warning"))
    assert "metadata.unknownMeta" in warnings and "spec.template.metadata.unknownSubMeta" in warnings


async def test_an_unknown_way_to_validate_is_refused(api: Api) -> None:
    refused = await api.create(f"{DEPLOYMENTS}?fieldValidation=Loose", deployment("web"))
    assert refused.code == 422
    assert 'Unsupported value: "Loose": supported values: "Ignore", "Strict", "Warn"' in refused.body["message"]
