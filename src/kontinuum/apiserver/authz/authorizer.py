"""The question that every request is, and whoever answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError, forbidden
from kontinuum.apiserver.authn.users import AUTHENTICATED, User


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked. ``resource`` is None for paths that are no resource's (``/metrics``, ``/openapi/v3``)."""

    user: User
    verb: str
    """Kubernetes' verb: ``get list watch create update patch delete deletecollection``; or HTTP's in small letters."""
    resource: Resource | None = None
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Authorizer(Protocol):
    """Decides; knows nothing of HTTP."""

    async def refusal(self, attributes: Attributes) -> str | None:
        """None if it is allowed, else why not ("" if there is nothing to add to "cannot")."""
        ...


class AllowAuthenticated:
    """Whoever has shown who they are may do everything."""

    async def refusal(self, attributes: Attributes) -> str | None:
        return None if AUTHENTICATED in attributes.user.groups else "only authenticated users may do this"


def refused(attributes: Attributes, reason: str) -> ApiError:
    """The 403 in a real API server's words."""
    user, resource = attributes.user.name, attributes.resource
    if resource is None:
        text = f'forbidden: User "{user}" cannot {attributes.verb} path "{attributes.path}"'
        return ApiError(403, "Forbidden", f"{text}: {reason}" if reason else text)
    what = f"{resource.plural}/{attributes.subresource}" if attributes.subresource else resource.plural
    text = f'User "{user}" cannot {attributes.verb} resource "{what}" in API group "{resource.group}"'
    text += f' in the namespace "{attributes.namespace}"' if attributes.namespace else " at the cluster scope"
    return forbidden(resource, attributes.name, f"{text}: {reason}" if reason else text)
