"""The port that every transport implements: one method, a request in and a response out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to the API server. Authentication is the transport's business."""

    method: str
    path: str
    """Absolute, without host and query: ``/api/v1/pods``."""
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    """"" when there is no body."""
    accept: str = "application/json"
    timeout: float = 30.0
    """Seconds until an answer must be complete; for a watch, the longest silence that is still believed."""
    is_urgent: bool = False
    """It does not wait for its turn behind other requests: its sender has a deadline."""
    guard: Callable[[], None] | None = None
    """Asked in the moment in which the request leaves, after any waiting; what it raises keeps the request here."""

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def is_write(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH", "DELETE")


class Response(Protocol):
    """An answer whose head has arrived. Read it by one of the two methods; ``close`` it in any case."""

    @property
    def status(self) -> int:
        """The HTTP status code."""
        ...

    async def read(self) -> bytes:
        """The whole body. Raises Unreachable if the connection breaks."""
        ...

    def lines(self) -> AsyncGenerator[bytes, None]:
        """The body line by line as it arrives, of any length, without line ends. Raises Unreachable."""
        ...

    async def close(self) -> None:
        """Let go of the connection; a body that was not read to its end is dropped."""
        ...


class Transport(Protocol):
    """A way to an API server. Safe to use from many tasks of one event loop."""

    async def send(self, request: Request) -> Response:
        """Send ``request`` and answer when the response's head is there, whatever its status. Raises Unreachable."""
        ...

    async def close(self) -> None:
        """Close every connection; whatever is sent after it raises Unreachable. Idempotent."""
        ...
