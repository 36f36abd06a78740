"""Carrying out a claim: orphans are taken in, children that no longer match are let go (``lib.owners``)."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.client.rest import Client
from kontinuum.client.writes import Writer
from kontinuum.controllers.lib import owners


async def settle_claim(
    client: Client, writer: Writer, owner: Object, owners_resource: Resource, claim: owners.Claim, resource: Resource
) -> None:
    """Write the owner references that ``claim`` asks for into objects of ``resource``. Raises ApiError."""
    if claim.adopt:
        # Our copy may be old: an owner that was deleted meanwhile must not take in orphans.
        fresh = await client.get(owners_resource, name_of(owner), namespace=namespace_of(owner))
        if uid_of(fresh) == uid_of(owner) and "deletionTimestamp" not in fresh["metadata"]:
            reference = owners.controller_reference(owner, owners_resource)
            for orphan in claim.adopt:
                await writer.patch(resource, orphan, owners.adoption_patch(orphan, reference))
    for child in claim.release:
        await writer.patch(resource, child, owners.release_patch(child, uid_of(owner)))
