"""Protobuf bodies, as real kubectl 1.33 sends them and as a generator invents them, become the same JSON objects."""

from __future__ import annotations

import struct
from base64 import b64decode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes import schema
from kontinuum.api.machinery import protobuf
from kontinuum.api.machinery.codecs import decode, duplicate_fields
from kontinuum.api.machinery.status import ApiError
from kontinuum.foundation.clock import parse_rfc3339

CAPTURED = {
    "create configmap c --from-literal=a=b": (
        "azhzAAoPCgJ2MRIJQ29uZmlnTWFwEiIKGAoBYxIAGgdkZWZhdWx0IgAqADIAOABCABIGCgFhEgFiGgAiAA==",
        {
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {"name": "c", "namespace": "default"},
            "data": {"a": "b"},
        },
    ),
    "create secret generic s --from-literal=a=b": (
        "azhzAAoMCgJ2MRIGU2VjcmV0EiQKGAoBcxIAGgdkZWZhdWx0IgAqADIAOABCABIGCgFhEgFiGgAaACIA",
        {
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"name": "s", "namespace": "default"},
            "data": {"a": "Yg=="},
        },
    ),
    "create deployment web --image=nginx:1 --replicas=0 --port=80": (
        "azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50EsEBCiYKA3dlYhIAGgdkZWZhdWx0IgAqADIAOABCAFoKCgNhcHASA3dlYhKIAQgAEgwKCgoD"
        "YXBwEgN3ZWIabgocCgASABoAIgAqADIAOABCAFoKCgNhcHASA3dlYhJOEjAKBW5naW54EgduZ2lueDoxKgAyCgoAEAAYUCIAKgBCAGoAcgCA"
        "AQCIAQCQAQCiAQAaADIAQgBKAFIAWABgAGgAggEAigEAmgEAwgEAIgIKACgAOAAaDAgAEAAYACAAKAA4ABoAIgA=",
        {
            "kind": "Deployment",
            "apiVersion": "apps/v1",
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "containers": [
                            {
                                "name": "nginx",
                                "image": "nginx:1",
                                "ports": [{"containerPort": 80}],
                                "resources": {},
                            }
                        ]
                    },
                },
                "strategy": {},
            },
            "status": {},
        },
    ),
    "create service clusterip web --tcp=80:8080": (
        "azhzAAoNCgJ2MRIHU2VydmljZRJwCiYKA3dlYhIAGgdkZWZhdWx0IgAqADIAOABCAFoKCgNhcHASA3dlYhJCChsKBzgwLTgwODASA1RDUBhQ"
        "IgcIABCQPxoAKAASCgoDYXBwEgN3ZWIaACIJQ2x1c3RlcklQOgBCAFIAWgBgAGgAGgIKABoAIgA=",
        {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
            "spec": {
                "ports": [{"name": "80-8080", "protocol": "TCP", "port": 80, "targetPort": 8080}],
                "selector": {"app": "web"},
                "type": "ClusterIP",
            },
            "status": {"loadBalancer": {}},
        },
    ),
}
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.mark.parametrize("command", CAPTURED)
def test_what_kubectl_sends_is_understood(command: str) -> None:
    body, expected = CAPTURED[command]
    assert decode(b64decode(body), PROTOBUF) == expected


def test_every_served_kind_has_its_messages() -> None:
    for resource in r.RESOURCES:
        assert protobuf.fields_of(protobuf.message_of(resource.api_version, resource.kind))
    for version, kind in (("v1", "DeleteOptions"), ("autoscaling/v1", "Scale"), ("v1", "Binding"),
                          ("policy/v1", "Eviction"), ("authentication.k8s.io/v1", "TokenRequest")):  # fmt: skip
        assert protobuf.fields_of(protobuf.message_of(version, kind))


def test_every_message_that_is_referred_to_is_in_the_table() -> None:
    for message in protobuf._lines():
        for field in protobuf.fields_of(message).values():
            if field.form == ">":
                assert protobuf.fields_of(field.message) is not None


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"k8s\x00", b"k8s\x00\xff", b64decode(CAPTURED["create configmap c --from-literal=a=b"][0])[:-9]],
)
def test_other_bytes_are_a_bad_request(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        decode(body, PROTOBUF)
    assert caught.value.code == 400


@given(st.binary(max_size=80))
def test_no_bytes_crash_the_decoder(noise: bytes) -> None:
    body = b64decode(CAPTURED["create deployment web --image=nginx:1 --replicas=0 --port=80"][0])
    for crafted in (protobuf.MAGIC + noise, body[:60] + noise):
        try:
            assert isinstance(decode(crafted, PROTOBUF), dict)
        except ApiError as error:
            assert error.code == 400


TEXT = st.text(max_size=5)
WORDS = st.text("abc", min_size=1, max_size=4)
LABELS = st.dictionaries(WORDS, TEXT, min_size=1, max_size=3)
PORTS = st.builds(
    lambda number, host: {"containerPort": number, "name": host}, st.integers(1, 65535), st.sampled_from(["a", "b"])
)
CONTAINERS = st.fixed_dictionaries(
    {"name": WORDS},
    optional={
        "image": WORDS,
        "args": st.lists(WORDS, min_size=1, max_size=3),
        "ports": st.lists(PORTS, min_size=1, max_size=2),
        "resources": st.fixed_dictionaries(
            {}, optional={"limits": st.dictionaries(st.just("cpu"), st.sampled_from(["1", "250m"]), min_size=1)}
        ),
        "livenessProbe": st.fixed_dictionaries(
            {"httpGet": st.builds(lambda port: {"port": port}, st.integers(1, 9) | WORDS)},
            optional={"periodSeconds": st.integers(-(2**31), -1) | st.integers(1, 2**31 - 1)},
        ),
        "restartPolicyRules": st.builds(
            lambda codes: [{"action": "Restart", "exitCodes": {"operator": "In", "values": codes}}],
            st.lists(st.integers(0, 255), min_size=1, max_size=3),
        ),
    },
)
PODS = st.fixed_dictionaries(
    {"containers": st.lists(CONTAINERS, min_size=1, max_size=2)},
    optional={
        "nodeSelector": LABELS,
        "terminationGracePeriodSeconds": st.integers(0, 2**62),
        "hostNetwork": st.just(True),
        "automountServiceAccountToken": st.booleans(),
        "volumes": st.just(
            [{"name": "v", "configMap": {"name": "c", "defaultMode": 0}}, {"name": "e", "emptyDir": {}}]
        ),
    },
)


@given(LABELS, PODS)
def test_what_is_encoded_is_decoded_again(labels: dict[str, str], spec: dict[str, Any]) -> None:
    metadata = {"name": "x", "labels": labels, "creationTimestamp": "2026-01-02T03:04:05Z"}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec}
    assert decode(encode(pod), PROTOBUF) == pod


def test_zeros_that_mean_something_arrive() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "50%"}}
    spec = {"replicas": 0, "strategy": strategy, "template": {"spec": {"automountServiceAccountToken": False}}}
    deployment = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "x"}, "spec": spec}
    assert decode(encode(deployment), PROTOBUF) == deployment
    with_others = {**spec, "paused": False, "minReadySeconds": 0}
    assert decode(encode({**deployment, "spec": with_others}), PROTOBUF) == deployment


def test_token_requests_are_bound_to_the_object_that_they_name() -> None:
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "x", "uid": "u"}
    request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"boundObjectRef": bound}}
    assert decode(encode(request), PROTOBUF) == request


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:02.000005Z", "2026-11-26T21:06:57.999999Z"])
def test_moments_arrive_to_the_microsecond(moment: str) -> None:
    lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "spec": {"renewTime": moment}}
    assert decode(encode(lease), PROTOBUF) == lease


def test_an_empty_text_that_go_points_to_is_not_left_out() -> None:
    """``storageClassName: ""`` is no class at all; no ``storageClassName`` is the default class."""
    spec = {"storageClassName": "", "volumeAttributesClassName": ""}
    claim = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "spec": spec}
    assert decode(encode(claim), PROTOBUF) == claim
    priority = {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "value": 0}
    assert decode(encode({**priority, "description": ""}), PROTOBUF) == priority


def test_zeros_that_a_kind_requires_arrive() -> None:
    container = {"name": "a", "ready": False, "restartCount": 0, "image": "i", "imageID": "d"}
    pod = {"kind": "Pod", "apiVersion": "v1", "status": {"containerStatuses": [container]}}
    assert decode(encode(pod), PROTOBUF) == pod
    conditions = {"ready": False, "serving": True, "terminating": False}
    endpoints = [{"addresses": ["10.0.0.1"], "conditions": conditions}]
    endpoint_slice = {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "endpoints": endpoints}
    assert decode(encode(endpoint_slice), PROTOBUF) == endpoint_slice


SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {"type": WORDS},
        optional={
            "minimum": st.integers(-3, 3) | st.just(0.5),
            "maxLength": st.integers(0, 3),
            "default": st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.lists(WORDS),
            "enum": st.lists(WORDS | st.integers(0, 2), min_size=1, max_size=2),
            "$ref": WORDS,
            "x-kubernetes-preserve-unknown-fields": st.just(True),
            "x-kubernetes-list-map-keys": st.lists(WORDS, min_size=1, max_size=2),
            "x-kubernetes-validations": st.just([{"rule": "self > 0", "optionalOldSelf": False}]),
            "additionalItems": st.booleans(),
            "dependencies": st.fixed_dictionaries({"a": st.lists(WORDS)}),
        },
    ),
    lambda below: st.fixed_dictionaries(
        {"type": WORDS},
        optional={
            "properties": st.dictionaries(WORDS, below, min_size=1, max_size=2),
            "items": below | st.lists(below, max_size=2),
            "additionalProperties": below,
            "anyOf": st.lists(below, min_size=1, max_size=2),
        },
    ),
    max_leaves=4,
)


@given(SCHEMAS)
def test_definitions_of_custom_resources_arrive_with_their_schemas(root: dict[str, Any]) -> None:
    """Clients of the definitions' own API send protobuf, as those of all other kinds do."""
    version = {"name": "v1", "served": True, "storage": False, "schema": {"openAPIV3Schema": root}}
    subresources = {"status": {}, "scale": {"specReplicasPath": ".spec.replicas"}}
    conversion = {"strategy": "Webhook", "webhook": {"clientConfig": {"caBundle": "YQ==", "service": {"port": 9}}}}
    definition = {
        "kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": "x"},
        "spec": {"versions": [{**version, "subresources": subresources}], "conversion": conversion},
    }
    assert decode(encode(definition), PROTOBUF) == definition


def encode(obj: dict[str, Any]) -> bytes:
    """The inverse of ``protobuf.decode``, for tests alone: the server answers in JSON."""
    meta = {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
    content = {key: value for key, value in obj.items() if key not in meta}
    raw = encode_message(content, protobuf.message_of(obj["apiVersion"], obj["kind"]))
    type_meta = encode_message(meta, "k8s.io.apimachinery.pkg.runtime.TypeMeta")
    return protobuf.MAGIC + tagged(1, type_meta) + tagged(2, raw)


def encode_message(obj: Any, message: str) -> bytes:
    short = message.rpartition(".")[2]
    if short == "Quantity":
        return tagged(1, obj.encode())
    if short == "IntOrString":
        return (
            varint(8)
            + varint(int(isinstance(obj, str)))
            + (tagged(3, obj.encode()) if isinstance(obj, str) else varint(16) + varint(obj))
        )
    if short in ("Time", "MicroTime"):
        second, _, fraction = obj.removesuffix("Z").partition(".")
        nanos = varint(16) + varint(int(fraction) * 1000) if fraction else b""
        return varint(8) + varint(int(parse_rfc3339(f"{second}Z"))) + nanos
    if short == "JSON":
        return tagged(1, orjson.dumps(obj))
    if short == "JSONSchemaPropsOrBool" and isinstance(obj, bool):
        return varint(8) + varint(int(obj))
    if short.startswith("JSONSchemaPropsOr"):
        listed = "jSONSchemas" if short == "JSONSchemaPropsOrArray" else "property"
        obj = {listed if isinstance(obj, list) else "schema": obj}
    parts = []
    for number, field in protobuf.fields_of(message).items():
        if field.is_embedded:
            known = {one.name for one in protobuf.fields_of(field.message).values()}
            if known & obj.keys():
                part = encode_message({key: obj[key] for key in known & obj.keys()}, field.message)
                parts.append(tagged(number, part))
        elif field.name in obj:
            value = obj[field.name]
            if field.is_map:
                parts += [tagged(number, tagged(1, key.encode()) + encode_value(2, one, field))
                          for key, one in value.items()]  # fmt: skip
            else:
                parts += [encode_value(number, one, field) for one in (value if field.is_list else [value])]
    return b"".join(parts)


def encode_value(number: int, value: Any, field: protobuf.Field) -> bytes:
    match field.form:
        case "s":
            return tagged(number, value.encode())
        case "y":
            return tagged(number, b64decode(value))
        case "d":
            return varint(number << 3 | 1) + struct.pack("<d", value)
        case ">":
            return tagged(number, encode_message(value, field.message))
        case _:
            return varint(number << 3) + varint(int(value))


def tagged(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def fields_in_json(message: str) -> set[str]:
    """The fields of a message as JSON shows them: those of a struct that Go embeds stand beside the others."""
    parts = (
        fields_in_json(field.message) if field.is_embedded else {field.name}
        for field in protobuf.fields_of(message).values()
    )
    return set().union(*parts)


def test_every_field_that_is_published_arrives() -> None:
    """Typed Go clients send protobuf for all kinds: what the table does not know is lost without a word."""
    lost = {}
    for name, definition in schema.json_schemas().items():
        message = name.replace("io.k8s.", "k8s.io.", 1).replace("-", "_")
        published = definition.get("properties", {}).keys()
        if published and message not in NEVER_SENT and message not in protobuf.SPECIAL:
            known = fields_in_json(message)
            lost[name] = (published - known - TYPE_META) | (known - published - TYPE_META)
    assert {name: fields for name, fields in lost.items() if fields} == {}


TYPE_META = {"apiVersion", "kind"}
"""They stand in the envelope, not in the message, except in references."""
NEVER_SENT = {"k8s.io.apimachinery.pkg.version.Info"}
"""Kinds that have no protobuf form in Kubernetes either."""


def test_a_pod_of_today_arrives() -> None:
    projected = {"sources": [{"podCertificate": {"signerName": "example.com/s", "maxExpirationSeconds": 3600}}]}
    spec = {"schedulingGroup": {"podGroupName": "g"}, "volumes": [{"name": "v", "projected": projected}]}
    status = {"allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "1"}}}
    pod = {"kind": "Pod", "apiVersion": "v1", "spec": spec, "status": status}
    assert decode(encode(pod), PROTOBUF) == pod
    migrated = {"group": "apps", "resource": "deployments"}
    version = "storagemigration.k8s.io/v1beta1"
    migration = {"kind": "StorageVersionMigration", "apiVersion": version, "spec": {"resource": migrated}}
    assert decode(encode(migration), PROTOBUF) == migration


def test_field_names_are_those_of_the_published_schema() -> None:
    """Except where Go embeds a struct, which is what the table marks."""
    for resource in r.RESOURCES:
        known = schema.definition_of(resource.api_version, resource.kind).fields
        fields = protobuf.fields_of(protobuf.message_of(resource.api_version, resource.kind)).values()
        assert {field.name for field in fields if not field.is_embedded} <= known.keys()


def test_duplicate_json_fields_are_found_where_they_are() -> None:
    body = b'{"a": 1, "b": {"c": 1, "c": 2}, "d": [{"e": 1, "e": 1}], "a": 2}'
    assert duplicate_fields(body) == ["b.c", "d[0].e", "a"]
    assert duplicate_fields(b'{"a": {"b": 1}, "c": {"b": 1}}') == []


def test_yaml_reads_as_json_does() -> None:
    assert decode(b"a: 1\nb: [x, 2026-01-02]\n", "application/yaml") == {"a": 1, "b": ["x", "2026-01-02"]}
    for body in (b"a: [", b"- a", b"just text"):
        with pytest.raises(ApiError):
            decode(body, "application/yaml")


def test_an_unknown_media_type_is_named_in_the_refusal() -> None:
    with pytest.raises(ApiError) as caught:
        decode(b"{}", "text/plain")
    assert caught.value.code == 415
    assert "application/json, application/yaml, application/vnd.kubernetes.protobuf" in caught.value.message
