"""What every review begins and ends with: the body as admission lets it through, and the answer that is not stored."""

from __future__ import annotations

from aiohttp.web_response import StreamResponse

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import options, replies, writing
from kontinuum.apiserver.admission.requests import attributes_of, review
from kontinuum.apiserver.body import read_object
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served


async def admitted(context: Context, served: Served, call: Call) -> Object:
    """The body, once admission has nothing against it. Raises ApiError 400, 403, 413, 415."""
    sent = await read_object(context, served, call)
    metadata = writing.metadata_of(sent)
    metadata.setdefault("creationTimestamp", None)
    await review(context, attributes_of("CREATE", served, call, sent, dry_run=options.dry_run(call)))
    return sent


def answer(call: Call, obj: Object) -> StreamResponse:
    """201 with the review, its status filled in."""
    return replies.of_object(obj, replies.headers(call.audit_id, call.warnings, call.output.media), 201)
