"""One repository at one endpoint, over HTTP: documents, blobs in pieces, uploads, and the tokens that this needs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from kontinuum.images.manifests import (
    DIGEST,
    INDEXES,
    LARGEST_DOCUMENT,
    MANIFESTS,
    Descriptor,
    described,
    document_of,
    media_type_of,
)
from kontinuum.images.registry import challenge
from kontinuum.images.registry.credentials import Credentials
from kontinuum.images.registry.errors import AccessDenied, NotInRegistry, RangeUnknown, RegistryFailed, RegistryRefused
from kontinuum.images.registry.hosts import Endpoint
from kontinuum.images.store import CHUNK

ACCEPT = ", ".join((*INDEXES, *MANIFESTS, "*/*;q=0.1"))
CONNECT_SECONDS = 15.0
SILENCE_SECONDS = 60.0
"""A transfer that stands still for so long is broken off, and gone on with."""
TOKEN_SLACK_SECONDS = 10.0
SHORTEST_TOKEN_SECONDS = 60
"""What the specification says a token lives if nothing is said."""
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
PULL, PUSH = ("pull",), ("pull", "push")

Body = Callable[[], AsyncIterator[bytes]]
"""Makes the body of a request, anew for each attempt."""


class Repository:
    """See the module. ``async with`` it."""

    def __init__(
        self, endpoint: Endpoint, name: str, credentials: Credentials | None, *, actions: tuple[str, ...] = PULL
    ) -> None:
        self.endpoint = endpoint
        self.name = name
        self._credentials = credentials
        self._scope = f"repository:{name}:{','.join(actions)}"
        self._basic = ""
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        headers = {"User-Agent": "kontinuum", **endpoint.headers}
        connector = aiohttp.TCPConnector(ssl=endpoint.tls())
        self._session = aiohttp.ClientSession(
            timeout=timeout, headers=headers, connector=connector, trust_env=True, auto_decompress=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    # -- documents

    async def manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        """The manifest or index that a tag or digest names. Its digest is computed, not believed.

        Raises NotInRegistry, AccessDenied, RegistryFailed, RegistryRefused.
        """
        async with self._send("GET", f"manifests/{reference}", headers={"Accept": ACCEPT}) as answer:
            content = await _read_bounded(answer)
            kind = media_type_of(document_of(content, reference), answer.headers.get("Content-Type", ""))
        found = described(kind, content)
        promised = reference if DIGEST.fullmatch(reference) else answer.headers.get("Docker-Content-Digest", "")
        if promised.startswith("sha256:") and promised != found.digest:
            raise RegistryRefused(f"{self._at}: {reference} was promised as {promised}, but {found.digest} came")
        return found, content

    async def put_manifest(self, reference: str, media_type: str, content: bytes) -> None:
        headers = {"Content-Type": media_type}
        async with self._send("PUT", f"manifests/{reference}", headers=headers, body=content):
            return

    async def has(self, one: Descriptor, *, kind: str = "blobs") -> bool:
        """Whether the repository has a blob, or (``kind`` is ``manifests``) a manifest."""
        try:
            async with self._send("HEAD", f"{kind}/{one.digest}", headers={"Accept": ACCEPT}):
                return True
        except NotInRegistry:
            return False

    # -- blobs down

    async def blob(self, one: Descriptor, offset: int = 0) -> AsyncIterator[bytes]:
        """A blob from ``offset`` on, as far as it comes: more than was promised is never handed on."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        async with self._send("GET", f"blobs/{one.digest}", headers=headers) as answer:
            async for part in _rest(answer, offset, one.size):
                yield part

    async def foreign(self, one: Descriptor, offset: int = 0) -> AsyncIterator[bytes]:
        """A layer that lies elsewhere, from the first of its addresses that answers. Nobody learns who we are."""
        last: Exception | None = None
        for url in one.urls:
            if urlsplit(url).scheme not in ("http", "https"):
                continue
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
            try:
                async with self._session.get(url, headers=headers) as answer:
                    if answer.status in (200, 206):
                        async for part in _rest(answer, offset, one.size):
                            yield part
                        return
                    last = RegistryFailed(f"{url}: it answers {answer.status}")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                last = error
        raise RegistryFailed(f"layer {one.digest} is not at its addresses: {last or 'it has none'}")

    # -- blobs up

    async def begin_upload(self, one: Descriptor, mount_from: str = "") -> str:
        """Where to upload to; "" if the registry could take the blob from another of its repositories."""
        query = {"mount": one.digest, "from": mount_from} if mount_from else {}
        extra = (f"repository:{mount_from}:pull",) if mount_from else ()
        async with self._send("POST", "blobs/uploads/", query=query, scopes=extra) as answer:
            return "" if answer.status == 201 else self._location(answer)

    async def upload_piece(self, location: str, offset: int, size: int, body: Body) -> str:
        """Add ``size`` bytes at ``offset``; answers where to go on."""
        headers = {"Content-Range": f"{offset}-{offset + size - 1}", "Content-Length": str(size)}
        headers["Content-Type"] = "application/octet-stream"
        async with self._send("PATCH", location, headers=headers, body=body) as answer:
            return self._location(answer)

    async def uploaded(self, location: str) -> tuple[str, int]:
        """Where to go on with an upload that was broken off, and how many bytes have arrived."""
        async with self._send("GET", location) as answer:
            last = answer.headers.get("Range", "").rpartition("-")[2]
            arrived = int(last) + 1 if last.isdigit() else 0
            # "0-0" is what is said of nothing and of one byte; nothing is the safe reading.
            return self._location(answer), 0 if arrived == 1 else arrived

    async def finish_upload(self, location: str, one: Descriptor, body: Body | None = None) -> None:
        """Everything has arrived, or comes with this (``body``: all of it). The registry checks the digest."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(one.size if body else 0)}
        async with self._send("PUT", location, query={"digest": one.digest}, headers=headers, body=body):
            return

    def _location(self, answer: aiohttp.ClientResponse) -> str:
        location = answer.headers.get("Location", "")
        if not location:
            raise RegistryRefused(f"{self._at}: it does not say where to upload to")
        return str(answer.url.join(URL(location, encoded=True)))

    # -- requests

    @property
    def _at(self) -> str:
        return f"{self.endpoint.host}/{self.name}"

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
        scopes: Iterable[str] = (),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request, a second time with credentials if the registry asks for them. Raises what ``errors`` has."""
        url = URL(path if "://" in path else f"{self.endpoint.base}/{self.name}/{path}", encoded=True)
        if query:
            url = url.update_query(query)
        wanted = tuple(sorted({self._scope, *scopes}))
        try:
            for attempt in (1, 2):
                sent = dict(headers or {}) | self._authorization(url, wanted)
                data = _Fresh(body) if callable(body) else body
                async with self._session.request(method, url, headers=sent, data=data) as answer:
                    if answer.status == 401 and attempt == 1 and await self._authorize(answer, wanted):
                        continue
                    if answer.status >= 300:
                        raise await self._error(answer, method)
                    yield answer
                    return
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise RegistryFailed(f"{self._at}: {_said(error)}") from error

    def _authorization(self, url: URL, wanted: tuple[str, ...]) -> dict[str, str]:
        if url.host != URL(self.endpoint.base).host:
            return {}  # an upload that the registry has sent elsewhere
        token, expires = self._tokens.get(wanted, ("", 0.0))
        if token and time.monotonic() < expires:
            return {"Authorization": f"Bearer {token}"}
        return {"Authorization": self._basic} if self._basic else {}

    async def _authorize(self, answer: aiohttp.ClientResponse, wanted: tuple[str, ...]) -> bool:
        """Get what the registry asks for; whether there is anything new to show."""
        asked = challenge.parse(answer.headers.getall("WWW-Authenticate", []))
        await answer.release()
        if asked is None:
            return False
        if asked.scheme == "basic":
            if self._credentials is None or not self._credentials.user or self._basic:
                return False
            self._basic = self._credentials.basic
            return True
        self._tokens[wanted] = await self._token(asked, challenge.scopes(asked, wanted))
        return True

    async def _token(self, asked: challenge.Challenge, scopes: tuple[str, ...]) -> tuple[str, float]:
        """A token and when it is to be renewed."""
        if self.endpoint.is_encrypted and not asked.realm.startswith("https:"):
            raise AccessDenied(f"{self._at}: it wants our credentials to be sent to {asked.realm}, without encryption")
        pairs = [("service", asked.service), *(("scope", scope) for scope in scopes)]
        ours = self._credentials
        if ours is not None and ours.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": ours.identity_token, "client_id": "kontinuum"}
            form |= {"service": asked.service, "scope": " ".join(scopes)}
            request = self._session.post(asked.realm, data=form)
        else:
            headers = {"Authorization": ours.basic} if ours is not None and ours.user else {}
            request = self._session.get(URL(asked.realm).update_query(pairs), headers=headers)
        async with request as answer:
            if answer.status in (400, 401, 403):
                who = f"{ours.user!r}" if ours is not None and ours.user else "us (no credentials were given)"
                raise AccessDenied(f"{self._at}: {asked.realm} gives no token to {who}")
            if answer.status >= 300:
                raise await self._error(answer, "GET")
            found = document_of(await _read_bounded(answer), asked.realm)
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str):
            raise RegistryRefused(f"{asked.realm}: it answers without a token")
        life = found.get("expires_in")
        seconds = max(life if isinstance(life, int) else 0, SHORTEST_TOKEN_SECONDS)
        return token, time.monotonic() + seconds - TOKEN_SLACK_SECONDS

    async def _error(self, answer: aiohttp.ClientResponse, method: str) -> Exception:
        said = await _words_of(answer)
        where = f"{self._at}: {method} {answer.url.path}: {answer.status}{f': {said}' if said else ''}"
        if answer.status == 404:
            return NotInRegistry(where)
        if answer.status in (401, 403):
            who = "the credentials are not enough" if self._credentials else "no credentials were given"
            return AccessDenied(f"{where} ({who})")
        if answer.status == 416:
            return RangeUnknown(where)
        return RegistryFailed(where) if answer.status in TRANSIENT else RegistryRefused(where)


class _Fresh:
    """A body that begins anew each time it is sent: aiohttp itself repeats a request if a kept connection was gone."""

    def __init__(self, make: Body) -> None:
        self._make = make

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._make()


async def _rest(answer: aiohttp.ClientResponse, offset: int, size: int) -> AsyncIterator[bytes]:
    """What follows ``offset``, though the server may have begun at the beginning. Raises RegistryRefused for more."""
    skip = offset if answer.status == 200 else 0
    left = size - offset
    async for part in answer.content.iter_chunked(CHUNK):
        if skip >= len(part):
            skip -= len(part)
            continue
        fresh, skip = part[skip:], 0
        if len(fresh) > left:
            raise RegistryRefused(f"{answer.url.path}: more comes than the {size} bytes that were promised")
        left -= len(fresh)
        yield fresh


async def _read_bounded(answer: aiohttp.ClientResponse) -> bytes:
    content = await answer.content.read(LARGEST_DOCUMENT + 1)
    while len(content) <= LARGEST_DOCUMENT and (more := await answer.content.read(LARGEST_DOCUMENT + 1)):
        content += more
    if len(content) > LARGEST_DOCUMENT:
        raise RegistryRefused(f"{answer.url.path}: more than the {LARGEST_DOCUMENT} bytes that a document may have")
    return content


async def _words_of(answer: aiohttp.ClientResponse) -> str:
    """The registry's own words for an error."""
    raw = await answer.content.read(10_000)
    try:
        errors: Any = orjson.loads(raw)["errors"]
        return "; ".join(f"{one.get('code')}: {one.get('message')}" for one in errors)[:500]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return ""


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
