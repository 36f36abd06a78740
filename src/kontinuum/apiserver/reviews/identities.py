"""``TokenReview``: whose token is this? And ``SelfSubjectReview``: who am I (``kubectl auth whoami``)?"""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import options, replies, writing
from kontinuum.apiserver.admission.requests import attributes_of, review
from kontinuum.apiserver.authn.port import BadCredential
from kontinuum.apiserver.authn.users import to_user_info
from kontinuum.apiserver.body import read_object
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served


async def review_token(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403."""
    sent = await _admitted(context, served, call)
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
    return _answer(call, sent)


async def review_self(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403."""
    sent = await _admitted(context, served, call)
    sent["status"] = {"userInfo": to_user_info(call.user)}
    return _answer(call, sent)


async def _admitted(context: Context, served: Served, call: Call) -> Object:
    """The body, once admission has nothing against it."""
    sent = await read_object(context, served, call)
    metadata = writing.metadata_of(sent)
    metadata.setdefault("creationTimestamp", None)
    await review(context, attributes_of("CREATE", served, call, sent, dry_run=options.dry_run(call)))
    return sent


def _answer(call: Call, obj: Object) -> StreamResponse:
    return replies.of_object(obj, replies.headers(call.audit_id, call.warnings, call.output.media), 201)
