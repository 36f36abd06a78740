"""What describes the server rather than being stored in it: discovery, version and OpenAPI documents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response

from kontinuum.api.machinery import status
from kontinuum.apiserver import dispatch, replies
from kontinuum.apiserver.aggregation.told import Elsewhere
from kontinuum.apiserver.catalog import Catalog, GroupVersion
from kontinuum.apiserver.discovery import Discovery
from kontinuum.apiserver.openapi import V3, OpenApi

YEAR_SECONDS = 365 * 24 * 3600.0
"""How long something that never changes may be kept: longer means nothing (RFC 2616, 14.21)."""


class Documents:
    """The documents about what ``catalog`` serves and ``others`` answer: each made when it is first asked for, and anew
    once it is wrong."""

    def __init__(self, catalog: Catalog, others: Elsewhere | None = None) -> None:
        self._catalog = catalog
        self._discovery = Discovery(catalog.served, dispatch.verbs, others)
        self._openapi = OpenApi(catalog.served, dispatch.verbs, lambda resource: catalog.served[resource].kind, others)
        self._changed: set[GroupVersion] = set()
        catalog.listen(self.forget)

    def answer(self, request: BaseRequest, path: str, query: Mapping[str, str], audit_id: str) -> Response:
        """The document at ``path``, or 304 if the client has it already. Raises ApiError 404, 406.

        An OpenAPI document that is asked for by its ``hash`` can be kept for good; by a hash that it has no longer, 301
        to where it is now (kube-openapi's ``HandleGroupVersion``).
        """
        if self._changed:
            self._renew()
        marked = self._openapi.marked(path.removeprefix(V3)) if query.get("hash") and path.startswith(V3) else ""
        if marked and not marked.endswith(f"?hash={query['hash']}"):
            moved = replies.headers(audit_id)
            moved["Location"] = marked
            return replies.small(b"", moved, 301)
        accept = request.headers.get("Accept", "")
        document = self._discovery.find(path, accept) or self._openapi.find(path, accept)
        if document is None or request.method not in ("GET", "HEAD"):
            raise status.no_such_path()
        made = replies.headers(audit_id, media=document.media)
        made["Etag"] = document.etag
        made["Vary"] = "Accept"
        if marked:
            made["Cache-Control"] = "public, immutable"
            made["Expires"] = formatdate(time.time() + YEAR_SECONDS, usegmt=True)
        if request.headers.get("If-None-Match") == document.etag:
            return replies.small(b"", made, 304)
        if document.is_gzipped and "gzip" in request.headers.get("Accept-Encoding", ""):
            made["Content-Encoding"] = "gzip"
            return replies.small(document.body, made)
        return replies.small(document.plain(), made)

    def forget(self, changed: set[GroupVersion]) -> None:
        """Make the documents about the ``changed`` group versions anew, when one is asked for."""
        self._changed |= changed

    def _renew(self) -> None:
        # A chart brings many definitions; sorting everything that is served for each of them would be felt.
        changed, self._changed = self._changed, set()
        self._discovery.renew(self._catalog.served, changed)
        self._openapi.renew(changed)
