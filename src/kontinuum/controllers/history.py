"""Keeping an owner's ControllerRevisions: new ones are made, one that comes back is renumbered, idle ones go."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.kubernetes.resources import CONTROLLERREVISIONS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import from_object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.client.writes import Writer
from kontinuum.controllers.adoption import settle_claim
from kontinuum.controllers.context import children
from kontinuum.controllers.lib import owners, revisions
from kontinuum.controllers.lib.revisions import History
from kontinuum.foundation.errors import Retryable


class HashCollision(Retryable):
    """Another template has the same hash: the owner's ``status.collisionCount`` has to rise."""


async def keep_history(
    client: Client, writer: Writer, owner: Object, resource: Resource, revisions_there: Informer
) -> History:
    """The owner's history, with a revision for its present template in it. Raises HashCollision, ApiError."""
    selector = from_object(owner["spec"].get("selector"))
    claim = owners.claim(owner, children(revisions_there, owner), selector)
    await settle_claim(client, writer, owner, resource, claim, CONTROLLERREVISIONS)
    history = revisions.history(owner, resource, claim.owned)
    if history.is_new:
        made = await _create(client, writer, history.update)
        return History([*history.revisions, made], made, is_new=False)
    if history.renumbered:
        changed = await writer.patch(CONTROLLERREVISIONS, history.update, {"revision": history.renumbered})
        others = [one for one in history.revisions if one is not history.update]
        return History([*others, changed], changed, is_new=False)
    return history


async def count_collision(writer: Writer, owner: Object, resource: Resource) -> None:
    """Make the owner's next try choose another hash."""
    status = owner.get("status") or {}
    status = {**status, "collisionCount": (status.get("collisionCount") or 0) + 1}
    await writer.update(resource, {**owner, "status": status}, subresource="status")


async def _create(client: Client, writer: Writer, revision: Object) -> Object:
    try:
        return await writer.create(CONTROLLERREVISIONS, revision)
    except ApiError as error:
        if not error.is_already_exists:
            raise
    there = await client.get(CONTROLLERREVISIONS, name_of(revision), namespace=namespace_of(revision))
    if there.get("data") != revision["data"]:
        raise HashCollision(name_of(revision))
    return there


async def forget_surplus(writer: Writer, owner: Object, history: History, used: Iterable[str]) -> None:
    """Delete idle revisions beyond the owner's ``revisionHistoryLimit``."""
    limit = owner["spec"].get("revisionHistoryLimit")
    for revision in revisions.surplus(history.revisions, used, 10 if limit is None else limit):
        await writer.delete(CONTROLLERREVISIONS, revision)
