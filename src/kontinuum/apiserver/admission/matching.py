"""Which requests a webhook or policy wants to see: rules, selectors, and other versions of the same resource.

Compiled once per configuration; the cheap tests come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from msgspec.structs import replace

from kontinuum.api.kubernetes.resources import NAMESPACES
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import LabelSelector, from_object
from kontinuum.apiserver import versions
from kontinuum.apiserver.admission.chain import Attributes, Kind, Reader, kind_of
from kontinuum.apiserver.catalog import Catalog, Served

CONFIGURATION_GROUP = "admissionregistration.k8s.io"
"""Nobody judges what decides who judges: a broken webhook could never be removed again."""
NAMESPACE, EQUIVALENTS = "namespace", "equivalents"
"""What is remembered about a request."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One RuleWithOperations; ``names`` is empty for any (only policies name objects)."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: frozenset[tuple[str, str]]
    scope: str
    names: frozenset[str]

    def matches(self, attributes: Attributes, resource: Resource) -> bool:
        """``resource`` is the request's, or an equivalent one."""
        return (
            _has(self.operations, attributes.operation)
            and _has(self.groups, resource.group)
            and _has(self.versions, resource.version)
            and self._has_resource(resource.plural, attributes.subresource)
            and self._has_scope(attributes)
            and (not self.names or attributes.name in self.names)
        )

    def _has_resource(self, plural: str, subresource: str) -> bool:
        return any(
            (one == "*" or one == plural) and (below == "*" or below == subresource) for one, below in self.resources
        )

    def _has_scope(self, attributes: Attributes) -> bool:
        is_namespaced = bool(attributes.namespace) and attributes.resource != NAMESPACES
        return self.scope == "*" or (self.scope == "Namespaced") == is_namespaced


def _has(words: frozenset[str], word: str) -> bool:
    return word in words or "*" in words


def rules_of(documents: Iterable[Mapping[str, Any]] | None) -> tuple[Rule, ...]:
    return tuple(_rule(one) for one in documents or ())


def _rule(document: Mapping[str, Any]) -> Rule:
    resources = ((one, below) for one, _, below in (each.partition("/") for each in document.get("resources") or ()))
    return Rule(
        operations=frozenset(document.get("operations") or ()),
        groups=frozenset(document.get("apiGroups") or ()),
        versions=frozenset(document.get("apiVersions") or ()),
        resources=frozenset(resources),
        scope=document.get("scope") or "*",
        names=frozenset(document.get("resourceNames") or ()),
    )


@dataclass(frozen=True, slots=True)
class Match:
    """A request as the one who matched it wants to see it: maybe in another version."""

    resource: Resource
    kind: Kind


class Criteria:
    """``rules`` to match, ``excluded`` ones not to, and the two selectors."""

    def __init__(self, document: Mapping[str, Any], *, rules: str, excluded: str = "") -> None:
        """``rules`` and ``excluded`` name the fields of ``document``: webhooks and policies call them differently."""
        self._rules = rules_of(document.get(rules))
        self._excluded = rules_of(document.get(excluded)) if excluded else ()
        self._namespaces = _selector(document.get("namespaceSelector"))
        self._objects = _selector(document.get("objectSelector"))
        self._is_equivalent = document.get("matchPolicy") != "Exact"
        self.has_rules = bool(self._rules)

    async def match(self, attributes: Attributes, reader: Reader, catalog: Catalog) -> Match | None:
        """Raises ApiError if the request's namespace is needed and cannot be read."""
        if attributes.resource.group == CONFIGURATION_GROUP:
            return None
        if self._excluded and self._first(self._excluded, attributes, catalog) is not None:
            return None
        found = self._first(self._rules, attributes, catalog)
        if found is None or not self._selects_object(attributes):
            return None
        return found if await self._selects_namespace(attributes, reader) else None

    async def matches_selectors(self, attributes: Attributes, reader: Reader, catalog: Catalog) -> bool:
        """As ``match``, where no rules mean every request: the resources of a policy's binding."""
        if self._rules:
            return await self.match(attributes, reader, catalog) is not None
        if self._excluded and self._first(self._excluded, attributes, catalog) is not None:
            return False
        return self._selects_object(attributes) and await self._selects_namespace(attributes, reader)

    def _first(self, rules: tuple[Rule, ...], attributes: Attributes, catalog: Catalog) -> Match | None:
        resource = attributes.resource
        if any(rule.matches(attributes, resource) for rule in rules):
            return Match(resource, attributes.kind)
        if not self._is_equivalent:
            return None
        for other in _equivalents(attributes, catalog):
            if any(rule.matches(attributes, other) for rule in rules):
                is_own_kind = attributes.kind == kind_of(resource)
                return Match(other, kind_of(other) if is_own_kind else attributes.kind)
        return None

    def _selects_object(self, attributes: Attributes) -> bool:
        if self._objects.is_empty:
            return True
        both = (attributes.obj, attributes.old)
        # Options of a CONNECT have no labels, which is not the same as having none of them.
        return any(one is not None and "metadata" in one and self._objects.matches(_labels(one)) for one in both)

    async def _selects_namespace(self, attributes: Attributes, reader: Reader) -> bool:
        if self._namespaces.is_empty:
            return True
        if attributes.resource == NAMESPACES and not attributes.subresource and attributes.obj is not None:
            return self._namespaces.matches(_labels(attributes.obj))
        if not attributes.namespace and attributes.resource != NAMESPACES:
            return True
        found = await namespace_of(attributes, reader)
        if found is None:
            raise status.not_found(NAMESPACES, attributes.namespace)
        return self._namespaces.matches(_labels(found))


def _selector(document: Object | None) -> LabelSelector:
    return from_object(document) if document else LabelSelector()


def _labels(obj: Object) -> Mapping[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


async def namespace_of(attributes: Attributes, reader: Reader) -> Object | None:
    """The namespace of a namespaced request, or of a request about a namespace; read once per request."""
    name = attributes.name if attributes.resource == NAMESPACES else attributes.namespace
    if not name:
        return None
    if NAMESPACE not in attributes.memory:
        attributes.memory[NAMESPACE] = await reader.find(NAMESPACES, "", name)
    found: Object | None = attributes.memory[NAMESPACE]
    return found


def equivalents(resource: Resource, catalog: Catalog) -> list[Resource]:
    """The other served versions of what ``resource`` stores."""
    if not resource.stored:
        return []
    return [other.resource for other in catalog.versions_of(resource) if other.resource != resource]


def _equivalents(attributes: Attributes, catalog: Catalog) -> list[Resource]:
    """As ``equivalents``; looked for once per request, however many rules ask."""
    found: list[Resource] | None = attributes.memory.get(EQUIVALENTS)
    if found is None:
        found = attributes.memory[EQUIVALENTS] = equivalents(attributes.resource, catalog)
    return found


async def as_matched(attributes: Attributes, match: Match, catalog: Catalog) -> Attributes:
    """The request's objects in the version of ``match``. Raises ApiError if they cannot be converted."""
    if match.kind == attributes.kind:
        return attributes
    source, target = catalog.served[attributes.resource], catalog.served[match.resource]
    obj = await converted(attributes.obj, source, target) if attributes.obj is not None else None
    old = await converted(attributes.old, source, target) if attributes.old is not None else None
    return replace(attributes, obj=obj, old=old)


async def converted(obj: Object, source: Served, target: Served) -> Object:
    """An object of one served version in another one."""
    stored = await versions.to_stored(source.converter, obj)
    # Conversions may take apart what they are given, and the identity gives back the object itself.
    return await versions.read(target.converter, orjson.dumps(stored))


def put(obj: Object, changed: Object) -> None:
    """Make ``obj`` say what ``changed`` does, in place: whoever stores it holds the former."""
    if obj is not changed:
        obj.clear()
        obj.update(changed)
