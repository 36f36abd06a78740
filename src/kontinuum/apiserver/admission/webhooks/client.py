"""Calls to users' webhooks: one session for all, TLS as each client configuration says, services found in the caches.

A webhook is at a ``url``, or behind a ``service``: then any ready endpoint of it is dialled, or its cluster address if
none is known; the certificate has to be for ``NAME.NAMESPACE.svc`` in both cases. No client certificate is shown.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, SERVICES
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Reader
from kontinuum.foundation.errors import Refused

LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes; a patch may be as large as the object, encoded, several times."""
SERVICE_NAME = "kubernetes.io/service-name"
EXCERPT = 500


class CallFailed(Refused):
    """The webhook could not be asked, or its answer cannot be read. The text is Go's, as Kubernetes reports it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect, and as whom the other side has to show itself."""

    url: str
    """What is dialled."""
    shown: str
    """The URL as messages name it."""
    server_name: str | None = None


class Endpoint:
    """One client configuration. Holds what is made once: the TLS context of its ``caBundle``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._tls: ssl.SSLContext | None = None

    def tls(self) -> ssl.SSLContext:
        """Raises CallFailed for a bundle that is none."""
        if self._tls is None:
            bundle = self._config.get("caBundle")
            try:
                pem = base64.b64decode(bundle).decode() if bundle else None
                self._tls = ssl.create_default_context(cadata=pem)
            except (binascii.Error, ValueError, ssl.SSLError) as error:
                raise CallFailed(f"unable to load root certificates: {error}") from error
        return self._tls

    async def locate(self, reader: Reader) -> Place:
        """Raises CallFailed if there is no such service."""
        service = self._config.get("service")
        if service is None:
            url = self._config.get("url") or ""
            return Place(url, url)
        namespace, name, port = service.get("namespace", ""), service.get("name", ""), service.get("port") or 443
        path = (service.get("path") or "/").lstrip("/")
        host = f"{name}.{namespace}.svc"
        shown = f"https://{host}:{port}/{path}"
        address = await _address(reader, namespace, name, port)
        return Place(f"https://{address}/{path}", shown, host)


class WebhookClient:
    """Opens its session at first use; ``close`` ends it."""

    def __init__(self) -> None:
        self._session: ClientSession | None = None

    async def post(self, endpoint: Endpoint, body: Object, reader: Reader, *, seconds: float) -> Any:
        """The decoded answer. Raises CallFailed, after ``seconds`` at the latest."""
        place = await endpoint.locate(reader)
        shown = f'Post "{place.shown}?timeout={seconds:g}s"'
        try:
            return await self._post(endpoint, place, orjson.dumps(body), seconds)
        except TimeoutError:
            raise CallFailed(f"failed to call webhook: {shown}: context deadline exceeded") from None
        except ClientError as error:
            raise CallFailed(f"failed to call webhook: {shown}: {_reason(error)}") from error
        except (OSError, ValueError) as error:
            raise CallFailed(f"failed to call webhook: {shown}: {error}") from error

    async def _post(self, endpoint: Endpoint, place: Place, body: bytes, seconds: float) -> Any:
        async with self._opened().post(
            place.url,
            data=body,
            params={"timeout": f"{seconds:g}s"},
            headers={"Content-Type": "application/json", "Accept": "application/json, */*"}
            | ({"Host": place.server_name} if place.server_name else {}),
            ssl=endpoint.tls(),
            server_hostname=place.server_name,
            timeout=ClientTimeout(total=seconds),
            allow_redirects=False,
        ) as response:
            parts, size = [], 0
            async for part in response.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > LARGEST_ANSWER:
                    raise CallFailed(f"failed to call webhook: the answer is longer than {LARGEST_ANSWER} bytes")
            content = b"".join(parts)
            if response.status != 200:
                raise CallFailed(f"failed to call webhook: {_unexpected(response.status, content)}")
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise CallFailed(f"failed to call webhook: couldn't get version/kind; json parse error: {error}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> ClientSession:
        if self._session is None:
            # Names are looked up again soon: a webhook that moved must be found. Its own proxies are its own business.
            self._session = ClientSession(connector=TCPConnector(limit=0, ttl_dns_cache=5), trust_env=False)
        return self._session


async def _address(reader: Reader, namespace: str, name: str, port: int) -> str:
    service = await reader.find(SERVICES, namespace, name)
    if service is None:
        raise CallFailed(f'failed to call webhook: service "{name}" not found')
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return f"{spec.get('externalName', '')}:{port}"
    own = next((one for one in spec.get("ports") or () if one.get("port") == port), None)
    if own is None:
        raise CallFailed(f'failed to call webhook: no service port {port} found for service "{name}"')
    for endpoint_slice in await reader.list(ENDPOINTSLICES, namespace):
        labels = endpoint_slice["metadata"].get("labels") or {}
        found = _ready(endpoint_slice, own) if labels.get(SERVICE_NAME) == name else None
        if found is not None:
            return found
    address = spec.get("clusterIP")
    if address in (None, "", "None"):
        raise CallFailed(f'failed to call webhook: no endpoints available for service "{name}"')
    return f"{_bracketed(address)}:{port}"


def _ready(endpoint_slice: Object, port: Object) -> str | None:
    """An address of the slice that takes requests, with the number that the service's port stands for."""
    numbers = [
        one.get("port") for one in endpoint_slice.get("ports") or () if one.get("name", "") == port.get("name", "")
    ]
    if not numbers or not numbers[0]:
        return None
    for endpoint in endpoint_slice.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses"):
            return f"{_bracketed(endpoint['addresses'][0])}:{numbers[0]}"
    return None


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _unexpected(code: int, content: bytes) -> str:
    if code == 404:
        return "the server could not find the requested resource"
    text = content[:EXCERPT].decode(errors="replace").strip() or "unknown"
    return f'an error on the server ("{text}") has prevented the request from succeeding'


def _reason(error: ClientError) -> str:
    text = str(error) or type(error).__name__
    return "EOF" if "Server disconnected" in text else text
