"""What a server serves: every resource, in the version that its group prefers, by the discovery that all have."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client


@dataclass(frozen=True, slots=True)
class Served:
    """A resource and what may be done with it."""

    resource: Resource
    verbs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Discovery:
    """``failed`` names the groups that did not answer (an aggregated API may be away): the rest is good."""

    served: tuple[Served, ...]
    failed: tuple[str, ...] = ()


async def discover(client: Client) -> Discovery:
    """Ask the server. Raises ApiError and Unreachable if even the list of groups cannot be had."""
    versions = ["v1"]
    groups = await client.get_path("/apis")
    for group in groups.get("groups") or ():
        versions += _versions(group)
    answers = await asyncio.gather(*(_resources(client, version) for version in versions))
    # Not every resource of a group is in its preferred version.
    served: dict[tuple[str, str], Served] = {}
    for one in (one for answer in answers if answer is not None for one in answer):
        served.setdefault((one.resource.group, one.resource.plural), one)
    failed = [version for version, answer in zip(versions, answers, strict=True) if answer is None]
    return Discovery(tuple(served.values()), tuple(failed))


async def find_kind(client: Client, group: str, kind: str) -> Resource | None:
    """The resource of ``kind`` in whichever version of ``group`` has it, the preferred one first; None: there is none.

    Raises ApiError and Unreachable.
    """
    for version in await _versions_of(client, group):
        found = next(
            (one.resource for one in await _resources(client, version) or () if one.resource.kind == kind), None
        )
        if found is not None:
            return found
    return None


async def _versions_of(client: Client, group: str) -> list[str]:
    if not group:
        return ["v1"]
    groups = (await client.get_path("/apis")).get("groups") or ()
    return [version for one in groups if one["name"] == group for version in _versions(one)]


def _versions(group: Object) -> list[str]:
    """The preferred one first."""
    preferred: str = group["preferredVersion"]["groupVersion"]
    return [preferred, *(one["groupVersion"] for one in group["versions"] if one["groupVersion"] != preferred)]


async def _resources(client: Client, version: str) -> list[Served] | None:
    path = f"/apis/{version}" if "/" in version else f"/api/{version}"
    try:
        answer = await client.get_path(path)
    except ApiError:
        return None
    # Subresources are listed too, as "pods/status".
    entries = [entry for entry in answer.get("resources") or () if "/" not in entry["name"]]
    return [_served(entry, version) for entry in entries]


def _served(entry: Object, group_version: str) -> Served:
    group, _, version = group_version.rpartition("/")
    resource = Resource(
        group=entry.get("group") or group,
        version=entry.get("version") or version,
        kind=entry["kind"],
        plural=entry["name"],
        namespaced=bool(entry.get("namespaced")),
        singular=entry.get("singularName", ""),
        short_names=tuple(entry.get("shortNames") or ()),
    )
    return Served(resource, frozenset(entry.get("verbs") or ()))
