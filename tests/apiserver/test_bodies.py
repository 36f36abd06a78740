"""Bodies come as JSON, YAML or protobuf; what is wrong with them is said before anything is stored."""

from __future__ import annotations

from base64 import b64decode

import pytest
from tests.apiserver.serving import CONFIGMAPS, Api

KUBECTLS_CONFIGMAP = b64decode("azhzAAoPCgJ2MRIJQ29uZmlnTWFwEiIKGAoBYxIAGgdkZWZhdWx0IgAqADIAOABCABIGCgFhEgFiGgAiAA==")
"""What ``kubectl create configmap c --from-literal=a=b`` sends."""


async def test_a_protobuf_body_is_stored_as_the_object_it_describes(api: Api) -> None:
    made = await api.create(CONFIGMAPS, KUBECTLS_CONFIGMAP, content_type="application/vnd.kubernetes.protobuf")
    assert (made.code, made.body["data"]) == (201, {"a": "b"})
    assert "generateName" not in made.body["metadata"]


async def test_a_yaml_body_is_stored(api: Api) -> None:
    made = await api.create(CONFIGMAPS, b"metadata: {name: y}\ndata: {a: b}\n", content_type="application/yaml")
    assert (made.code, made.body["data"]) == (201, {"a": "b"})


async def test_a_body_without_a_media_type_is_json(api: Api) -> None:
    made = await api.create(CONFIGMAPS, b'{"metadata": {"name": "j"}}', content_type="")
    assert made.code == 201


async def test_a_body_of_another_media_type_is_refused(api: Api) -> None:
    refused = await api.create(CONFIGMAPS, b"x", content_type="text/plain")
    assert (refused.code, refused.body["reason"]) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize("media", ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"])
async def test_a_body_that_cannot_be_decoded_is_a_bad_request(api: Api, media: str) -> None:
    refused = await api.create(CONFIGMAPS, b"{[", content_type=media)
    assert (refused.code, refused.body["reason"]) == (400, "BadRequest")


TWICE = b'{"metadata": {"name": "d"}, "data": {"a": "1", "a": "2"}, "colour": "red"}'


async def test_fields_that_occur_twice_are_refused_or_warned_about_like_unknown_ones(api: Api) -> None:
    refused = await api.create(f"{CONFIGMAPS}?fieldValidation=Strict", TWICE)
    assert refused.code == 400
    assert 'strict decoding error: duplicate field "data.a", unknown field "colour"' in refused.body["message"]
    made = await api.create(f"{CONFIGMAPS}?fieldValidation=Warn", TWICE)
    assert (made.code, made.body["data"]) == (201, {"a": "2"})
    assert made.headers.getall("Warning") == [
        '299 - "duplicate field \\"data.a\\""',
        '299 - "unknown field \\"colour\\""',
    ]
