"""The 403 in a real API server's words (apiserver's ``responsewriters.ForbiddenStatusError``)."""

from __future__ import annotations

from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.authz.authorizer import Attributes

# What a browser could take for markup never comes back as it was sent.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def refused(attributes: Attributes, reason: str) -> ApiError:
    """The answer to a request that is not allowed. ``reason`` is appended, "" if there is nothing to add."""
    text = cannot(attributes).translate(_ESCAPES)
    if reason:
        text = f"{text}: {reason}"
    if not attributes.is_resource:
        return ApiError(403, "Forbidden", f"forbidden: {text}", {})
    group, resource, name = attributes.group, attributes.resource, attributes.name
    qualified = f"{resource}.{group}" if group else resource
    subject = f'{qualified} "{name}"' if name else qualified
    details = {"name": name, "group": group, "kind": resource}
    return ApiError(
        403, "Forbidden", f"{subject} is forbidden: {text}", {key: value for key, value in details.items() if value}
    )


def cannot(attributes: Attributes) -> str:
    """``User "jane" cannot list resource "pods" in API group "" in the namespace "default"``."""
    user, verb = attributes.user.name, attributes.verb
    if not attributes.is_resource:
        return f'User "{user}" cannot {verb} path "{attributes.path}"'
    text = f'User "{user}" cannot {verb} resource "{attributes.combined}" in API group "{attributes.group}"'
    if attributes.namespace:
        return f'{text} in the namespace "{attributes.namespace}"'
    return f"{text} at the cluster scope"
