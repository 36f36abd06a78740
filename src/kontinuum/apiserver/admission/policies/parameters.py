"""The parameters with which a binding has its policy evaluated: objects of any kind that is served."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from kontinuum.api.kubernetes.resources import NAMESPACES
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import versions
from kontinuum.apiserver.admission.chain import Attributes, Reader
from kontinuum.apiserver.admission.policies.hooks import Binding, ParamKind, ParamRef
from kontinuum.apiserver.catalog import Catalog, Served
from kontinuum.apiserver.selection import Selection
from kontinuum.foundation.errors import Refused


class Misconfigured(Refused):
    """A policy or binding that cannot be evaluated as it is; ``failurePolicy`` decides what that means."""


def served_kind(catalog: Catalog, kind: ParamKind) -> Served:
    """Raises Misconfigured if nothing of the kind is served."""
    for served in catalog.served.values():
        resource = served.resource
        if resource.kind == kind.kind and _is_of(resource, kind) and resource.stored:
            return served
    raise Misconfigured(f"failed to find resource referenced by paramKind: '{kind}'")


def _is_of(resource: Resource, kind: ParamKind) -> bool:
    return (resource.group, resource.version) == (kind.group, kind.version)


async def collect(
    served: Served | None, binding: Binding, attributes: Attributes, reader: Reader
) -> list[Object | None]:
    """One None where there is nothing to look for; empty if there are none and the binding allows that.

    Raises Misconfigured.
    """
    reference = binding.param_ref
    if served is None or reference is None:
        return [None]
    namespace = _namespace(served.resource, reference, attributes)
    found = await _named(served, namespace, reference.name, reader) if reference.name else await _selected(
        served, namespace, reference
    )  # fmt: skip
    if not found and reference.must_exist:
        raise Misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
    return list(found)


def _namespace(resource: Resource, reference: ParamRef, attributes: Attributes) -> str:
    if not resource.namespaced:
        if reference.namespace:
            raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        return ""
    own = attributes.name if attributes.resource == NAMESPACES else attributes.namespace
    namespace = reference.namespace or own
    if not namespace:
        raise Misconfigured("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    return namespace


async def _named(served: Served, namespace: str, name: str, reader: Reader) -> list[Object]:
    obj = await reader.find(served.resource, namespace, name)
    if obj is None:
        return []
    return [obj] if served.converter is None else list(await served.converter.from_stored([obj]))


async def _selected(served: Served, namespace: str, reference: ParamRef) -> list[Object]:
    entries: Iterable[bytes] = [one.value for one in served.cache.select(Selection(namespace, reference.selector))]
    return [await versions.read(served.converter, value) for value in entries] if served.converter is not None else [
        orjson.loads(value) for value in entries
    ]  # fmt: skip
