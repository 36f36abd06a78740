"""An HTTP client's session that is opened at first use and, once closed, never again.

While a server stops, some of its tasks still ask somebody something. If that opened the session anew, nobody would
close it any more.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import ClientConnectionError, ClientSession


class LateSession:
    """``make`` makes the session, in a running event loop."""

    def __init__(self, make: Callable[[], ClientSession]) -> None:
        self._make = make
        self._session: ClientSession | None = None
        self._is_closed = False

    def opened(self) -> ClientSession:
        """The one session. Raises aiohttp's ClientConnectionError after ``close``, and what ``make`` raises."""
        if self._is_closed:
            raise ClientConnectionError("no connection is opened any more: this client is closed")
        if self._session is None:
            self._session = self._make()
        return self._session

    async def close(self) -> None:
        """Close the session and every connection of it. Idempotent."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()
