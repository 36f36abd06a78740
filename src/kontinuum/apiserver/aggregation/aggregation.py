"""The parts of aggregation, wired: what the handler asks, and what runs beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.apiregistration import GroupVersion
from kontinuum.api.kubernetes.resources import APISERVICES
from kontinuum.apiserver.aggregation import trust
from kontinuum.apiserver.aggregation.extensions import Extension, Extensions
from kontinuum.apiserver.aggregation.inquiry import Inquiry
from kontinuum.apiserver.aggregation.keeper import Keeper
from kontinuum.apiserver.aggregation.proxy import Proxy
from kontinuum.apiserver.aggregation.registration import Registration
from kontinuum.apiserver.aggregation.told import Elsewhere
from kontinuum.apiserver.aggregation.transport import Transport
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.context import Context


class Aggregation:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._extensions = Extensions(context.served[APISERVICES].cache)
        self._transport = Transport(context.settings)
        self._proxy = Proxy(context, self._transport)
        self._registration = Registration(context)
        self.elsewhere = Elsewhere(self._extensions)
        """What others answer, for discovery and OpenAPI."""

    def find(self, path: str) -> Extension | None:
        """Who answers a URL path; None if it is us."""
        return self._extensions.find(path)

    async def forward(self, request: BaseRequest, user: User, extension: Extension, audit_id: str) -> StreamResponse:
        """See ``Proxy.forward``."""
        return await self._proxy.forward(request, user, extension, audit_id)

    async def create_objects(self) -> None:
        """What extension servers and clients expect to find, at the start. Raises StoreFull, StoreUnavailable."""
        await self._registration.look_once()
        await trust.publish(self._context)

    def works(self, changed: Callable[[set[GroupVersion]], None]) -> dict[str, Callable[[], Awaitable[None]]]:
        """What has to run as long as the server does, by name. ``changed`` is told whose documents are wrong now."""
        context, inquiry = self._context, Inquiry(self._context, self._transport)
        keeper = Keeper(context, self._extensions, self.elsewhere, inquiry, changed)
        return {
            "extension servers": keeper.run,
            "own APIServices": self._registration.run,
            "trust for extension servers": lambda: trust.keep_published(context),
        }

    async def close(self) -> None:
        """End every connection to extension servers."""
        await self._transport.close()
