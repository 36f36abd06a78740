"""``TokenReview``: whose token is this? And ``SelfSubjectReview``: who am I (``kubectl auth whoami``)?"""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery import status
from kontinuum.apiserver.authn.port import BadCredential
from kontinuum.apiserver.authn.users import to_user_info
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.reviews.exchange import admitted, answer


async def review_token(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403."""
    sent = await admitted(context, served, call)
    spec = sent.get("spec") or {}
    token = spec.get("token") or ""
    if not token:
        raise status.bad_request("token is required for TokenReview in authentication")
    tokens = context.identity.authenticate.tokens
    try:
        found = await tokens.authenticate(token, tuple(spec.get("audiences") or ()) or None)
    except BadCredential as error:
        sent["status"] = {"user": {}, "error": str(error)}
    else:
        sent["status"] = {
            "authenticated": True,
            "user": to_user_info(found.user),
            "audiences": list(found.audiences),
        }
    return answer(call, sent)


async def review_self(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403."""
    sent = await admitted(context, served, call)
    sent["status"] = {"userInfo": to_user_info(call.user)}
    return answer(call, sent)
