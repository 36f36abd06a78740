"""What is wrong with ``metadata`` (k8s.io/apimachinery ``api/validation``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.familiar import Familiar

MAXIMUM_ANNOTATIONS = 256 * 1024
"""Bytes of all annotation keys and values together."""

IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
STANDARD_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")


def validate(
    meta: Object, *, namespaced: bool, check_name: Callable[[str], list[str]], qualified_finalizers: bool = True
) -> list[FieldError]:
    """``meta`` of an object about to be stored; ``check_name`` is the kind's own rule for names.

    Where ``qualified_finalizers`` is false, a finalizer may lack a domain: see ``Kind.qualified_finalizers``.
    """
    return [
        *_names(meta, check_name),
        *_namespace(meta, namespaced=namespaced),
        *_of_the_rest[qualified_finalizers].of([meta.get(field) for field in ALIKE]),
    ]


def _rest(values: Sequence[Any], *, qualified: bool) -> tuple[FieldError, ...]:
    """What is wrong with the fields ``ALIKE``."""
    labels, annotations, owners, finalizers = values
    return (
        *check_labels(labels, "metadata.labels"),
        *check_annotations(annotations, "metadata.annotations"),
        *_owners(owners or []),
        *_finalizers(finalizers or [], qualified=qualified),
    )


ALIKE = ("labels", "annotations", "ownerReferences", "finalizers")
"""What objects from one template have alike."""
_of_the_rest = {qualified: Familiar(partial(_rest, qualified=qualified)) for qualified in (False, True)}


def validate_update(meta: Object, old: Object) -> list[FieldError]:
    """What ``meta`` changes that nobody may change."""
    errors = [
        fields.invalid(f"metadata.{field}", meta.get(field), "field is immutable")
        for field in IMMUTABLE
        if meta.get(field) != old.get(field)
    ]
    added = [one for one in meta.get("finalizers") or [] if one not in (old.get("finalizers") or [])]
    if old.get("deletionTimestamp") and added:
        listed = ", ".join(fields.quoted(one) for one in added)
        problem = "no new finalizers can be added if the object is being deleted, found new finalizers"
        errors.append(fields.forbidden("metadata.finalizers", f"{problem} []string{{{listed}}}"))
    return errors


def check_labels(found: Mapping[str, str] | None, path: str) -> list[FieldError]:
    errors = []
    for key, value in (found or {}).items():
        errors += check_label_key(key, path)
        errors += [fields.invalid(path, value, problem) for problem in names.label_value(value)]
    return errors


def check_label_key(key: str, path: str) -> list[FieldError]:
    return [fields.invalid(path, key, problem) for problem in names.qualified_name(key)]


def check_annotations(found: Mapping[str, str] | None, path: str) -> list[FieldError]:
    errors = []
    for key in found or {}:
        errors += [fields.invalid(path, key, problem) for problem in names.qualified_name(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in (found or {}).items()) > MAXIMUM_ANNOTATIONS:
        errors.append(fields.too_long(path, MAXIMUM_ANNOTATIONS))
    return errors


def _names(meta: Object, check_name: Callable[[str], list[str]]) -> list[FieldError]:
    errors = []
    if prefix := meta.get("generateName"):
        # The random ending makes a trailing dash or dot harmless, so it is left out of the check.
        problems = check_name(prefix[:-1] + "a" if prefix[-1] in "-." else prefix)
        errors += [fields.invalid("metadata.generateName", prefix, problem) for problem in problems]
    name = meta.get("name")
    if not name:
        return [*errors, fields.required("metadata.name", "name or generateName is required")]
    return errors + [fields.invalid("metadata.name", name, problem) for problem in check_name(name)]


def _namespace(meta: Object, *, namespaced: bool) -> list[FieldError]:
    namespace = meta.get("namespace", "")
    if not namespaced:
        return [fields.forbidden("metadata.namespace", "not allowed on this type")] if namespace else []
    if not namespace:
        return [fields.required("metadata.namespace")]
    return [fields.invalid("metadata.namespace", namespace, problem) for problem in names.dns_label(namespace)]


def _owners(owners: list[Any]) -> list[FieldError]:
    errors = []
    controllers = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for field, what in (("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")):
            if not owner.get(field):
                errors.append(fields.invalid(f"{path}.{field}", owner.get(field, ""), f"{what} must not be empty"))
        if owner.get("apiVersion") == "v1" and owner.get("kind") == "Event":
            errors.append(fields.invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            controllers.append(owner.get("name", ""))
    if len(controllers) > 1:
        problem = (
            "Only one reference can have Controller set to true. "
            f'Found "true" in references for {controllers[0]} and {controllers[1]}'
        )
        errors.append(fields.invalid("metadata.ownerReferences", owners, problem))
    return errors


def _finalizers(finalizers: list[str], *, qualified: bool) -> list[FieldError]:
    errors = []
    for index, name in enumerate(finalizers):
        path = f"metadata.finalizers[{index}]"
        errors += [fields.invalid(path, name, problem) for problem in names.qualified_name(name)]
        if qualified and "/" not in name and name not in STANDARD_FINALIZERS:
            problem = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(fields.invalid(path, name, problem))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        problem = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(fields.invalid("metadata.finalizers", finalizers, problem))
    return errors
