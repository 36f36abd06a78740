"""The OpenAPI documents of what is served: v3 by group version, and v2 in JSON and in the protobuf form kubectl wants.

Both are made of the same generated definitions (``api.kubernetes.schema``) and the same list of operations. kubectl
reads descriptions (``explain``), types (``--validate``), the kinds behind paths, and from the parameters of PATCH
whether the server knows dry-run and field validation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import orjson

from kontinuum.api.kubernetes import schema
from kontinuum.api.kubernetes.custom.publishing import LIST_META, OBJECT_META
from kontinuum.api.kubernetes.kinds.kind import Kind
from kontinuum.api.machinery import status
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import openapi_v2_protobuf
from kontinuum.apiserver.aggregation.specifications import merge_v2
from kontinuum.apiserver.aggregation.told import Elsewhere, Told
from kontinuum.apiserver.discovery import KUBERNETES_VERSION, VerbsOf
from kontinuum.apiserver.document import Document
from kontinuum.apiserver.openapi_documents import KINDS as GENERAL
from kontinuum.apiserver.openapi_documents import document_paths, resources_path
from kontinuum.apiserver.openapi_paths import body_kinds, paths_of

Schemas = dict[str, dict[str, Any]]
JSON = "application/json"
V3 = "/openapi/v3/"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# Older clients ask with an "@", which is no valid media type: a reply must not carry it.
V2_PROTOBUF_ASKED = (V2_PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
INFO = {"title": "Kubernetes", "version": KUBERNETES_VERSION}
# Kinds of every group's bodies that belong to no resource.
COMMON = (
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
    "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent",
)
BEARER = {
    "BearerToken": {
        "type": "apiKey",
        "name": "authorization",
        "in": "header",
        "description": "Bearer Token authentication",
    }
}
SECURITY = {"securityDefinitions": BEARER, "security": [{"BearerToken": []}]}


class OpenApi:
    """The documents about ``resources``, and about what ``others`` answer."""

    def __init__(
        self,
        resources: Iterable[Resource],
        verbs_of: VerbsOf,
        kind_of: Callable[[Resource], Kind],
        others: Elsewhere | None = None,
    ) -> None:
        """``resources`` are those that are served now, and show every change."""
        self._verbs_of = verbs_of
        self._kind_of = kind_of
        self._resources = resources
        self._others = others
        self._groups: dict[str, list[Resource]] = {}
        self._kinds: dict[Resource, Kind] = {}
        self._told: dict[str, Told] = {}
        """What others have told, by the group versions' paths."""
        self._documents: dict[str, Document] = {}
        self._sort()

    def renew(self, changed: Iterable[tuple[str, str]]) -> None:
        """Other resources are served now; the documents about the ``changed`` group versions are made again."""
        self._sort()
        groups = [f"apis/{group}/{version}" for group, version in changed]
        for key in ("v2 True", "v2 False", "v3", *groups):
            self._documents.pop(key, None)

    def _sort(self) -> None:
        """Take down what is served now. Documents are made of nothing else, so they can be made in another thread."""
        others, elsewhere = self._others, self._others.versions() if self._others is not None else {}
        self._groups, self._kinds, self._told = {}, {}, {}
        if others is not None:
            self._told = {f"apis/{group}/{version}": others.told((group, version)) for group, version in elsewhere}
        for resource in self._resources:
            prefix = "apis" if resource.group else "api"
            if (resource.group, resource.version) not in elsewhere:
                self._groups.setdefault(f"{prefix}/{resource.api_version}", []).append(resource)
                self._kinds[resource] = self._kind_of(resource)

    def find(self, path: str, accept: str) -> Document | None:
        """The document at ``path``; None if there is none. Raises ApiError 406."""
        if path == "/openapi/v2":
            protobuf = _wants_protobuf(accept)
            return self._kept(f"v2 {protobuf}", lambda: self._v2(protobuf=protobuf))
        if path == "/openapi/v3":
            return self._kept("v3", self._index)
        group = path.removeprefix(V3)
        if group == path:
            return None
        if group in self._groups:
            return self._kept(group, lambda: self._v3(group))
        if group in self._general(version=3):
            return self._kept(f"v3 {group}", lambda: self._v3_general(group))
        told = self._told.get(group)
        if told is None or not told.openapi_v3:
            return None
        return self._kept(group, lambda: Document.of(told.openapi_v3, JSON, large=True))

    def _kept(self, key: str, make: Callable[[], Document]) -> Document:
        if key not in self._documents:
            self._documents[key] = make()
        return self._documents[key]

    def _index(self) -> Document:
        """Where each group's document is, under a hash by which clients keep it."""
        groups = [*self._groups, *self._general(version=3), *self._told]
        paths = {group: {"serverRelativeURL": where} for group in groups if (where := self.marked(group))}
        return Document.of(orjson.dumps({"paths": paths}), JSON)

    def marked(self, group: str) -> str:
        """Where the group's document of version 3 is for good: another one gets another hash. "" if it has none."""
        if group in self._groups:
            facts = sorted((each.plural, self._kinds[each].edition) for each in self._groups[group])
            mark = _hash(f"{_edition()} {group} {facts}".encode())
        elif group in self._general(version=3):
            mark = _hash(f"{_edition()} {group}".encode())
        elif (told := self._told.get(group)) is not None and told.openapi_v3:
            mark = _hash(told.openapi_v3)
        else:
            return ""
        return f"{V3}{group}?hash={mark}"

    def _v3(self, group: str) -> Document:
        resources = self._groups[group]
        definitions = self._described(resources, version=3)
        _refer(definitions, "#/components/schemas/", wrapped=True)
        content = {
            "openapi": "3.0.0",
            "info": INFO,
            "paths": self._paths(resources, version=3),
            "components": _components(definitions),
        }
        return Document.of(orjson.dumps(content), JSON, large=True)

    def _v3_general(self, document: str) -> Document:
        definitions = _with_prose(GENERAL)
        _refer(definitions, "#/components/schemas/", wrapped=True)
        content = {
            "openapi": "3.0.0",
            "info": INFO,
            "paths": self._general(version=3)[document],
            "components": _components(definitions),
        }
        return Document.of(orjson.dumps(content), JSON, large=True)

    def _paths(self, resources: list[Resource], *, version: int) -> dict[str, Any]:
        found = dict(
            resources_path(group, name, openapi=version)
            for group, name in dict.fromkeys((each.group, each.version) for each in resources)
        )
        for each in resources:
            found.update(paths_of(each, self._verbs_of, version=version))
        return found

    def _general(self, *, version: int) -> dict[str, dict[str, Any]]:
        """What belongs to no group version: document → path → path item."""
        groups = {each.group for resources in self._groups.values() for each in resources}
        return {document: {path: item} for document, path, item in document_paths(groups, openapi=version)}

    def _v2(self, *, protobuf: bool) -> Document:
        resources = [resource for group in self._groups.values() for resource in group]
        definitions = self._described(resources, version=2)
        _refer(definitions, "#/definitions/", wrapped=False)
        paths = self._paths(resources, version=2)
        for general in self._general(version=2).values():
            paths.update(general)
        content: dict[str, Any] = {
            "swagger": "2.0",
            "info": INFO,
            "paths": paths,
            "definitions": definitions,
            **SECURITY,
        }
        for told in self._told.values():
            merge_v2(content, told.openapi_v2)
        if protobuf:
            return Document.of(openapi_v2_protobuf.encode(content), V2_PROTOBUF, large=True)
        return Document.of(orjson.dumps(content), JSON, large=True)

    def _described(self, resources: list[Resource], *, version: int) -> Schemas:
        """The definitions that ``resources`` need, with their prose put back in."""
        names = {*COMMON, *GENERAL, LIST_META, OBJECT_META}
        own: Schemas = {}
        for resource in resources:
            names.update(schema.definition_name(*body) for body in body_kinds(resource))
            published = self._kinds[resource].published(version)
            own |= published
            if published:
                continue
            for kind in (resource.kind, f"{resource.kind}List"):
                if kind == resource.kind or schema.is_known(resource.api_version, kind):
                    names.add(schema.definition_name(resource.api_version, kind))
        definitions = _with_prose(names)
        # Copied, because what is published is made into references in place.
        definitions.update(copy(own))
        return definitions


def _with_prose(names: set[str]) -> Schemas:
    definitions = schema.json_schemas(names)
    prose = schema.texts()
    for name, definition in definitions.items():
        for field, text in prose.get(name, {}).items():
            target = definition if not field else definition.get("properties", {}).get(field)
            if target is not None:
                target["description"] = text
    return definitions


@cache
def _edition() -> str:
    """Of the built-in documents: what another release of ours says of the same resources may be something else."""
    import importlib.metadata  # Slow, and needed once somebody asks.

    return f"{KUBERNETES_VERSION} {importlib.metadata.version('kontinuum')}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32].upper()


def _components(definitions: Schemas) -> dict[str, Any]:
    return {"schemas": definitions, "securitySchemes": BEARER}


def _refer(value: Any, prefix: str, *, wrapped: bool) -> None:
    """Turn bare names in ``$ref`` into references below ``prefix``.

    OpenAPI 3.0 ignores whatever stands beside a ``$ref``; there a described reference is wrapped in ``allOf``.
    """
    if isinstance(value, dict):
        name = value.get("$ref")
        if isinstance(name, str):
            reference = {"$ref": prefix + name}
            if wrapped and len(value) > 1:
                del value["$ref"]
                value["allOf"] = [reference]
            else:
                value.update(reference)
            return
        for each in value.values():
            _refer(each, prefix, wrapped=wrapped)
    elif isinstance(value, list):
        for each in value:
            _refer(each, prefix, wrapped=wrapped)


def _wants_protobuf(accept: str) -> bool:
    """Whether the first alternative of ours is the protobuf form. Raises ApiError 406."""
    for alternative in accept.split(",") if accept else ("*/*",):
        media = alternative.partition(";")[0].strip()
        if media in V2_PROTOBUF_ASKED:
            return True
        if media in (JSON, "application/*", "*/*"):
            return False
    raise status.not_acceptable((JSON, V2_PROTOBUF))
