"""apiextensions.k8s.io: the kind CustomResourceDefinition. What its objects mean is in ``api.kubernetes.custom``."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.custom import definition_rules
from kontinuum.api.kubernetes.custom.naming import ESTABLISHED, TERMINATING
from kontinuum.api.kubernetes.kinds.kind import NAME, Column, Kind
from kontinuum.api.kubernetes.schema import definition
from kontinuum.api.kubernetes.structure import Mismatch, conform_to
from kontinuum.api.machinery.conditions import is_true, set_condition
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import bad_request

PROPS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
ALTERNATIVES = (
    ("items", list, "array"), ("additionalProperties", bool, "boolean"), ("additionalItems", bool, "boolean"),
)  # fmt: skip
"""What may stand in place of a schema."""
MOST_LEVELS = 100
"""Deeper schemas are refused: everything that is done with one goes down into it, and a stack has an end."""
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
"""Holds a definition until its objects are gone."""


class CustomResourceDefinition(Kind):
    qualified_finalizers = False
    has_generation = True
    checks_slowly = True
    columns = (NAME, Column("Created At", "date", description="When the definition was created."))

    def check_name(self, name: str) -> list[str]:
        return definition_rules.check_name(name)

    def conform(self, obj: Object) -> list[str]:
        unknown = super().conform(obj)
        try:
            for index, version in enumerate((obj.get("spec") or {}).get("versions") or ()):
                path = f"spec.versions[{index}].schema.openAPIV3Schema"
                _conform_below((version.get("schema") or {}).get("openAPIV3Schema"), path, unknown)
        except Mismatch as mismatch:
            kind = self.resource.kind
            raise bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {mismatch}') from None
        return unknown

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        names = spec.setdefault("names", {})
        kind = names.get("kind", "")
        if not names.get("singular"):
            names["singular"] = kind.lower()
        if not names.get("listKind") and kind:
            names["listKind"] = f"{kind}List"
        conversion = spec.setdefault("conversion", {"strategy": "None"})
        service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
        if isinstance(service, dict):
            service.setdefault("port", 443)
        if not spec.get("preserveUnknownFields"):
            spec.pop("preserveUnknownFields", None)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        obj["status"] = {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}
        _remember_storage(obj)

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        if "status" in obj:
            obj["status"] = {**obj["status"], "storedVersions": list(obj["status"].get("storedVersions") or ())}
            _remember_storage(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return definition_rules.check(obj, None)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = definition_rules.check(obj, old)
        return errors + definition_rules.check_change(obj, old, is_established=is_true(old, ESTABLISHED))

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        errors = super().validate_status(obj, old)
        return errors + definition_rules.check_status(obj)

    def cells(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"].get("name", ""), obj["metadata"].get("creationTimestamp")]


def begin_termination(obj: Object, *, now: str) -> None:
    """What a delete does to a definition first: its objects are to be removed before it goes."""
    metadata, state = obj["metadata"], obj.setdefault("status", {})
    finalizers = list(metadata.get("finalizers") or ())
    if not metadata.get("deletionTimestamp") and FINALIZER not in finalizers:
        metadata["finalizers"] = [*finalizers, FINALIZER]
    if not is_true(obj, TERMINATING):
        message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
        state["conditions"] = set_condition(
            state.get("conditions"), TERMINATING, "True", now=now, reason="InstanceDeletionPending", message=message
        )


def is_to_be_emptied(obj: Object) -> bool:
    """It is being deleted, and its objects have not been yet."""
    metadata = obj["metadata"]
    return bool(metadata.get("deletionTimestamp")) and FINALIZER in (metadata.get("finalizers") or ())


def storage_of(obj: Object) -> str:
    """The name of the version in which objects are stored."""
    return next((one.get("name", "") for one in obj["spec"].get("versions") or () if one.get("storage")), "")


def _remember_storage(obj: Object) -> None:
    storage = storage_of(obj)
    stored = obj["status"]["storedVersions"]
    if storage and storage not in stored:
        stored.append(storage)


def _conform_below(schema: Any, path: str, unknown: list[str], level: int = 1) -> None:
    """Schemas inside ``items`` and ``additionalProperties``, which may be something else than a schema."""
    if not isinstance(schema, dict):
        return
    if level > MOST_LEVELS:
        raise Mismatch(f"{path}: a schema may be nested {MOST_LEVELS} levels deep")
    for name, other, otherwise in ALTERNATIVES:
        below = schema.get(name)
        if isinstance(below, dict):
            unknown += [f"{path}.{name}.{one}" for one in conform_to(below, definition(PROPS))]
            _conform_below(below, f"{path}.{name}", unknown, level + 1)
        elif below is not None and not isinstance(below, other):
            raise Mismatch(f"{path}.{name}: JSON schema or {otherwise} expected")
    for name, below in (schema.get("properties") or {}).items():
        _conform_below(below, f"{path}.properties.{name}", unknown, level + 1)
    for name in ("allOf", "anyOf", "oneOf"):
        for index, below in enumerate(schema.get(name) or ()):
            _conform_below(below, f"{path}.{name}[{index}]", unknown, level + 1)
    _conform_below(schema.get("not"), f"{path}.not", unknown, level + 1)
