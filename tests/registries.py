"""A real registry (Debian's docker-registry) on loopback, and a token server that it believes.

async with registry(directory) as one:          anybody may do anything
async with registry(directory, users=True) ...  only who has a token of USER:PASSWORD
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tests.images.archives import Image, layout
from tests.images.memory_store import MemoryStore
from tests.lifetimes import BOUND
from tests.ports import free_ports

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.images.archives import Wish, import_archive
from kontinuum.images.layers import Limits
from kontinuum.images.manifests import Platform
from kontinuum.images.references import parse
from kontinuum.images.registry import transfer
from kontinuum.images.registry.transfer import push

USER, PASSWORD = "somebody", "a secret"
PROGRAM = shutil.which("docker-registry")
ISSUER = "tests"


@dataclass
class Registry:
    """Where it is, and what it was asked for."""

    host: str
    data: Path
    scopes: list[str] = field(default_factory=list)
    """What tokens were given for."""
    refused: int = 0
    """How often nobody, or somebody else, asked for a token."""

    @property
    def config_json(self) -> str:
        """What ``docker login`` writes."""
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return json.dumps({"auths": {self.host: {"auth": auth}}})


@contextlib.asynccontextmanager
async def registry(directory: Path, *, users: bool = False) -> AsyncIterator[Registry]:
    """Debian's package, storing below ``directory``; over plain HTTP."""
    assert PROGRAM, "apt-get install docker-registry"
    port, token_port = free_ports(2)
    running = Registry(f"127.0.0.1:{port}", directory / "registry")
    async with contextlib.AsyncExitStack() as stack:
        authentication = ""
        if users:
            authority = Authority.ensure(directory / "registry-pki", RealClock())
            pair = authority.ensure_server("tokens", common_name=ISSUER, hosts=["localhost"])
            await stack.enter_async_context(_tokens(running, pair.certificate, pair.key, token_port))
            authentication = f"""
auth:
  token:
    realm: http://127.0.0.1:{token_port}/token
    service: registry-in-tests
    issuer: {ISSUER}
    rootcertbundle: {authority.certificate}
"""
        config = directory / "registry.yml"
        config.write_text(f"""
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {running.data}}}, delete: {{enabled: true}}}}
http: {{addr: "{running.host}"}}
{authentication}""")
        log = stack.enter_context((directory / "registry.log").open("wb"))
        process = await asyncio.create_subprocess_exec(*BOUND, PROGRAM, "serve", config, stdout=log, stderr=log)
        stack.push_async_callback(_end, process)
        await _answers(running.host)
        yield running


async def put(registry: Registry, name: str, image: Image) -> None:
    """Push an image that was made by hand; the registry must let anybody."""
    store = MemoryStore()
    archive = io.BytesIO(layout({name: image.root}, image.blobs))
    [imported] = await import_archive(store, archive, Wish(Platform.here()), Limits(), lambda *_: None)
    await push(store, imported, parse(name), transfer.Registry(RealClock()), lambda *_: None)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _answers(host: str) -> None:
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://{host}/v2/"):
                    return
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _tokens(running: Registry, certificate: Path, key: Path, port: int) -> AsyncIterator[None]:
    """Docker's token specification: basic authentication in, a JSON web token for what was asked for out."""
    der = base64.b64encode(_der(certificate)).decode()
    good = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    async def token(request: web.Request) -> web.Response:
        form = await request.post() if request.method == "POST" else {}
        by_form = (form.get("username"), form.get("password")) == (USER, PASSWORD)
        if request.headers.get("Authorization") != good and not by_form:
            running.refused += 1
            return web.json_response({"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}, status=401)
        asked = [*request.query.getall("scope", []), *str(form.get("scope", "")).split()]
        running.scopes += asked
        access = []
        for scope in asked:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": USER, "aud": "registry-in-tests", "exp": now + 300, "nbf": now - 10,
                  "iat": now, "jti": str(time.time_ns()), "access": access}  # fmt: skip
        signed = jwt.encode(claims, key.read_text(), algorithm="ES256", headers={"x5c": [der]})
        return web.json_response({"token": signed, "access_token": signed, "expires_in": 300})

    application = web.Application()
    application.router.add_route("*", "/token", token)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _der(certificate: Path) -> bytes:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
