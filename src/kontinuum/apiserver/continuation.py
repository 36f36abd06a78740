"""Continue tokens: where a paged list goes on, and as of which revision. Opaque to clients."""

from __future__ import annotations

import base64
import binascii

import orjson

from kontinuum.api.machinery import status


def continue_token(revision: int, after: str) -> str:
    """``after`` is the store key of the last object of the page."""
    return base64.urlsafe_b64encode(orjson.dumps([1, revision, after])).decode()


def read_token(token: str, prefix: str) -> tuple[int, str]:
    """``(revision, after)``. Raises ApiError 400 for a token that was not made for this collection."""
    try:
        version, revision, after = orjson.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        raise status.bad_request("continue key is not valid: it was not made by this server") from None
    if version != 1 or not isinstance(revision, int) or not isinstance(after, str) or not after.startswith(prefix):
        raise status.bad_request("continue key is not valid: it belongs to another list")
    return revision, after


def expired_token() -> status.ApiError:
    """The page that the token asks for can no longer be shown as it was."""
    return status.expired(
        "The provided continue parameter is too old to display a consistent list result. "
        "You can start a new list without the continue parameter."
    )
