"""A body takes the structure of its kind: pruned, canonical, or refused in a real API server's words."""

from __future__ import annotations

from typing import Any

import pytest

from kontinuum.api.kubernetes import schema
from kontinuum.api.kubernetes.structure import conform, field_problems, strict_error
from kontinuum.api.machinery.status import ApiError


def pod(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}


def test_unknown_fields_are_dropped_and_named_with_their_place() -> None:
    doc = pod(containers=[{"name": "a", "imag": "x", "env": [{"name": "A", "val": "b"}]}], foo={"bar": 1})
    doc["metadata"]["colour"] = "red"
    unknown = conform(doc, "v1", "Pod")
    assert unknown == ["metadata.colour", "spec.containers[0].imag", "spec.containers[0].env[0].val", "spec.foo"]
    assert doc["spec"] == {"containers": [{"name": "a", "env": [{"name": "A"}]}]}
    error = strict_error("Pod", "v1", field_problems(unknown[:1], ["spec.x"]))
    assert str(error) == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: '
        'duplicate field "spec.x", unknown field "metadata.colour"'
    )


def test_null_means_absent() -> None:
    doc = pod(nodeName=None, containers=[None], nodeSelector={"a": None})
    assert conform(doc, "v1", "Pod") == []
    assert doc["spec"] == {"containers": [{}], "nodeSelector": {"a": ""}}


def test_empty_lists_and_maps_are_absent_but_empty_objects_are_not() -> None:
    doc = pod(tolerations=[], nodeSelector={}, volumes=[{"name": "v", "emptyDir": {}}], securityContext={})
    doc["metadata"] |= {"labels": {}, "finalizers": []}
    conform(doc, "v1", "Pod")
    assert doc["spec"] == {"volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {}}
    assert doc["metadata"] == {"name": "x"}


def test_quantities_and_times_take_their_canonical_form() -> None:
    doc = pod(containers=[{"name": "a", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}])
    doc["metadata"]["creationTimestamp"] = "2026-01-01T01:00:00.5+01:00"
    conform(doc, "v1", "Pod")
    assert doc["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    assert doc["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"containers": [{"name": "a", "image": 1}]},
            "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
        ),
        (
            {"containers": "a"},
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            {"hostNetwork": "yes"},
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            {"priority": 1.5},
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            {"priority": True},
            "json: cannot unmarshal bool into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            {"nodeSelector": {"a": 1}},
            "json: cannot unmarshal number into Go struct field PodSpec.spec.nodeSelector of type string",
        ),
        (
            {"overhead": {"cpu": "lots"}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_a_wrong_type_is_refused_in_gos_words(spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(ApiError) as caught:
        conform(pod(**spec), "v1", "Pod")
    assert caught.value.code == 400
    assert caught.value.message == f'Pod in version "v1" cannot be handled as a Pod: {problem}'


def test_secret_data_must_be_base64() -> None:
    with pytest.raises(ApiError, match="illegal base64 data at input byte 4"):
        conform({"data": {"a": "abcd!"}}, "v1", "Secret")


def test_every_definition_can_be_loaded_and_every_reference_resolved() -> None:
    for name in schema.json_schemas():
        for field in schema.definition(name).fields.values():
            inner = field.element or field
            assert inner.form != "object" or inner.definition
            assert inner.form == "any" or inner.fields is not None


def test_patch_metadata_is_kept() -> None:
    containers = schema.definition_of("v1", "Pod").fields["spec"].fields["containers"]
    assert (containers.strategies, containers.merge_key) == (("merge",), "name")
    assert (containers.list_type, containers.list_keys) == ("map", ("name",))


def test_a_package_that_was_never_built_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(schema, "GENERATED", tmp_path)
    with pytest.raises(schema.SchemasMissing, match="pip install -e"):
        schema.texts()
