"""Which resources a CustomResourceDefinition stands for: one for each version, under the names that were accepted."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.kubernetes.apiregistration import version_order
from kontinuum.api.kubernetes.custom.naming import TERMINATING
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource


def served_versions(definition: Object) -> list[Object]:
    """The entries of ``spec.versions`` that clients may use."""
    return [one for one in definition["spec"].get("versions") or () if one.get("served")]


def storage_version(definition: Object) -> Object:
    """The entry in whose form objects are stored; there is exactly one."""
    return next(one for one in definition["spec"]["versions"] if one.get("storage"))


def resource_of(definition: Object, version: Object) -> Resource:
    """The resource of one entry of ``spec.versions``."""
    stored = storage_version(definition)
    found = _resource(definition, version)
    if version is stored:
        return found
    return _resource(definition, version, stored_as=_resource(definition, stored))


def _resource(definition: Object, version: Object, *, stored_as: Resource | None = None) -> Resource:
    spec = definition["spec"]
    accepted = (definition.get("status") or {}).get("acceptedNames") or {}
    own = accepted if accepted.get("plural") else spec["names"]
    subresources = version.get("subresources") or {}
    return Resource(
        group=spec["group"],
        version=version["name"],
        kind=own["kind"],
        plural=own["plural"],
        namespaced=spec["scope"] == "Namespaced",
        singular=own.get("singular") or "",
        listed_as=own.get("listKind") or "",
        short_names=tuple(own.get("shortNames") or ()),
        categories=tuple(own.get("categories") or ()),
        subresources=tuple(one for one in ("scale", "status") if subresources.get(one) is not None),
        stored_as=stored_as,
    )


def is_built_in(definition: Object, built_in: Iterable[Resource]) -> bool:
    """Whether a definition speaks of what the server has without it."""
    spec = definition["spec"]
    return any((one.group, one.plural) == (spec["group"], spec["names"]["plural"]) for one in built_in)


def deprecation_of(definition: Object, version: Object) -> str:
    """What replies about a deprecated version warn of; "" for others."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning") is not None:
        return str(version["deprecationWarning"])
    group, kind = definition["spec"]["group"], definition["spec"]["names"]["kind"]
    text = f"{group}/{version['name']} {kind} is deprecated"
    better = [one["name"] for one in served_versions(definition) if not one.get("deprecated")]
    newer = [name for name in better if version_order(name) < version_order(version["name"])]
    return f"{text}; use {group}/{min(newer, key=version_order)} {kind}" if newer else text


def is_read_anew(old: Object, new: Object) -> bool:
    """Whether objects must be read from the store again: another schema prunes and fills in other things."""
    return _what_is_read(old) != _what_is_read(new)


def is_served_anew(old: Object, new: Object) -> bool:
    """Whether anything has changed that requests or discovery depend on."""
    return _what_is_served(old) != _what_is_served(new)


def _what_is_read(definition: Object) -> tuple[object, ...]:
    names = (definition.get("status") or {}).get("acceptedNames")
    fields = ("name", "storage", "schema", "selectableFields")
    versions = [[one.get(field) for field in fields] for one in definition["spec"]["versions"]]
    return definition["metadata"].get("uid"), names, versions


def _what_is_served(definition: Object) -> tuple[object, ...]:
    status = definition.get("status") or {}
    names, stored = status.get("acceptedNames"), status.get("storedVersions")
    return definition["metadata"].get("uid"), definition["spec"], names, stored, is_true(definition, TERMINATING)
