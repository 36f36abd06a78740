"""A request as the HTTP server hands it over, with what is known about it before anybody answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

if TYPE_CHECKING:
    from kontinuum.apiserver.audit.record import Record
    from kontinuum.apiserver.authn.port import Remarks

SCHEMA_UID, LEVEL_UID = "X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID"


class Request(BaseRequest):
    """``audit_id`` is the client's or a new one; ``flow`` are the uids of the request's flow schema and level.

    ``is_local``: it came by the socket for this machine's own parts. ``record`` is for the audit log, None if that
    wants to know nothing of the request; ``remarks`` are about the credential that it shows.
    """

    ATTRS = BaseRequest.ATTRS | frozenset({"audit_id", "flow", "is_local", "record", "remarks"})

    audit_id: str = ""
    is_local: bool = False
    flow: tuple[str, str] | None = None
    record: Record | None = None
    remarks: Remarks | None = None

    @property
    def remote(self) -> str | None:
        """The client's address."""
        # A socket's client has none, and is on this machine.
        return "127.0.0.1" if self.is_local else super().remote

    async def _prepare_hook(self, response: StreamResponse) -> None:
        """Called before the headers of any answer are sent, a stream's or a WebSocket's too."""
        if self.flow is not None:
            response.headers[SCHEMA_UID], response.headers[LEVEL_UID] = self.flow
        if self.record is not None:
            await self.record.started(response)


def record_of(request: BaseRequest) -> Record | None:
    """The record of any sort of request."""
    return request.record if isinstance(request, Request) else None
