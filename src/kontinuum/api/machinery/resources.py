"""A resource: where objects of one kind live in the URL space, and what discovery says about them."""

from __future__ import annotations

from functools import cached_property

from msgspec import Struct


class Resource(Struct, frozen=True, cache_hash=True, dict=True):
    """One served resource, e.g. ``apps/v1 deployments``. The terms are those of Kubernetes' APIResource.

    Every request asks some thirty times whether its resource is this or that one, looks things up by it, or wants its
    names: compiled code answers the former, and the names are made once.
    """

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

    @cached_property
    def api_version(self) -> str:
        """``v1`` or ``apps/v1``, as objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def list_kind(self) -> str:
        """``PodList``."""
        return self.listed_as or f"{self.kind}List"

    @cached_property
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
