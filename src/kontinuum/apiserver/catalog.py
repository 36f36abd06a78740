"""What is served now. Custom resources and extension servers come and go, so it changes while the server runs.

             add, remove, replace
    custom ───────────────────────▶ Catalog ──▶ routes      which paths are a resource's
    aggregation                        │  └───▶ served      what the verbs work with
                                       └──────▶ listeners   documents (discovery, OpenAPI) forget what has changed

Everybody reads it without waiting; a change is made in one step of the event loop, after the resource's cache has been
filled, so that nobody sees a resource without its objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kontinuum.api.kubernetes.kinds.kind import Kind
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.registry import Layout
from kontinuum.apiserver.routes import RouteTable
from kontinuum.apiserver.strategy import Strategy
from kontinuum.apiserver.versions import Converter
from kontinuum.apiserver.watchcache import WatchCache

GroupVersion = tuple[str, str]
Listener = Callable[[set[GroupVersion]], None]


@dataclass(frozen=True, slots=True)
class Served:
    """One resource: its rules (``kind``), what is special about its verbs (``strategy``), and its objects."""

    resource: Resource
    kind: Kind
    strategy: Strategy
    cache: WatchCache
    converter: Converter | None = None
    """None where objects are served as they are stored."""

    @property
    def layout(self) -> Layout:
        return self.cache.layout


class Catalog:
    """See the module. ``served`` and ``routes`` are live: whoever holds them sees every change."""

    def __init__(self, served: Mapping[Resource, Served]) -> None:
        self._served: dict[Resource, Served] = dict(served)
        self._listeners: list[Listener] = []
        self._versions: dict[WatchCache, tuple[Served, ...]] = {}
        self.built_in = frozenset(self._served)
        self.served: Mapping[Resource, Served] = MappingProxyType(self._served)
        self.routes = RouteTable(self._served)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with the group versions that have changed, after each change."""
        self._listeners.append(listener)

    def replace(self, gone: Iterable[Resource], served: Iterable[Served]) -> None:
        """Take resources away and put others in their place, in one step."""
        changed: set[GroupVersion] = set()
        for resource in gone:
            if self._served.pop(resource, None) is not None:
                self.routes.remove(resource)
                changed.add((resource.group, resource.version))
        for one in served:
            self._served[one.resource] = one
            self.routes.add(one.resource)
            changed.add((one.resource.group, one.resource.version))
        if changed:
            self._versions.clear()
            for listener in self._listeners:
                listener(changed)

    def versions_of(self, resource: Resource) -> tuple[Served, ...]:
        """Everything under which the objects of ``resource`` are served, itself among it; nothing if it is not."""
        own = self._served.get(resource)
        if own is None:
            return ()
        if own.cache not in self._versions:
            self._versions[own.cache] = tuple(one for one in self._served.values() if one.cache is own.cache)
        return self._versions[own.cache]

    def find(self, group: str, version: str, plural: str) -> Served | None:
        """What is served under ``/apis/group/version/plural``."""
        resource = self.routes.resource(group, version, plural)
        return self._served.get(resource) if resource is not None else None
