"""Users' webhooks are called over TLS, found behind Services, and whatever goes wrong is said in Go's words."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.apiserver.hooks import CLOSE, HookServer, hanging, hook_server

from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, SERVICES
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import EVERYTHING, LabelSelector
from kontinuum.apiserver.admission.webhooks.client import CallFailed, Endpoint, WebhookClient
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority

SERVED_AS = "hook.tools.svc"


class Objects:
    """A Reader of the given objects."""

    def __init__(self, *objects: tuple[Resource, Object]) -> None:
        self._objects = objects

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return next((obj for obj in await self.list(resource, namespace) if obj["metadata"]["name"] == name), None)

    async def list(self, resource: Resource, namespace: str = "", labels: LabelSelector = EVERYTHING) -> list[Object]:
        metadata = [(obj, obj["metadata"]) for found, obj in self._objects if found == resource]
        return [
            obj for obj, one in metadata if one["namespace"] == namespace and labels.matches(one.get("labels"))
        ]  # fmt: skip


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[HookServer]:
    async with hook_server(tmp_path, hosts=("127.0.0.1", SERVED_AS)) as hooks:
        yield hooks


@pytest.fixture
async def client() -> AsyncIterator[WebhookClient]:
    client = WebhookClient()
    yield client
    await client.close()


async def problem_of(client: WebhookClient, config: Any, reader: Objects | None = None, **limits: Any) -> str:
    with pytest.raises(CallFailed) as caught:
        await client.post(Endpoint(config), {}, reader or Objects(), **{"seconds": 10, **limits})
    return str(caught.value)


def url_of(config: Any) -> str:
    return f'Post "{config["url"]}?timeout=10s": '


async def test_a_webhook_is_asked_at_its_url_with_its_timeout(hooks: HookServer, client: WebhookClient) -> None:
    hooks.at("/x", lambda body: {"seen": body})
    answer = await client.post(Endpoint(hooks.client_config("/x")), {"a": 1}, Objects(), seconds=7)
    assert answer == {"seen": {"a": 1}}
    [asked] = hooks.asked
    assert asked.path == "/x?timeout=7s"
    assert asked.headers["Content-Type"] == "application/json"


async def test_a_webhook_that_hangs_costs_no_more_than_its_timeout(hooks: HookServer, client: WebhookClient) -> None:
    hooks.at("/x", hanging(60))
    config = hooks.client_config("/x")
    async with asyncio.timeout(30):
        found = await problem_of(client, config, seconds=0.05)
    assert found == f'Post "{config["url"]}?timeout=1s": context deadline exceeded'


async def test_whatever_is_no_answer_is_named(hooks: HookServer, client: WebhookClient) -> None:
    config = hooks.client_config("/x")
    for answer, words in (
        (lambda body: CLOSE, f"{url_of(config)}EOF"),
        (lambda body: web.Response(body=b"<html>"), "couldn't get version/kind; json parse error: "),
        (lambda body: web.Response(body=b""), "couldn't get version/kind; json parse error: "),
        (lambda body: web.Response(status=404), "the server could not find the requested resource"),
        (
            lambda body: web.Response(status=500, text="oh no"),
            'an error on the server ("oh no") has prevented the request from succeeding',
        ),
        (lambda body: web.Response(status=302, headers={"Location": "/y"}), "the server responded with the status co"),
        (lambda body: web.json_response({"kind": "Status", "message": "full"}, status=507), "full"),
    ):
        hooks.at("/x", answer)
        assert (await problem_of(client, config)).startswith(words)
    hooks.at("/x", lambda body: "x" * 1000)
    assert await problem_of(client, config, largest=999) == f"{url_of(config)}the answer is longer than 999 bytes"


async def test_a_server_that_is_not_there_is_named(client: WebhookClient) -> None:
    config = {"url": "https://127.0.0.1:1/x"}
    assert await problem_of(client, config) == f"{url_of(config)}dial tcp 127.0.0.1:1: connect: connection refused"


async def test_a_server_that_speaks_no_tls_is_told_from_one_that_cannot_be_reached(client: WebhookClient) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()
        with contextlib.suppress(OSError):  # The client has gone by then, perhaps.
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        config = {"url": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"}
        problem = await problem_of(client, config)
    assert problem == f"{url_of(config)}http: server gave HTTP response to HTTPS client"


async def test_only_the_named_authority_is_trusted(hooks: HookServer, client: WebhookClient, tmp_path: Path) -> None:
    hooks.at("/x", lambda body: {})
    another = Authority.ensure(tmp_path / "another", RealClock()).certificate.read_bytes()
    for bundle in ({}, {"caBundle": base64.b64encode(another).decode()}):
        config = {"url": hooks.client_config("/x")["url"], **bundle}
        words = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        assert await problem_of(client, config) == url_of(config) + words
    config = {**hooks.client_config("/x"), "url": f"https://localhost:{hooks.port}/x"}
    assert "x509: certificate is not valid for the name: " in await problem_of(client, config)
    broken = {**config, "caBundle": base64.b64encode(b"nothing").decode()}
    assert (await problem_of(client, broken)).startswith("unable to load root certificates: ")


def service(**spec: Any) -> tuple[Resource, Object]:
    return SERVICES, {"metadata": {"name": "hook", "namespace": "tools"}, "spec": spec}


def endpoints(port: int, *, ready: bool = True, name: str = "https") -> tuple[Resource, Object]:
    return ENDPOINTSLICES, {
        "metadata": {"name": "a", "namespace": "tools", "labels": {"kubernetes.io/service-name": "hook"}},
        "ports": [{"name": name, "port": port}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": ready}}],
    }


async def test_a_service_is_reached_at_its_endpoints_and_shows_the_services_name(
    hooks: HookServer, client: WebhookClient
) -> None:
    hooks.at("/x", lambda body: {"ok": True})
    reader = Objects(service(clusterIP="10.0.0.1", ports=[{"name": "https", "port": 443}]), endpoints(hooks.port))
    config = {"service": {"name": "hook", "namespace": "tools", "path": "/x"}, "caBundle": hooks.bundle}
    assert await client.post(Endpoint(config), {}, reader, seconds=10) == {"ok": True}
    assert hooks.asked[0].headers["Host"] == f"{SERVED_AS}:443"
    elsewhere = Objects(service(type="ExternalName", externalName="localhost"))
    config["service"]["port"] = hooks.port
    assert await client.post(Endpoint(config), {}, elsewhere, seconds=10) == {"ok": True}


async def test_an_endpoint_that_is_gone_is_passed_over(hooks: HookServer, client: WebhookClient) -> None:
    hooks.at("/x", lambda body: {"ok": True})
    several = endpoints(hooks.port)
    slices = [endpoints(port)[1] for port in (1, 2, 3)]
    gone = [(ENDPOINTSLICES, one) for one in slices]
    reader = Objects(service(clusterIP="10.0.0.1", ports=[{"name": "https", "port": 443}]), *gone, several)
    endpoint = Endpoint({"service": {"name": "hook", "namespace": "tools", "path": "/x"}, "caBundle": hooks.bundle})
    for _ in range(10):
        assert await client.post(endpoint, {}, reader, seconds=10) == {"ok": True}


def self_signed(directory: Path, *, is_plain: bool) -> tuple[ssl.SSLContext, bytes]:
    """A server's context and certificate, as ``openssl req -x509`` or a test suite makes one; Go trusts both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
    )  # fmt: skip
    if not is_plain:
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (directory / "pair.pem").write_bytes(private + made)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "pair.pem")
    return context, made


@pytest.mark.parametrize("is_plain", [False, True])
async def test_certificates_that_go_trusts_are_trusted(client: WebhookClient, tmp_path: Path, is_plain: bool) -> None:
    context, certificate = self_signed(tmp_path, is_plain=is_plain)

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.json_response({"ok": True})

    server = await asyncio.get_running_loop().create_server(web.Server(answer), "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        bundle = base64.b64encode(b"a comment\n" + certificate + certificate).decode()
        assert await client.post(Endpoint({"url": url, "caBundle": bundle}), {}, Objects(), seconds=10) == {"ok": True}
        await client.close()


async def test_a_service_without_anybody_behind_it_is_named(client: WebhookClient) -> None:
    config = {"service": {"name": "hook", "namespace": "tools"}}
    asking = f'Post "https://{SERVED_AS}:443/?timeout=10s": '
    headless = service(clusterIP="None", ports=[{"name": "https", "port": 443}])
    other_port = service(clusterIP="10.0.0.1", ports=[{"name": "https", "port": 444}])
    for objects, words in (
        ((), 'service "hook" not found'),
        ((other_port,), 'no service port 443 found for service "hook"'),
        ((headless,), 'no endpoints available for service "hook"'),
        ((headless, endpoints(1, ready=False)), 'no endpoints available for service "hook"'),
        ((headless, endpoints(1, name="other")), 'no endpoints available for service "hook"'),
    ):
        assert await problem_of(client, config, Objects(*objects)) == asking + words


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_the_webhooks_failure(
    hooks: HookServer, client: WebhookClient
) -> None:
    answers = iter([{"n": 1}, CLOSE, {"n": 2}, CLOSE, CLOSE])
    hooks.at("/x", lambda body: next(answers))
    config = hooks.client_config("/x")
    endpoint = Endpoint(config)
    assert await client.post(endpoint, {}, Objects(), seconds=10) == {"n": 1}
    assert await client.post(endpoint, {}, Objects(), seconds=10) == {"n": 2}
    # Closed on a new connection too: it is the server's own doing.
    with pytest.raises(CallFailed, match="EOF"):
        await client.post(endpoint, {}, Objects(), seconds=10)
