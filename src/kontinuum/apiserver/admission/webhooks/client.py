"""Calls to users' webhooks: one session for all, TLS as each client configuration says, services found in the caches.

A webhook is at a ``url``, or behind a ``service``: then any ready endpoint of it is dialled, or its cluster address if
none is known; the certificate has to be for ``NAME.NAMESPACE.svc`` in both cases. No client certificate is shown.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    ServerDisconnectedError,
    TCPConnector,
    TraceConfig,
    TraceConnectionReuseconnParams,
)

from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, SERVICES
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_map
from kontinuum.apiserver.admission.chain import Reader
from kontinuum.apiserver.admission.webhooks.words import reason_of, refusal
from kontinuum.apiserver.services.resolver import SERVICE_NAME, Unresolved, places_of
from kontinuum.foundation.errors import Refused
from kontinuum.foundation.sessions import LateSession
from kontinuum.foundation.tls import trusting

LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes, unless the caller knows better: conversions answer many objects at once."""
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, */*",
    "User-Agent": "kube-apiserver-admission",
}


class CallFailed(Refused):
    """The webhook could not be asked, or its answer cannot be read. The text is Go's, as Kubernetes reports it.

    ``code`` is the HTTP status that its server has answered; 503 if it has not answered.
    """

    def __init__(self, message: str, code: int = 503) -> None:
        super().__init__(message)
        self.code = code


@lru_cache(maxsize=64)
def _trusting(bundle: str | None) -> ssl.SSLContext:
    """Kept across changes of configurations: reading the system's authorities holds everybody up for 40 ms."""
    return trusting(bundle)


class Endpoint:
    """One client configuration."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._bundle = config.get("caBundle")
        self._service = config.get("service")
        self.host: str | None = None
        """As whom a service has to show itself; None for a URL, which says that itself."""
        self.shown = config.get("url") or ""
        """The URL as messages name it."""
        if self._service is not None:
            path = (self._service.get("path") or "/").lstrip("/")
            self.host = f"{self._service.get('name', '')}.{self._service.get('namespace', '')}.svc"
            self.shown = f"https://{self.host}:{self._port}/{path}"

    @property
    def _port(self) -> int:
        return (self._service or {}).get("port") or 443

    def tls(self) -> ssl.SSLContext:
        """Raises CallFailed for a bundle that is none."""
        try:
            return _trusting(base64.b64decode(self._bundle).decode() if self._bundle else None)
        except (binascii.Error, ValueError, ssl.SSLError) as error:
            raise CallFailed(f"unable to load root certificates: {error}") from error

    async def locate(self, reader: Reader) -> list[str]:
        """The URLs to dial, any of them will do, at least one. Raises CallFailed if there is no such service."""
        if self._service is None:
            return [self.shown]
        namespace, name = self._service.get("namespace", ""), self._service.get("name", "")
        places = await _places(reader, namespace, name, self._port)
        random.shuffle(places)
        return [f"https://{place}{urlsplit(self.shown).path}" for place in places]


@dataclass(frozen=True, slots=True)
class Question:
    """One call, wherever it is sent."""

    body: bytes
    host: str | None
    authority: str
    """What the Host header says."""
    tls: ssl.SSLContext
    seconds: float
    largest: int

    @property
    def timeout(self) -> str:
        """As Go writes it, in whole seconds."""
        return f"{ceil(self.seconds)}s"


class WebhookClient:
    """``close`` ends its connections; no call succeeds after it."""

    def __init__(self) -> None:
        self._session = LateSession(_session)

    async def post(
        self, endpoint: Endpoint, body: Object, reader: Reader, *, seconds: float, largest: int = LARGEST_ANSWER
    ) -> Any:
        """The decoded answer, of at most ``largest`` bytes. Raises CallFailed, after ``seconds`` at the latest."""
        question = Question(orjson.dumps(body), endpoint.host, urlsplit(endpoint.shown).netloc, endpoint.tls(),
                            seconds, largest)  # fmt: skip
        asking = f'Post "{endpoint.shown}?timeout={question.timeout}"'
        try:
            async with asyncio.timeout(seconds):
                code, content = await self._ask_one_of(await endpoint.locate(reader), question)
        except TimeoutError:
            raise CallFailed(f"{asking}: context deadline exceeded") from None
        except (CallFailed, ClientError, OSError, ValueError) as error:
            raise CallFailed(f"{asking}: {reason_of(error)}") from error
        if code != 200:
            raise CallFailed(refusal(code, content), code)
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise CallFailed(f"couldn't get version/kind; json parse error: {error}") from error

    async def _ask_one_of(self, urls: list[str], question: Question) -> tuple[int, bytes]:
        """Whoever can be connected to first: an endpoint may be gone before anybody has noticed."""
        patience = question.seconds / len(urls)
        for url in urls[:-1]:
            try:
                return await self._ask(url, question, patience)
            except (ClientConnectorError, ConnectionTimeoutError):
                continue
        return await self._ask(urls[-1], question, patience)

    async def _ask(self, url: str, question: Question, patience: float) -> tuple[int, bytes]:
        """Code and content of the answer; ``patience`` in seconds is for connecting."""
        while True:
            attempt = Attempt()
            try:
                async with self._session.opened().post(
                    url,
                    data=question.body,
                    params={"timeout": question.timeout},
                    headers={**HEADERS, "Host": question.authority},
                    ssl=question.tls,
                    server_hostname=question.host,
                    timeout=ClientTimeout(total=None, sock_connect=patience),
                    allow_redirects=False,
                    trace_request_ctx=attempt,
                ) as response:
                    return response.status, await _read(response, question.largest)
            except (ServerDisconnectedError, ClientOSError):
                # A connection kept from the call before may have been closed while the request was on its way; a new
                # one tells whether the server is there.
                if not attempt.is_reused:
                    raise

    async def close(self) -> None:
        await self._session.close()


def _session() -> ClientSession:
    trace = TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    # Names are looked up again soon: a webhook that moved must be found. Its own proxies are its own business.
    return ClientSession(
        connector=TCPConnector(limit=0, ttl_dns_cache=5),
        trace_configs=[trace],
        trust_env=False,
    )


@dataclass(slots=True)
class Attempt:
    """One request on one connection."""

    is_reused: bool = False


async def _note_reuse(session: ClientSession, traced: SimpleNamespace, _: TraceConnectionReuseconnParams) -> None:
    traced.trace_request_ctx.is_reused = True


async def _read(response: ClientResponse, largest: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > largest:
            raise CallFailed(f"the answer is longer than {largest} bytes")
    return b"".join(parts)


async def _places(reader: Reader, namespace: str, name: str, port: int) -> list[str]:
    service = await reader.find(SERVICES, namespace, name)
    if service is None:
        raise CallFailed(f'service "{name}" not found')
    slices = await reader.list(ENDPOINTSLICES, namespace, from_map({SERVICE_NAME: name}))
    try:
        return places_of(service, slices, port)
    except Unresolved as error:
        raise CallFailed(str(error)) from error
