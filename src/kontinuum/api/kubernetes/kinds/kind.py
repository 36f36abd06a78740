"""What the generic verbs ask about a kind. The answers here fit most kinds; a kind with more to say overrides them.

Order of the calls for a create: ``default``, ``show_status``, ``prepare_create``, ``validate``; for an update:
``default``, ``prepare_update`` (or ``prepare_status_update``), ``validate`` (or ``validate_status``). All but the last
change the object they are given in place; it is always a fresh copy that nobody else holds. ``old`` is never changed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from kontinuum.api.kubernetes.declared import declared_kind
from kontinuum.api.kubernetes.scaling import Scaling, WorkloadScaling
from kontinuum.api.kubernetes.schema import Definition, definition_of, is_known
from kontinuum.api.kubernetes.shapes import shape_of_kind
from kontinuum.api.kubernetes.structure import conform
from kontinuum.api.kubernetes.tables import age
from kontinuum.api.kubernetes.validation import metadata, names
from kontinuum.api.kubernetes.warnings.objects import warnings_of
from kontinuum.api.machinery.cel.schemas import Declared
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.shapes import Shape


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``. ``priority`` 1 is shown with ``-o wide`` only."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
AGE = Column("Age", description="CreationTimestamp is the time at which the object was created, by the server.")
CREATED_AT = Column("Created At", "date", description=AGE.description)


class Kind:
    """One served kind. Subclasses say what is special; see the module for who calls what when."""

    resource: Resource

    edition: str = ""
    """Of a kind that is not built in: differs whenever it does, and is the same on every server."""

    deprecation: str = ""
    """What every reply about it warns of."""

    has_generation: bool = False
    """``metadata.generation`` counts the changes of everything but metadata and status."""

    checks_slowly: bool = False
    """Validation may take seconds for large objects (expressions are compiled): the server does it on a thread."""

    conforms_in_parts: bool = True
    """What is right of a part of the object does not depend on the others, nor on more than the kind."""

    qualified_finalizers: bool = True
    """A finalizer needs a domain (``example.com/x``): a rule of the kinds that Kubernetes' own server defines, not of
    those that come from its libraries (custom resources, their definitions, API services, webhooks, policies, leases).
    """

    columns: tuple[Column, ...] = (NAME, AGE)

    scaling: Scaling = WorkloadScaling()
    """What ``scale`` shows, of kinds that have it."""

    selectable: tuple[str, ...] = ()
    """Field selectors beyond ``metadata.name`` and ``metadata.namespace``."""

    initial_status: ClassVar[Object] = {}
    """What a new object's status says, as Go writes a struct that holds nothing yet: clients change what is below
    ``/status`` without asking whether it is there, and some cannot read an object that lacks its required counts."""
    read_for_selection: tuple[str, ...] = ()
    """The paths that ``fields`` looks at, where these are not ``selectable``."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    @property
    def has_status(self) -> bool:
        """Status is written through its own subresource only."""
        return "status" in self.resource.subresources

    @property
    def shape(self) -> Shape:
        """Which parts of an object have owners of their own, for server-side apply."""
        return shape_of_kind(self.resource.api_version, self.resource.kind)

    def check_name(self, name: str) -> list[str]:
        """What is wrong with an object's name, in Kubernetes' words; empty if nothing is."""
        return names.dns_subdomain(name)

    @property
    def definition(self) -> Definition:
        """The structure of the kind: types, lists that are maps, patch strategies."""
        return definition_of(self.resource.api_version, self.resource.kind)

    @property
    def declared(self) -> Declared | None:
        """The type that expressions are checked against; None if the kind has none."""
        version, kind = self.resource.api_version, self.resource.kind
        return declared_kind(version, kind) if is_known(version, kind) else None

    def published(self, version: int) -> dict[str, Object]:
        """Definitions for the OpenAPI document of ``version`` 2 or 3, by name, of a kind that is not built in."""
        return {}

    def conform(self, obj: Object) -> list[str]:
        """Bring ``obj`` into the structure of the kind, in place; the paths of the unknown fields it had.

        Raises ApiError 400 for a value of the wrong type.
        """
        return conform(obj, self.resource.api_version, self.resource.kind)

    def conform_parts(self, obj: Object, parts: Collection[str]) -> list[str]:
        """As ``conform``, where only these of the fields have been written since the object was brought into it."""
        if not self.conforms_in_parts:
            return self.conform(obj)
        changed = {part: obj.pop(part) for part in [*obj] if part in parts}
        unknown = self.conform(changed)
        obj.update(changed)
        return unknown

    def default(self, obj: Object) -> None:
        """Fill in what Kubernetes fills in for fields that were left out."""

    def show_status(self, obj: Object) -> None:
        """Give a new object the status that it begins with, if it says nothing about one.

        Kubernetes' own types are never without: a webhook that sends back the difference to what it has decoded would
        otherwise seem to add one, and everybody would be asked again.
        """
        if self.has_status and "status" not in obj:
            obj["status"] = copy(self.initial_status)

    def prepare_create(self, obj: Object) -> None:
        """Drop what a client may not decide at creation."""
        if self.has_status:
            obj["status"] = copy(self.initial_status)
        if self.has_generation:
            obj["metadata"]["generation"] = 1

    def prepare_update(self, obj: Object, old: Object) -> None:
        """Keep what this path may not change: the status; and count generations."""
        if self.has_status:
            keep(obj, old, "status")
        if self.has_generation:
            generation = old["metadata"].get("generation", 1)
            obj["metadata"]["generation"] = generation + (1 if self.is_changed(obj, old) else 0)

    def prepare_status_update(self, obj: Object, old: Object) -> None:
        """Keep everything but the status; of the metadata the server's own fields and the resourceVersion pass."""
        for field in old.keys() | obj.keys():
            if field not in ("status", "metadata"):
                keep(obj, old, field)
        for field in ("generation", "labels", "finalizers", "ownerReferences", "deletionGracePeriodSeconds"):
            keep(obj["metadata"], old["metadata"], field)

    def prepare_subresource(self, subresource: str, obj: Object, old: Object) -> None:
        """As ``prepare_status_update``, for any subresource whose body is the object, or becomes part of it."""
        if subresource == "scale":
            self.prepare_update(obj, old)
        else:
            self.prepare_status_update(obj, old)

    def is_changed(self, obj: Object, old: Object) -> bool:
        """True if what the user wants has changed, which is what a generation counts."""
        return {**obj, "metadata": None, "status": None} != {**old, "metadata": None, "status": None}

    def check_may_create(self) -> None:
        """Raises ApiError 405 while there may be no new objects."""

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        """What is wrong with ``obj``, as a creation (``old`` is None) or as an update of ``old``."""
        errors = self.validate_metadata(obj["metadata"])
        if old is None:
            return errors + self.validate_spec(obj)
        errors += metadata.validate_update(obj["metadata"], old["metadata"])
        return errors + self.validate_update(obj, old)

    def validate_metadata(self, meta: Object) -> list[FieldError]:
        return metadata.validate(
            meta,
            namespaced=self.resource.namespaced,
            check_name=self.check_name,
            qualified_finalizers=self.qualified_finalizers,
        )

    def validate_spec(self, obj: Object) -> list[FieldError]:
        """What is wrong with the kind's own fields."""
        return []

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        """What is wrong with the change; by default the new object is simply looked at again."""
        return self.validate_spec(obj)

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        return metadata.validate_update(obj["metadata"], old["metadata"])

    def validate_subresource(self, subresource: str, obj: Object, old: Object) -> list[FieldError]:
        """As ``validate``, for a write through a subresource, which may hold other rules."""
        return self.validate_status(obj, old) if subresource == "status" else self.validate(obj, old)

    def warnings(self, obj: Object, old: Object | None) -> list[str]:
        """What to tell who creates ``obj``, or makes it of ``old``: allowed, but unlikely to be meant."""
        return warnings_of(self.resource, obj, old)

    def fields(self, obj: Object) -> dict[str, str]:
        """The values of ``selectable`` in ``obj``; an absent field reads as "".

        ``obj`` may be no more than its metadata's labels and what ``read_for_selection`` names.
        """
        return {path: as_text(read(obj, path)) for path in self.selectable}

    def cells(self, obj: Object, now: float) -> list[Any]:
        """One table row; ``now`` is in seconds since the epoch."""
        return [obj["metadata"].get("name", ""), age(obj["metadata"].get("creationTimestamp"), now)]


class Undescribed(Kind):
    """A kind for which Kubernetes has no columns of its own: it shows when the object was created, as a date."""

    columns = (NAME, CREATED_AT)

    def cells(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"].get("name", ""), obj["metadata"].get("creationTimestamp")]


def keep(obj: Object, old: Object, field: str) -> None:
    """Give ``obj`` the ``field`` that ``old`` has, or none."""
    if field in old:
        obj[field] = old[field]
    else:
        obj.pop(field, None)


def read(obj: Object, path: str) -> Any:
    """The value at a dotted path, or None."""
    found: Any = obj
    for part in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def as_text(value: Any) -> str:
    """A field's value as selectors compare it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
