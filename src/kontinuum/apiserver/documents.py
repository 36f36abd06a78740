"""What describes the server rather than being stored in it: discovery, version and OpenAPI documents."""

from __future__ import annotations

import asyncio
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
from kontinuum.apiserver.document import Document
from kontinuum.apiserver.openapi import V3, OpenApi

OPENAPI = "/openapi/"
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
        self._described_changed: set[GroupVersion] = set()
        self._describing = asyncio.Lock()
        catalog.listen(self.forget)

    async def answer(self, request: BaseRequest, path: str, query: Mapping[str, str], audit_id: str) -> Response:
        """The document at ``path``, or 304 if the client has it already. Raises ApiError 404, 406.

        An OpenAPI document that is asked for by its ``hash`` can be kept for good; by a hash that it has no longer, 301
        to where it is now (kube-openapi's ``HandleGroupVersion``).
        """
        accept, marked = request.headers.get("Accept", ""), ""
        if path.startswith(OPENAPI):
            document, marked = await self._describe(path, accept)
        else:
            if self._changed:
                # A chart brings many definitions; sorting everything for each of them would be felt.
                changed, self._changed = self._changed, set()
                self._discovery.renew(self._catalog.served, changed)
            document = self._discovery.find(path, accept)
        if document is None or request.method not in ("GET", "HEAD"):
            raise status.no_such_path()
        asked = query.get("hash", "") if marked else ""
        if asked and not marked.endswith(f"?hash={asked}"):
            moved = replies.headers(audit_id)
            moved["Location"] = marked
            return replies.small(b"", moved, 301)
        made = replies.headers(audit_id, media=document.media)
        made["Etag"] = document.etag
        made["Vary"] = "Accept"
        if asked:
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
        self._described_changed |= changed

    async def _describe(self, path: str, accept: str) -> tuple[Document | None, str]:
        """The OpenAPI document at ``path``, and where it is for good.

        One at a time, on a thread: all of it in protobuf takes half a second, in which others are answered.
        """
        async with self._describing:
            if self._described_changed:
                changed, self._described_changed = self._described_changed, set()
                self._openapi.renew(changed)
            document = await asyncio.to_thread(self._openapi.find, path, accept)
            return document, self._openapi.marked(path.removeprefix(V3)) if path.startswith(V3) else ""
