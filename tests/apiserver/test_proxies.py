"""Requests of every kind are passed on to pods, services and nodes, and what these answer comes back."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.apiserver.serving import PODS, Api, make_certificates, serving

from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.kubernetes.resources import PODS as PODS_RESOURCE
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.services import resolver
from kontinuum.apiserver.subresources import proxy
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.store.memory.store import MemoryStore

SERVICES = "/api/v1/namespaces/default/services"
ENDPOINT = "192.0.2.1"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PAGE = '<a href="/rewriteme">test</a>'


@dataclass
class Backend:
    """Tells what it was asked; echoes on a WebSocket."""

    asked: list[Any] = field(default_factory=list)
    port: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade"):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(f"echo {message.data}")
            return socket
        self.asked.append((request.method, request.path_qs, dict(request.headers)))
        if request.path == "/moved":
            raise web.HTTPFound("/elsewhere?x=1")
        if request.path.startswith("/page"):
            page = web.Response(text=PAGE, content_type="text/html")
            if request.path == "/page/packed":
                page.enable_compression(web.ContentCoding.gzip)
            return page
        if request.path == "/teapot":
            return web.Response(status=418, text="short and stout")
        return web.Response(text=f"{request.method} {request.path_qs} {await request.text()}")


@dataclass
class World:
    api: Api
    backend: Backend
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, **more: Any) -> tuple[int, str, Any]:
        url = self.api.address + path
        async with self.session.request(method, url, allow_redirects=False, **more) as answer:
            return answer.status, await answer.text(), answer.headers


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    # Tests have loopback alone, which the proxy is there to refuse, and which no EndpointSlice may have.
    monkeypatch.setattr(proxy, "check_address", lambda address: None)
    monkeypatch.setattr(
        proxy, "ready_places", lambda *of: [one.replace(ENDPOINT, "127.0.0.1") for one in resolver.ready_places(*of)]
    )
    backend = Backend()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", backend.answer)
    runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    certificates = make_certificates(tmp_path)
    to_nodes = Authority.ensure(tmp_path, RealClock()).ensure_client("to-nodes", user="kube-apiserver-kubelet-client")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.server.certificate, certificates.server.key)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    backend.port, secure = (one[1] for one in runner.addresses)
    client_tls = ssl.create_default_context(cafile=str(certificates.authority))
    client_tls.load_cert_chain(certificates.admin.certificate, certificates.admin.key)
    async with (
        serving(
            MemoryStore(), certificates, node_client_certificate=to_nodes.certificate, node_client_key=to_nodes.key,
            node_ca=certificates.authority,
        ) as api,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_tls)) as session,
    ):  # fmt: skip
        await make_objects(api, backend.port, secure)
        yield World(api, backend, session)
    await runner.cleanup()


async def make_objects(api: Api, port: int, secure: int) -> None:
    containers = [{"name": "c", "image": "i:1", "ports": [{"containerPort": port}]}]
    for name in ("web", "new"):
        assert (await api.create(PODS, {"metadata": {"name": name}, "spec": {"containers": containers}})).code == 201
    state = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    assert (await api.patch(f"{PODS}/web/status", state)).code == 200
    ports = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    for name in ("s", "empty"):
        assert (await api.create(SERVICES, {"metadata": {"name": name}, "spec": {"ports": ports}})).code == 201
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    endpoints = {
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [ENDPOINT], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": port}, {"name": "https", "port": secure}],
    }  # fmt: skip
    made = await api.create(slices, endpoints)
    assert made.code == 201, made.body
    reported = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": secure}}}  # fmt: skip
    assert (await api.create("/api/v1/nodes", {"metadata": {"name": "n"}, "status": reported})).code == 201


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path",
    ["{pods}/web/proxy", "{pods}/http:web:{port}/proxy", "{services}/s:http/proxy", "{services}/s:80/proxy",
     "{services}/https:s:https/proxy", "/api/v1/nodes/n/proxy", "/api/v1/nodes/n:{port}/proxy"],
)  # fmt: skip
async def test_every_method_reaches_what_is_behind_and_its_answer_comes_back(
    world: World, method: str, path: str
) -> None:
    whole = path.format(pods=PODS, services=SERVICES, port=world.backend.port)
    code, text, _ = await world.call(method, f"{whole}/a/b%20c/?x=1&x=2", data="body")
    assert (code, text) == (200, f"{method} /a/b%20c/?x=1&x=2 body")


async def test_the_credential_stays_here_and_the_origin_is_told(world: World) -> None:
    headers = {"Impersonate-User": "kubernetes-admin", "Impersonate-Group": "system:masters", "X-Mine": "kept"}
    assert (await world.call("GET", f"{PODS}/web/proxy/", headers=headers))[0] == 200
    seen = {name.lower(): value for name, value in world.backend.asked[-1][2].items()}
    assert seen["x-mine"] == "kept" and seen["x-forwarded-for"] == "127.0.0.1"
    assert not {"authorization", "impersonate-user", "impersonate-group"} & seen.keys()


async def test_whatever_status_is_answered_is_passed_back(world: World) -> None:
    code, text, _ = await world.call("GET", f"{PODS}/web/proxy/teapot")
    assert (code, text) == (418, "short and stout")
    code, text, headers = await world.call("HEAD", f"{PODS}/web/proxy/a")
    assert (code, text) == (200, "") and int(headers["Content-Length"]) > 0


@pytest.mark.behaviour("Proxy version v1 A set of valid responses are returned for both pod and service Proxy")
@pytest.mark.parametrize("method", [*METHODS, "HEAD"])
@pytest.mark.parametrize("place", [f"{SERVICES}/s:http", f"{PODS}/web"])
async def test_a_page_is_redirected_to_its_last_slash_and_no_other_method_is(
    world: World, method: str, place: str
) -> None:
    code, text, headers = await world.call(method, f"{place}/proxy?a=b")
    if method in ("GET", "HEAD"):
        assert code == 301 and headers["Location"] == f"{place}/proxy/?a=b"
    else:
        assert (code, text) == (200, f"{method} /?a=b ")


@pytest.mark.parametrize("path", ["/healthz", "/version", f"{PODS}/web", f"{PODS}/web/log", "/nowhere"])
async def test_options_are_asked_only_of_what_is_behind_a_proxy(world: World, path: str) -> None:
    code, text, _ = await world.call("OPTIONS", path)
    assert code == 405 and '"MethodNotAllowed"' in text


@pytest.mark.behaviour("Proxy version v1 should proxy through a service and a pod")
@pytest.mark.parametrize("path", ["/page", "/page/packed"])
async def test_the_links_of_a_page_lead_through_the_proxy(world: World, path: str) -> None:
    code, text, _ = await world.call("GET", f"{PODS}/web/proxy{path}", headers={"Accept-Encoding": "gzip"})
    assert (code, text) == (200, f'<a href="{PODS}/web/proxy/rewriteme">test</a>')
    assert (await world.call("HEAD", f"{PODS}/web/proxy{path}"))[0] == 200


async def test_a_redirect_behind_the_proxy_leads_through_it(world: World) -> None:
    code, _, headers = await world.call("GET", f"{PODS}/web/proxy/moved")
    assert code == 302 and headers["Location"] == f"{PODS}/web/proxy/elsewhere?x=1"


async def test_a_connection_that_changes_protocol_is_carried_both_ways(world: World) -> None:
    url = f"{world.api.address}{PODS}/web/proxy/socket".replace("https", "wss")
    async with world.session.ws_connect(url) as socket:
        await socket.send_str("hello")
        assert (await socket.receive(timeout=30)).data == "echo hello"


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        (f"{PODS}/none/proxy/", 404, 'pods "none" not found'),
        (f"{PODS}/new/proxy/", 400, "address not allowed"),
        (f"{PODS}/ftp:web:80/proxy/", 400, 'invalid pod request "ftp:web:80"'),
        (f"{PODS}/web:1/proxy/", 503, "error trying to reach service: "),
        (f"{SERVICES}/empty:http/proxy/", 503, 'no endpoints available for service "empty"'),
        (f"{SERVICES}/s:ssh/proxy/", 503, 'no service port "ssh" found for service "s"'),
        ("/api/v1/nodes/none/proxy/", 404, 'nodes "none" not found'),
    ],
)
async def test_what_stands_in_the_way_is_said(world: World, path: str, code: int, words: str) -> None:
    answer = await world.api.get(path)
    assert answer.code == code and words in answer.body["message"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1"])
def test_the_servers_own_machine_is_not_reached(address: str) -> None:
    with pytest.raises(ApiError, match="address not allowed"):
        proxy.check_address(address)


def test_names_and_paths_are_read() -> None:
    assert proxy.target_of("https:web:8443", PODS_RESOURCE) == proxy.Target("https", "web", "8443")
    assert proxy.target_of("https:web:", PODS_RESOURCE) == proxy.Target("https", "web", "")
    assert proxy.path_behind("/api/v1/namespaces/proxy/pods/proxy/proxy/proxy//x/", PODS_RESOURCE) == "/proxy//x/"
    assert proxy.path_behind("/api/v1/nodes/n/proxy", NODES) == ""
    assert proxy.redirected("http://10.0.0.1:80/x", "http://10.0.0.1:80", "/p") == "/p/x"
    assert proxy.redirected("http://elsewhere/x", "http://10.0.0.1:80", "/p") == "http://elsewhere/x"
    assert proxy.redirected("//[", "http://10.0.0.1:80", "/p") == "//["
    assert proxy.redirected("/p/x", "http://10.0.0.1:80", "/p/") == "/p/x"
