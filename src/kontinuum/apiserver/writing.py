"""The parts of metadata that belong to the server, at create and at update. Pure (apiserver's ``registry/rest``)."""

from __future__ import annotations

from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.identifiers import SUFFIX_LENGTH, new_suffix, new_uuid
from kontinuum.foundation.clock import rfc3339

LONGEST_GENERATED = 63

# What clients can never set or change.
SERVERS_OWN = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def check_kind(resource: Resource, obj: Object) -> None:
    """Raises ApiError 400 if the body says it is something else. Kind and version may be left out."""
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if kind and kind != resource.kind:
        raise status.bad_request(
            f'{kind} in version "{version or resource.api_version}" cannot be handled as a {resource.kind}: '
            f"converting ({version}.{kind}) to ({resource.api_version}.{resource.kind}): unknown conversion"
        )
    if version and version != resource.api_version:
        raise status.bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
    obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version


def metadata_of(obj: Object) -> Object:
    """The object's metadata, made if absent. Raises ApiError 400 if it is not a mapping."""
    metadata = obj.setdefault("metadata", {})
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not isinstance(metadata, dict):
        raise status.bad_request("metadata: expected an object")
    # A null label or annotation map means none, and an empty name none.
    if None in metadata.values():
        for key in [key for key, value in metadata.items() if value is None]:
            del metadata[key]
    return metadata


def check_namespace(resource: Resource, metadata: Object, namespace: str) -> None:
    """Raises ApiError 400 if the body names another namespace than the URL."""
    if not resource.namespaced:
        metadata.pop("namespace", None)
        return
    if metadata.get("namespace") not in (None, "", namespace):
        raise status.bad_request(
            f"the namespace of the provided object does not match the namespace sent on the request "
            f"({metadata['namespace']} != {namespace})"
        )
    metadata["namespace"] = namespace


def name_for_create(resource: Resource, metadata: Object) -> str:
    """The object's name, made from ``generateName`` if it has none. Raises ApiError 422."""
    name: str = metadata.get("name") or ""
    prefix = metadata.get("generateName") or ""
    if not name and prefix:
        name = prefix[: LONGEST_GENERATED - SUFFIX_LENGTH] + new_suffix()
    if not name:
        cause = fields.required("metadata.name", "name or generateName is required")
        raise status.invalid(resource.kind, "", [cause], group=resource.group)
    metadata["name"] = name
    return name


def begin(metadata: Object, *, now: float) -> None:
    """Give a new object its identity."""
    if metadata.get("resourceVersion"):
        raise status.bad_request("resourceVersion should not be set on objects to be created")
    for key in SERVERS_OWN:
        metadata.pop(key, None)
    metadata["uid"] = new_uuid()
    metadata["creationTimestamp"] = rfc3339(now)


def carry_over(metadata: Object, old: Object) -> None:
    """Put back what an update cannot change; ``old`` is the metadata before it."""
    for key in SERVERS_OWN:
        if key in old:
            metadata[key] = old[key]
        else:
            metadata.pop(key, None)
    if old.get("generateName"):
        metadata.setdefault("generateName", old["generateName"])


def check_same_object(resource: Resource, metadata: Object, old: Object) -> None:
    """Raises ApiError 409 if the body was made for another incarnation of the name, or an older state of it."""
    name = old["name"]
    if metadata.get("uid") not in (None, "", old["uid"]):
        problem = f"UID in precondition: {metadata['uid']}, UID in object meta: {old['uid']}"
        raise status.conflict(resource, name, f"Precondition failed: {problem}")
    if metadata.get("resourceVersion") not in (None, "", "0", old["resourceVersion"]):
        raise status.conflict(resource, name)
