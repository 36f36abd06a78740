"""Users' webhooks are called over TLS, found behind Services, and whatever goes wrong is said in Go's words."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.apiserver.hooks import CLOSE, HookServer, hanging, hook_server

from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, SERVICES
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
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

    async def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        return [obj for found, obj in self._objects if found == resource and obj["metadata"]["namespace"] == namespace]


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
