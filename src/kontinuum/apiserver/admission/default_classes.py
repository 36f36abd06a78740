"""DefaultStorageClass and DefaultIngressClass: what names no class gets the one that is marked as default.

Of several marked ones it is the newest, so that a cluster can move from one default to another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kontinuum.api.kubernetes.claims import CLASS_ANNOTATION
from kontinuum.api.kubernetes.resources import INGRESSCLASSES, INGRESSES, PERSISTENTVOLUMECLAIMS, STORAGECLASSES
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader


@dataclass(frozen=True, slots=True)
class DefaultClass(Base):
    """See the module."""

    resource: Resource
    """What gets a class."""
    classes: Resource
    field: str
    """Of the spec: the class's name. "" there means that none is wanted."""
    annotation: str
    """How the class was named before there was a field for it."""
    marks: tuple[str, ...]
    """Annotations of the class that is the default."""

    @property
    def concerns(self) -> tuple[Resource]:
        return (self.resource,)

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        obj = attributes.obj
        if obj is None or attributes.operation != "CREATE" or attributes.resource != self.resource:
            return
        spec = obj.setdefault("spec", {})
        if spec.get(self.field) is not None or self.annotation in annotations_of(obj):
            return
        default = newest_default(await reader.list(self.classes), self.marks)
        if default is not None:
            spec[self.field] = name_of(default)


DEFAULT_STORAGE_CLASS = DefaultClass(
    resource=PERSISTENTVOLUMECLAIMS,
    classes=STORAGECLASSES,
    field="storageClassName",
    annotation=CLASS_ANNOTATION,
    marks=("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"),
)
DEFAULT_INGRESS_CLASS = DefaultClass(
    resource=INGRESSES,
    classes=INGRESSCLASSES,
    field="ingressClassName",
    annotation="kubernetes.io/ingress.class",
    marks=("ingressclass.kubernetes.io/is-default-class",),
)


def newest_default(classes: Iterable[Object], marks: Iterable[str]) -> Object | None:
    """The newest of those that carry one of ``marks``; of equally old ones the first by name."""
    marked = sorted(
        (one for one in classes if any(annotations_of(one).get(mark) == "true" for mark in marks)), key=name_of
    )
    return max(marked, key=lambda one: str(one["metadata"].get("creationTimestamp")), default=None)
