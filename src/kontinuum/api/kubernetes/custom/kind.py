"""The rules of a custom resource's objects: one ``CustomKind`` for each version, made anew when the definition changes.

What is checked, in Kubernetes' order: metadata, values against the schema, the numbers that ``scale`` shows, embedded
objects, unique list elements, and then the CEL rules, unless what they would look at is not even of the right type.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from kontinuum.api.kubernetes.custom import lists, metadata, publishing, rules, shape, values
from kontinuum.api.kubernetes.custom.columns import Columns
from kontinuum.api.kubernetes.custom.merging import shape_of_schema
from kontinuum.api.kubernetes.custom.schema import Schema, compile_schema
from kontinuum.api.kubernetes.declared import declared_custom
from kontinuum.api.kubernetes.kinds.kind import Kind, keep, read
from kontinuum.api.kubernetes.scaling import PathScaling
from kontinuum.api.kubernetes.structure import Mismatch
from kontinuum.api.kubernetes.validation import metadata as meta_rules
from kontinuum.api.kubernetes.warnings.finalizers import warnings_of_finalizers
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.cel import Declared
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.shapes import Shape
from kontinuum.api.machinery.status import ApiError, bad_request

BLOCKING = frozenset({"FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"})
"""With one of these, the CEL rules would be asked about something that is not there."""
MAXIMUM_REPLICAS = 2**31 - 1
KEPT_BY_STATUS = frozenset({"managedFields", "resourceVersion"})


class CustomKind(Kind):
    """One version of one CustomResourceDefinition. ``version`` is its entry in ``spec.versions``."""

    has_generation = True
    qualified_finalizers = False
    conforms_in_parts = False  # What is stored may be older than the schema.

    def __init__(self, resource: Resource, version: Object, *, is_terminating: bool = False) -> None:
        super().__init__(resource)
        self.version = version
        self.edition = hashlib.sha256(orjson.dumps([version, str(resource)])).hexdigest()
        self.is_terminating = is_terminating
        """The definition is being deleted: nothing may be created any more."""
        self.schema: Schema = compile_schema((version.get("schema") or {}).get("openAPIV3Schema"))
        self.selectable = tuple(one["jsonPath"].removeprefix(".") for one in version.get("selectableFields") or ())
        self._columns = Columns(version.get("additionalPrinterColumns") or ())
        self.columns = self._columns.definitions
        self._rules = rules.compile_rules(self.schema)
        self._status = self.schema.properties.get("status")
        self.scale: Object | None = (version.get("subresources") or {}).get("scale")
        if self.scale is not None:
            own = self.scale
            self.scaling = PathScaling(
                own["specReplicasPath"], own["statusReplicasPath"], own.get("labelSelectorPath") or ""
            )
        self._shape: Shape | None = None

    @property
    def shape(self) -> Shape:
        """What server-side apply knows of the structure."""
        if self._shape is None:
            self._shape = shape_of_schema(self.schema)
        return self._shape

    @property
    def declared(self) -> Declared | None:
        return declared_custom(self.schema.source, self.resource.kind)

    def published(self, version: int) -> dict[str, Object]:
        source = (self.version.get("schema") or {}).get("openAPIV3Schema")
        return publishing.definitions_of(self.resource, source, version=version)

    def conform(self, obj: Object) -> list[str]:
        try:
            unknown = metadata.conform(obj, self.schema)
        except Mismatch as mismatch:
            kind, version = self.resource.kind, self.resource.version
            raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {mismatch}') from None
        return unknown + shape.prune(obj, self.schema)

    def default(self, obj: Object) -> None:
        shape.default(obj, self.schema)

    def show_status(self, obj: Object) -> None:
        """A custom resource begins without any."""

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        if self.has_status:
            # Where a built-in kind has an empty one.
            obj.pop("status")

    def is_changed(self, obj: Object, old: Object) -> bool:
        if self.has_status:
            return super().is_changed(obj, old)
        return {**obj, "metadata": None} != {**old, "metadata": None}

    def prepare_status_update(self, obj: Object, old: Object) -> None:
        for field in old.keys() | obj.keys():
            if field not in ("status", "metadata"):
                keep(obj, old, field)
        for field in (old["metadata"].keys() | obj["metadata"].keys()) - KEPT_BY_STATUS:
            keep(obj["metadata"], old["metadata"], field)

    def check_may_create(self) -> None:
        if self.is_terminating:
            text = "create not allowed while custom resource definition is terminating"
            raise ApiError(405, "MethodNotAllowed", text)

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        if old is None:
            self.check_may_create()
        errors = self.validate_metadata(obj["metadata"])
        if old is not None:
            errors += meta_rules.validate_update(obj["metadata"], old["metadata"])
        errors += values.check(obj, self.schema, old=values.UNKNOWN if old is None else old)
        errors += self._check_scale(obj)
        errors += metadata.check_embedded(obj, self.schema)
        return errors + self._check_deeply(obj, old, errors)

    def warnings(self, obj: Object, old: Object | None) -> list[str]:
        return list(warnings_of_finalizers(obj, old))

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        errors = meta_rules.validate_update(obj["metadata"], old["metadata"])
        if self._status is not None and "status" in obj:
            before = old.get("status", values.UNKNOWN)
            errors += values.check(obj["status"], self._status, old=before, root="status")
        errors += self._check_scale(obj, paths=("statusReplicasPath",))
        return errors + self._check_deeply(obj, old, errors)

    def _check_deeply(self, obj: Object, old: Object | None, errors: list[FieldError]) -> list[FieldError]:
        """List elements and rules. What was wrong in the old object's lists already may stay."""
        found = lists.check(obj, self.schema)
        if found and old is not None and lists.check(old, self.schema):
            found = []
        if self._rules is None:
            return found
        if any(one.reason in BLOCKING for one in errors + found):
            text = (
                "some validation rules were not checked because the object was invalid; "
                "correct the existing errors to complete validation"
            )
            return [*found, fields.invalid(values.NOWHERE, None, text)]
        return found + rules.check(obj, old, self._rules)

    def _check_scale(
        self, obj: Object, paths: tuple[str, ...] = ("specReplicasPath", "statusReplicasPath")
    ) -> list[FieldError]:
        """What HorizontalPodAutoscalers read must be a number that fits."""
        errors = []
        for name in paths if self.scale is not None else ():
            path = (self.scale or {}).get(name) or ""
            value = read(obj, path.removeprefix("."))
            if isinstance(value, int) and not isinstance(value, bool):
                if value < 0:
                    errors.append(fields.invalid(path, value, "should be a non-negative integer"))
                elif value > MAXIMUM_REPLICAS:
                    problem = f"should be less than or equal to {MAXIMUM_REPLICAS}"
                    errors.append(fields.invalid(path, value, problem))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        return self._columns.cells(obj, now)
