"""One definition as entries of the catalog: its versions, which share one cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kontinuum.api.kubernetes.custom.kind import CustomKind
from kontinuum.api.kubernetes.custom.naming import TERMINATING
from kontinuum.api.kubernetes.custom.schema import Schema
from kontinuum.api.kubernetes.custom.versions import deprecation_of, resource_of, storage_version
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.catalog import Served
from kontinuum.apiserver.custom.conversion import Convert, CustomConverter
from kontinuum.apiserver.custom.layout import CustomLayout
from kontinuum.apiserver.strategy import CUSTOM
from kontinuum.apiserver.watchcache import WatchCache


@dataclass(frozen=True, slots=True)
class Serving:
    """What a definition has been made into. ``definition`` is as it was then."""

    definition: Object
    stored: Served
    """In the version in which objects are written, whether clients may use that or not."""
    served: list[Served] = field(default_factory=list)

    @property
    def cache(self) -> WatchCache:
        return self.stored.cache

    @property
    def resources(self) -> list[Resource]:
        return [one.resource for one in self.served]


def serve(definition: Object, convert: Convert, *, history: int, cache: WatchCache | None = None) -> Serving:
    """``cache``: one that is filled already, where only something else than the objects has changed."""
    stored = storage_version(definition)
    is_terminating = is_true(definition, TERMINATING)
    versions = definition["spec"]["versions"]
    kinds = [CustomKind(resource_of(definition, one), one, is_terminating=is_terminating) for one in versions]
    schemas = {kind.resource.api_version: kind.schema for kind in kinds}
    storage = resource_of(definition, stored)
    if cache is None:
        cache = _cache(storage, kinds, schemas, history=history)

    def one(kind: CustomKind) -> Served:
        resource = kind.resource
        kind.deprecation = deprecation_of(definition, kind.version)
        # Of a single version everything is stored as it is served.
        has_others = len(versions) > 1
        converter = CustomConverter(resource.api_version, storage.api_version, schemas, convert)
        return Served(resource, kind, CUSTOM, cache, converter if has_others else None)

    made = {kind.resource.version: one(kind) for kind in kinds}
    served = [made[kind.resource.version] for kind in kinds if kind.version.get("served")]
    return Serving(definition, made[stored["name"]], served)


def _cache(storage: Resource, kinds: list[CustomKind], schemas: Mapping[str, Schema], *, history: int) -> WatchCache:
    paths = dict.fromkeys(path for kind in kinds for path in kind.selectable)

    def fields_of(obj: Object) -> dict[str, str]:
        return {path: text for kind in kinds for path, text in kind.fields(obj).items()}

    layout = CustomLayout(storage, schemas)
    return WatchCache(
        storage, fields_of=fields_of if paths else None, history=history, layout=layout, keeps_previous=True
    )
