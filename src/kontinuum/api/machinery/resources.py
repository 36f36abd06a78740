"""A resource: where objects of one kind live in the URL space, and what discovery says about them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource, e.g. ``apps/v1 deployments``. The terms are those of Kubernetes' APIResource."""

    group: str
    """"" for the core group."""
    version: str
    kind: str
    plural: str
    namespaced: bool
    singular: str = ""
    listed_as: str = ""
    """The kind of a list of objects; "": the kind with ``List`` behind it."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    """Names below the object's path: ``status``, ``scale``, ``log`` ..."""
    stored: bool = True
    """False: there are no objects, only requests that are answered (reviews, bindings)."""
    stored_as: Resource | None = None
    """The resource in whose form the same objects are stored, if that is another version (or group) than this."""

    # Every request asks some forty times whether its resource is this or that one, and looks things up by it: nearly
    # always it is the same object, or another name, and neither needs all facts (1 µs for each question).

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Resource):
            return NotImplemented
        return self.plural == other.plural and _FACTS(self) == _FACTS(other)

    def __hash__(self) -> int:
        return hash(self.plural)

    @property
    def api_version(self) -> str:
        """``v1`` or ``apps/v1``, as objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        """``PodList``."""
        return self.listed_as or f"{self.kind}List"

    @property
    def qualified(self) -> str:
        """``deployments.apps``, as error messages and RBAC name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, one object, or its subresource. Namespace "" means all namespaces."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


_FACTS = attrgetter(*(one.name for one in fields(Resource)))
