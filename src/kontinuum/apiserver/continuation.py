"""Continue tokens: where a paged list goes on, and as of which revision. Opaque to clients.

Once the revision of a list is gone, its token expires; the answer then has a token under which the list goes on as of
now, for those who would rather have an inconsistent list than begin again (apiserver's ``storage/etcd3/errors.go``).
"""

from __future__ import annotations

import base64
import binascii

import orjson

from kontinuum.api.machinery import status

NOW = -1
"""The revision in the token of a list that goes on inconsistently."""


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


def expired_token(after: str) -> status.ApiError:
    """The page that the token asks for can no longer be shown as it was."""
    return status.expired(
        "The provided continue parameter is too old to display a consistent list result. "
        "You can start a new list without the continue parameter, or use the continue token in this response to "
        "retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - "
        "objects that were created, modified, or deleted between the time the first chunk was returned and now may "
        "show up in the list.",
        continue_=continue_token(NOW, after),
    )
