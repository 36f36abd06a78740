"""A registry in memory that does what it is told to do wrong, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count

from aiohttp import web
from tests.images.archives import Image


class FakeRegistry:
    """Content by digest, tags by name; the distribution API as far as pulling and pushing need it."""

    def __init__(self) -> None:
        self.host = ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.cut: Counter[str] = Counter()
        """How often a blob is still to be cut off half-way, by its digest."""
        self.fail: Counter[str] = Counter()
        """How often a request ``METHOD kind`` is still to be answered with 503."""
        self.lose: Counter[str] = Counter()
        """How often a request is still to be done without an answer."""
        self.lies: dict[str, bytes] = {}
        """What is sent instead of a blob."""
        self.knows_ranges = True
        self.slow = 0.0
        self.now, self.most = 0, 0
        self._numbers = count()

    def add(self, name: str, tag: str, image: Image) -> None:
        root = image.root["digest"]
        self.blobs |= {digest: data for digest, data in image.blobs.items() if digest != root}
        for key in (root, tag):
            self.manifests[f"{name} {key}"] = (image.root["mediaType"], image.blobs[root])

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeRegistry]:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/v2/{name:.+}/manifests/{reference}", self._manifest)
        application.router.add_route("*", "/v2/{name:.+}/blobs/uploads/{id:.*}", self._upload)
        application.router.add_route("*", "/v2/{name:.+}/blobs/{digest}", self._blob)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.host = f"127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def _note(self, request: web.Request, kind: str) -> None:
        what = f"{request.method} {kind}"
        self.requests.append(what)
        if self.fail[what]:
            self.fail[what] -= 1
            raise web.HTTPServiceUnavailable

    def _lost(self, request: web.Request, kind: str) -> bool:
        what = f"{request.method} {kind}"
        if self.lose[what] and request.transport is not None:
            self.lose[what] -= 1
            request.transport.abort()
            return True
        return False

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        self._note(request, "manifest")
        name, reference = request.match_info["name"], request.match_info["reference"]
        if request.method == "PUT":
            content = await request.read()
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            for key in (reference, digest):
                self.manifests[f"{name} {key}"] = (request.content_type, content)
            return web.Response(status=201)
        if f"{name} {reference}" not in self.manifests:
            return web.json_response(
                {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, status=404
            )
        kind, content = self.manifests[f"{name} {reference}"]
        return web.Response(body=content, content_type=kind)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        self._note(request, "blob")
        digest = request.match_info["digest"]
        if digest not in self.blobs:
            return web.json_response({"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown"}]}, status=404)
        data, start = self.lies.get(digest, self.blobs[digest]), 0
        asked = request.headers.get("Range")
        if asked and self.knows_ranges:
            self.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.slow)
            if self.cut[digest]:
                self.cut[digest] -= 1
                await response.write(data[start : start + (len(data) - start) // 2])
                assert request.transport is not None
                # Everything written arrives before the end does.
                request.transport.close()
                return response
            await response.write(data[start:])
        finally:
            self.now -= 1
        return response

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        self._note(request, "upload")
        name, upload = request.match_info["name"], request.match_info["id"]
        if request.method == "POST":
            mount = request.query.get("mount", "")
            if mount in self.blobs and request.query.get("from"):
                return web.Response(status=201)
            upload = str(next(self._numbers))
            self.uploads[upload] = bytearray()
            return self._accepted(name, upload)
        if upload not in self.uploads:
            raise web.HTTPNotFound
        if request.method == "PATCH":
            start = int(request.headers["Content-Range"].partition("-")[0])
            if start != len(self.uploads[upload]):
                raise web.HTTPRequestRangeNotSatisfiable
        if request.method in ("PATCH", "PUT"):
            self.uploads[upload] += await request.read()
        if request.method == "PUT":
            data, digest = bytes(self.uploads.pop(upload)), request.query["digest"]
            if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
                return web.json_response({"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}, status=400)
            self.blobs[digest] = data
        if self._lost(request, "upload"):
            return web.Response()
        return web.Response(status=201) if request.method == "PUT" else self._accepted(name, upload)

    def _accepted(self, name: str, upload: str) -> web.Response:
        size = len(self.uploads[upload])
        headers = {"Location": f"/v2/{name}/blobs/uploads/{upload}", "Range": f"0-{max(0, size - 1)}"}
        return web.Response(status=202, headers=headers)
