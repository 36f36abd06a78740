"""Errors read exactly as Kubernetes' do, because clients and people match on their words."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, NAMESPACES, PODS
from kontinuum.api.machinery import fields, status


def test_not_found_names_the_resource_with_its_group() -> None:
    error = status.not_found(DEPLOYMENTS, "web")
    assert error.message == 'deployments.apps "web" not found'
    assert error.to_status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'deployments.apps "web" not found',
        "reason": "NotFound",
        "details": {"name": "web", "group": "apps", "kind": "deployments"},
        "code": 404,
    }


def test_one_invalid_field_is_written_without_brackets() -> None:
    error = status.invalid("Pod", "web", [fields.required("spec.containers")])
    assert error.message == 'Pod "web" is invalid: spec.containers: Required value'
    assert error.details["causes"] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}
    ]


def test_several_invalid_fields_are_listed_once_each() -> None:
    causes = [fields.required("spec.a"), fields.invalid("spec.b", "x", "must be y"), fields.required("spec.a")]
    error = status.invalid("Deployment", "web", causes, group="apps")
    assert error.message == (
        'Deployment.apps "web" is invalid: [spec.a: Required value, spec.b: Invalid value: "x": must be y]'
    )


def test_field_errors_use_kubernetes_words() -> None:
    cases = {
        fields.required("a", "must be set"): "a: Required value: must be set",
        fields.invalid("a", -1, "must be greater than or equal to 0"): (
            "a: Invalid value: -1: must be greater than or equal to 0"
        ),
        fields.not_supported("a", "X", ["A", "B"]): 'a: Unsupported value: "X": supported values: "A", "B"',
        fields.forbidden("a", "may not be set"): "a: Forbidden: may not be set",
        fields.duplicate("a", "x"): 'a: Duplicate value: "x"',
        fields.not_found("a", "x"): 'a: Not found: "x"',
        fields.too_long("a", 63): "a: Too long: may not be more than 63 bytes",
        fields.too_many("a", 3, 2): "a: Too many: 3: must have at most 2 items",
        fields.invalid("a", {"b": "c"}): 'a: Invalid value: {"b":"c"}',
    }
    assert {str(error): text for error, text in cases.items()} == {text: text for text in cases.values()}


def test_a_client_reads_back_the_error_that_the_server_wrote() -> None:
    error = status.invalid("Pod", "web", [fields.required("spec.containers")])
    read = status.from_status(error.to_status())
    assert (read.code, read.reason, read.message, read.causes) == (422, "Invalid", error.message, error.causes)
    assert read.is_invalid


def test_conflict_and_already_exists_are_told_apart_though_both_are_409() -> None:
    conflict, exists = status.conflict(PODS, "web"), status.already_exists(PODS, "web")
    assert (conflict.code, exists.code) == (409, 409)
    assert conflict.is_conflict and not conflict.is_already_exists
    assert exists.is_already_exists and not exists.is_conflict
    assert conflict.message == (
        'Operation cannot be fulfilled on pods "web": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


def test_new_content_in_a_terminating_namespace_can_be_recognised() -> None:
    error = status.namespace_terminating(PODS, "web", "old")
    assert error.code == 403
    assert error.is_namespace_terminating
    assert not status.forbidden(PODS, "web", "no").is_namespace_terminating


def test_success_carries_the_deleted_objects_identity() -> None:
    assert status.success(NAMESPACES, "old", "u-1")["details"] == {"name": "old", "kind": "namespaces", "uid": "u-1"}
