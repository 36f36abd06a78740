"""An extension API server behind ours: asked in its users' names, told of in discovery, and missed when it is away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from tests.apiserver.commands import Kubectl
from tests.apiserver.people import Everybody, serving_people
from tests.apiserver.serving import Api, Certificates, client_tls
from tests.apiserver.wardle import (
    API_SERVICE,
    API_SERVICES,
    FLUNDERS,
    GROUP,
    PATH,
    VERSION,
    Wardle,
    running,
)

from kontinuum.apiserver.discovery import AGGREGATED
from kontinuum.apiserver.openapi import V2_PROTOBUF_ASKED
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.store.memory.store import MemoryStore

PEOPLE = {"jane": ("fishers",), "mallory": (), "wardle": ()}
RBAC = "/apis/rbac.authorization.k8s.io/v1"
SERVICES = "/api/v1/namespaces/default/services"
FLUNDER = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Flunder", "metadata": {"name": "f1"}, "spec": {}}


@dataclass
class World:
    people: Everybody
    store: MemoryStore
    directory: Path

    @property
    def admin(self) -> Api:
        return self.people.admin

    def as_user(self, name: str) -> Api:
        return self.people.as_user(name)


@contextlib.asynccontextmanager
async def serving_world(certificates: Certificates, directory: Path, **settings: Any) -> AsyncIterator[World]:
    proxies = Authority.ensure(directory / "proxies", RealClock(), name="proxies")
    ours = proxies.ensure_client("client", user="front-proxy-client")
    store = MemoryStore()
    async with serving_people(
        certificates,
        directory,
        PEOPLE,
        store=store,
        front_proxy_ca=proxies.certificate,
        front_proxy_names=("front-proxy-client",),
        proxy_client_certificate=ours.certificate,
        proxy_client_key=ours.key,
        **settings,
    ) as people:
        made = World(people, store, directory)
        await bind(made.admin, f"{RBAC}/clusterrolebindings", "ClusterRole", "system:auth-delegator", "wardle")
        await bind(
            made.admin,
            f"{RBAC}/namespaces/kube-system/rolebindings",
            "Role",
            "extension-apiserver-authentication-reader",
            "wardle",
        )
        yield made


@pytest.fixture
async def world(certificates: Certificates, tmp_path: Path) -> AsyncIterator[World]:
    async with serving_world(certificates, tmp_path) as world:
        yield world


async def executing(api: Api) -> int:
    """Requests that are being answered now, this one included."""
    lines = (await api.get("/metrics")).body.splitlines()
    found = [line for line in lines if line.startswith("apiserver_flowcontrol_current_executing_requests{")]
    assert found
    return round(sum(float(line.rpartition(" ")[2]) for line in found))


async def bind(api: Api, path: str, kind: str, role: str, user: str) -> None:
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    body = {"metadata": {"name": f"{user}-{role}"}, "subjects": [subject], "roleRef": reference}
    answer = await api.create(path, body)
    assert answer.code == 201, answer.body


async def until(api: Api, path: str, is_so: Callable[[Any], bool], **headers: str) -> Any:
    """The body at ``path`` once it is as it should be; fails after twenty seconds."""
    body: Any = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            while True:
                body = (await api.get(path, **headers)).body
                if is_so(body):
                    return body
                await asyncio.sleep(0.02)
    raise AssertionError(f"{path} is still {body}")


def reason(api_service: Any) -> str:
    conditions = (api_service.get("status") or {}).get("conditions") or [{}]
    return str(conditions[0].get("reason", ""))


async def register(admin: Api, wardle: Wardle, **spec: Any) -> None:
    """A Service that leads to the server, and the APIService."""
    service = {"type": "ExternalName", "externalName": "localhost"}
    await admin.create(SERVICES, {"metadata": {"name": "wardle"}, "spec": service})
    body = {
        "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 2000,
            "versionPriority": 200,
            "service": {"name": "wardle", "namespace": "default", "port": wardle.port},
            "caBundle": base64.b64encode(wardle.authority.certificate.read_bytes()).decode(),
            **spec,
        },
    }
    answer = await admin.create(API_SERVICES, body)
    assert answer.code == 201, answer.body


@contextlib.asynccontextmanager
async def aggregated(world: World) -> AsyncIterator[Wardle]:
    async with running(world.as_user("wardle"), world.directory / "wardle") as wardle:
        await register(world.admin, wardle)
        await until(world.admin, API_SERVICE, lambda body: reason(body) == "Passed")
        yield wardle


async def allow_jane(world: World) -> None:
    rules = [{"apiGroups": [GROUP], "resources": ["flunders", "flunders/talk"], "verbs": ["*"]}]
    await world.admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": "fisher"}, "rules": rules})
    await bind(world.admin, f"{RBAC}/clusterrolebindings", "ClusterRole", "fisher", "jane")


@pytest.mark.behaviour("Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator")
async def test_an_extension_server_is_served_as_if_it_were_ours(world: World) -> None:
    async with aggregated(world) as wardle:
        await allow_jane(world)
        jane = world.as_user("jane")
        assert (await jane.create(FLUNDERS, FLUNDER)).code == 201
        assert (await jane.get(f"{FLUNDERS}/f1")).body["metadata"]["name"] == "f1"
        assert [one["metadata"]["name"] for one in (await jane.get(FLUNDERS)).body["items"]] == ["f1"]
        missing = await jane.get(f"{FLUNDERS}/none")
        assert (missing.code, missing.body["message"]) == (404, 'flunders "none" not found')
        groups = {one["name"]: one for one in (await world.admin.get("/apis")).body["groups"]}
        assert groups[GROUP]["preferredVersion"]["version"] == VERSION
        assert list(groups)[-2:] == [GROUP, "metrics.k8s.io"], "by their priorities, 2000 and 100"
        group = (await world.admin.get(f"/apis/{GROUP}")).body
        assert [one["version"] for one in group["versions"]] == [VERSION]
        assert (await world.admin.get(PATH)).body["resources"][0]["shortNames"] == ["fl"]

        # As the conformance test does: list, update the status, patch, delete the APIServices by their label.
        found = (await world.admin.get(API_SERVICE)).body
        found["status"]["conditions"].append(
            {"type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        )
        updated = await world.admin.update(f"{API_SERVICE}/status", found)
        assert [one["reason"] for one in updated.body["status"]["conditions"]] == ["Passed", "E2E"]
        assert (await world.admin.patch(API_SERVICE, {"metadata": {"labels": {"e2e": "patched"}}})).code == 200
        labelled = await world.admin.get(f"{API_SERVICES}?labelSelector=e2e%3Dpatched")
        assert [one["metadata"]["name"] for one in labelled.body["items"]] == [f"{VERSION}.{GROUP}"]
        assert (await jane.delete(f"{FLUNDERS}/f1")).code == 200 and not wardle.objects
        assert (await world.admin.delete(f"{API_SERVICES}?labelSelector=e2e%3Dpatched")).code == 200
        assert (await world.admin.get(FLUNDERS)).code == 404
        await until(world.admin, "/apis", lambda body: GROUP not in [one["name"] for one in body["groups"]])


async def test_the_extension_server_learns_whose_request_it_is_and_no_credential(world: World) -> None:
    async with aggregated(world) as wardle:
        await allow_jane(world)
        await world.as_user("jane").get(
            FLUNDERS + "?limit=500", x_remote_user="mallory", x_remote_extra_scopes="all", cookie="a=b"
        )
        seen = wardle.seen[-1]
        assert (seen.path, seen.user, seen.uid) == (f"{FLUNDERS}?limit=500", "jane", "uid-jane")
        counted = f'apiserver_request_total{{code="200",resource="{VERSION}.{GROUP}",subresource="",verb="list"}} 1.0'
        assert counted in (await world.admin.get("/metrics")).body
        assert seen.groups == ["fishers", "system:authenticated"]
        assert not seen.extra and "Authorization" not in seen.headers and seen.headers["Cookie"] == "a=b"
        assert seen.headers["X-Forwarded-For"] == "127.0.0.1" and seen.headers["Audit-ID"]


async def test_an_impersonated_user_is_whom_the_extension_server_sees(world: World) -> None:
    async with aggregated(world) as wardle:
        extra = {"impersonate_extra_example.com%2fscopes": "read"}
        await world.admin.get(
            FLUNDERS, impersonate_user="jane", impersonate_group="system:masters", impersonate_uid="7", **extra
        )
        seen = wardle.seen[-1]
        assert (seen.user, seen.uid, seen.groups) == ("jane", "7", ["system:masters", "system:authenticated"])
        assert seen.extra == {"example.com%2fscopes": ["read"]}
        assert not [name for name in seen.headers if name.lower().startswith("impersonate")]


async def test_who_may_not_is_refused_before_anything_is_passed_on(world: World) -> None:
    async with aggregated(world) as wardle:
        before = len([one for one in wardle.seen if one.path.startswith(FLUNDERS)])
        refused = await world.as_user("mallory").get(FLUNDERS)
        assert refused.code == 403
        assert refused.body["message"] == (
            f'flunders.{GROUP} is forbidden: User "mallory" cannot list resource "flunders" in API group "{GROUP}" '
            'in the namespace "default"'
        )
        assert len([one for one in wardle.seen if one.path.startswith(FLUNDERS)]) == before


async def test_the_extension_server_asks_back_who_and_whether(world: World) -> None:
    """Without the front proxy's certificate its headers are worth nothing, and a token is reviewed."""
    async with aggregated(world) as wardle:
        await allow_jane(world)
        context = aiohttp.TCPConnector(ssl=False)
        async with aiohttp.ClientSession(connector=context) as session:
            url = f"https://localhost:{wardle.port}{FLUNDERS}"
            forged = {"X-Remote-User": "jane", "X-Remote-Group": "system:masters"}
            assert (await session.get(url, headers=forged)).status == 401
            for user, code in (("jane", 200), ("mallory", 403)):
                answer = await session.get(url, headers={"Authorization": f"Bearer token-{user}"})
                assert answer.status == code


async def test_a_front_proxy_before_us_is_believed_as_we_are_believed(world: World, certificates: Certificates) -> None:
    tls = ssl.create_default_context(cafile=str(certificates.authority))
    tls.load_cert_chain(world.directory / "proxies/client.crt", world.directory / "proxies/client.key")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        url = f"{world.admin.address}/apis/authentication.k8s.io/v1/selfsubjectreviews"
        assert (await session.post(url, json={})).status == 401, "the proxy is nobody by itself"
        answer = await session.post(url, json={}, headers={"X-Remote-User": "jane", "X-Remote-Group": "dev"})
        told = (await answer.json())["status"]["userInfo"]
        assert (told["username"], told["groups"]) == ("jane", ["dev", "system:authenticated"])


async def test_a_watch_passes_through_event_by_event(world: World) -> None:
    async with aggregated(world), world.admin.watch(FLUNDERS, "resourceVersion=0") as events:
        await world.admin.create(FLUNDERS, FLUNDER)
        assert await events.take(1) == [("ADDED", "f1")]
        await world.admin.delete(f"{FLUNDERS}/f1")
        assert await events.take(1) == [("DELETED", "f1")]


async def test_a_websocket_passes_through_both_ways(world: World, certificates: Certificates) -> None:
    async with aggregated(world) as wardle:
        connector = aiohttp.TCPConnector(ssl=client_tls(certificates))
        async with aiohttp.ClientSession(connector=connector) as session:
            url = f"{world.admin.address}{FLUNDERS}/f1/talk"
            async with session.ws_connect(url, protocols=("v5.channel.k8s.io",)) as socket:
                assert socket.protocol == "v5.channel.k8s.io"
                assert await socket.receive_str() == "welcome"
                large = "x" * 300_000
                for text in ("hello", large, "bye"):
                    await socket.send_str(text)
                    assert await socket.receive_str() == text.upper()
                assert await executing(world.admin) == 1, "it takes nobody's place: the question itself is all"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{world.admin.address}{FLUNDERS}/f1/nothing")
            assert refused.value.status == 404
        assert wardle.seen[-1].user == "kubernetes-admin"


async def test_a_server_that_does_not_answer_in_time_is_a_timeout(certificates: Certificates, tmp_path: Path) -> None:
    async with serving_world(certificates, tmp_path, request_timeout_seconds=1.0) as world, aggregated(world):
        late = await world.admin.get(f"{FLUNDERS}/f1/hang")
        assert (late.code, late.body["reason"]) == (504, "Timeout")


async def test_bodies_pass_through_whole_and_in_pieces(world: World, certificates: Certificates) -> None:
    async with aggregated(world) as wardle:
        large = {**FLUNDER, "spec": {"text": "x" * 500_000}}
        assert (await world.admin.create(FLUNDERS, large)).body == large
        connector = aiohttp.TCPConnector(ssl=client_tls(certificates))
        async with aiohttp.ClientSession(connector=connector) as session:
            content = orjson.dumps({**FLUNDER, "metadata": {"name": "f2"}})

            async def pieces() -> AsyncIterator[bytes]:
                for start in range(0, len(content), 10):
                    yield content[start : start + 10]

            headers = {"Content-Type": "application/json"}
            async with session.post(world.admin.address + FLUNDERS, data=pieces(), headers=headers) as answer:
                assert answer.status == 201
            async with session.head(f"{world.admin.address}{FLUNDERS}/f2") as answer:
                assert answer.status == 200 and int(answer.headers["Content-Length"]) > 0
        assert set(wardle.objects) == {"f1", "f2"}


async def test_both_forms_of_openapi_hold_what_the_extension_server_describes(world: World) -> None:
    async with aggregated(world) as wardle:
        group = f"apis/{GROUP}/{VERSION}"
        index = await until(world.admin, "/openapi/v3", lambda body: group in body["paths"])
        described = (await world.admin.get(index["paths"][group]["serverRelativeURL"])).body
        assert described["components"]["schemas"]["com.example.wardle.v1alpha1.Flunder"]["description"] == "A fish."
        whole = (await world.admin.get("/openapi/v2")).body
        assert whole["definitions"]["com.example.wardle.v1alpha1.Flunder"]["description"] == "A fish."
        assert f"{PATH}/namespaces/{{namespace}}/flunders" in whole["paths"]
        assert "/apis/other/v1/" not in whole["paths"], "it speaks of what is not its own"
        assert ("/openapi/v2", 200) in wardle.fetched
        headers = {"Accept": V2_PROTOBUF_ASKED[0]}
        async with world.admin.session.get(f"{world.admin.address}/openapi/v2", headers=headers) as packed:
            assert packed.status == 200 and b"A fish." in await packed.read()


async def test_a_server_that_knows_openapi_v2_only_is_described_in_v3_too(world: World) -> None:
    async with running(world.as_user("wardle"), world.directory / "wardle") as wardle:
        wardle.is_old = True
        await register(world.admin, wardle)
        group = f"apis/{GROUP}/{VERSION}"
        index = await until(world.admin, "/openapi/v3", lambda body: group in body["paths"])
        described = (await world.admin.get(index["paths"][group]["serverRelativeURL"])).body
        flunder = described["components"]["schemas"]["com.example.wardle.v1alpha1.Flunder"]
        assert flunder["properties"]["spec"]["description"] == "What it does."
        assert list(described["paths"]) == [f"{PATH}/namespaces/{{namespace}}/flunders"]


@pytest.mark.parametrize("is_old", [False, True], ids=["openapi-v3", "openapi-v2"])
async def test_kubectl_finds_explains_and_creates_what_the_extension_server_serves(
    world: World, certificates: Certificates, tmp_path: Path, is_old: bool
) -> None:
    async with running(world.as_user("wardle"), world.directory / "wardle") as wardle:
        wardle.is_old = is_old
        await register(world.admin, wardle)
        await until(world.admin, "/openapi/v3", lambda body: f"apis/{GROUP}/{VERSION}" in body["paths"])
        kubectl = Kubectl(world.admin, certificates, tmp_path)
        assert "flunders.wardle.example.com" in await kubectl("api-resources", "--output=name")
        assert "What it does." in await kubectl("explain", "flunder.spec")
        manifest = tmp_path / "flunder.json"
        manifest.write_bytes(orjson.dumps({**FLUNDER, "metadata": {"name": "f1", "namespace": "default"}}))
        assert "flunder.wardle.example.com/f1 created" in await kubectl("create", "-f", str(manifest))
        assert await kubectl("get", "fl", "--output=name") == "flunder.wardle.example.com/f1\n"
        shown = await kubectl("get", "apiservices", f"{VERSION}.{GROUP}", "--no-headers")
        assert shown.split()[:3] == [f"{VERSION}.{GROUP}", "default/wardle", "True"]
        await kubectl("delete", "flunder", "f1", "--wait=false")
        assert not wardle.objects


async def test_what_an_unreachable_server_serves_is_told_as_stale(world: World) -> None:
    accept = f"{AGGREGATED},application/json"

    def version_of(body: Any) -> Any:
        found = [one for one in body["items"] if one["metadata"]["name"] == GROUP]
        return found[0]["versions"][0] if found else {}

    def has(freshness: str) -> Callable[[Any], bool]:
        return lambda body: bool(version_of(body).get("freshness") == freshness)

    def read(text: Any) -> Any:
        return orjson.loads(text) if isinstance(text, str) else text

    async with running(world.as_user("wardle"), world.directory / "wardle") as wardle:
        await register(world.admin, wardle)
        current = await until(world.admin, "/apis", lambda body: has("Current")(read(body)), accept=accept)
        resource = version_of(read(current))["resources"][0]
        assert (resource["resource"], resource["scope"], resource["shortNames"]) == ("flunders", "Namespaced", ["fl"])
        assert [one["subresource"] for one in resource["subresources"]] == ["status"]
    # The server has gone: any change of its Service makes us look again.
    await world.admin.patch(f"{SERVICES}/wardle", {"metadata": {"annotations": {"look": "again"}}})
    stale = await until(world.admin, "/apis", lambda body: has("Stale")(read(body)), accept=accept)
    assert version_of(read(stale))["resources"] == version_of(read(current))["resources"]
    condition = (await world.admin.get(API_SERVICE)).body["status"]["conditions"][0]
    url = f"https://localhost:{wardle.port}{PATH}"
    assert (condition["status"], condition["reason"]) == ("False", "FailedDiscoveryCheck")
    assert condition["message"].startswith(f'failing or missing response from {url}: Get "{url}": ')
    away = await world.admin.get(FLUNDERS)
    assert (away.code, away.body, away.headers["Content-Type"]) == (
        503, "service unavailable\n", "text/plain; charset=utf-8",
    )  # fmt: skip
    async with running(world.as_user("wardle"), world.directory / "wardle", wardle.port):
        await until(world.admin, API_SERVICE, lambda body: reason(body) == "Passed")
        assert (await world.admin.get(FLUNDERS)).code == 200


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"caBundle": None}, "certificate verify failed"),
        ({"caBundle": base64.b64encode(b"no pem").decode()}, "TLS for"),
    ],
)
async def test_a_server_that_cannot_be_verified_is_not_asked(world: World, spec: Any, problem: str) -> None:
    async with running(world.as_user("wardle"), world.directory / "wardle") as wardle:
        await register(world.admin, wardle, **spec)
        found = await until(world.admin, API_SERVICE, lambda body: reason(body) == "FailedDiscoveryCheck")
        assert problem in found["status"]["conditions"][0]["message"]
        assert not wardle.seen


async def test_a_certificate_for_another_name_is_refused_unless_verification_is_given_up(world: World) -> None:
    async with running(world.as_user("wardle"), world.directory / "wardle") as wardle:
        external = {"type": "ExternalName", "externalName": "localhost"}
        await world.admin.create(SERVICES, {"metadata": {"name": "other"}, "spec": external})
        service = {"name": "other", "namespace": "default", "port": wardle.port}
        await register(world.admin, wardle, service=service)
        found = await until(world.admin, API_SERVICE, lambda body: reason(body) == "FailedDiscoveryCheck")
        assert "Hostname mismatch" in found["status"]["conditions"][0]["message"]
        await world.admin.patch(API_SERVICE, {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}})
        await until(world.admin, API_SERVICE, lambda body: reason(body) == "Passed")


async def test_why_a_server_is_not_available_is_told_step_by_step(world: World) -> None:
    """No service, no such port, no endpoints, none that is ready, and at last an address that answers."""
    admin, name = world.admin, f"{VERSION}.{GROUP}"
    async with running(world.as_user("wardle"), world.directory / "wardle") as wardle:
        service = {"name": "fish", "namespace": "default"}
        await register(admin, wardle, service=service, caBundle=None, insecureSkipTLSVerify=True)

        async def told(why: str) -> str:
            found = await until(admin, API_SERVICE, lambda body: reason(body) == why)
            return str(found["status"]["conditions"][0]["message"])

        assert await told("ServiceNotFound") == 'service/fish in "default" is not present'
        ports = [{"name": "api", "port": 8443}]
        await admin.create(SERVICES, {"metadata": {"name": "fish"}, "spec": {"ports": ports}})
        assert await told("ServicePortError") == 'service/fish in "default" is not listening on port 443'
        ports = [{"name": "api", "port": 443}]
        await admin.patch(f"{SERVICES}/fish", {"spec": {"ports": ports}})
        assert await told("EndpointsNotFound") == 'cannot find endpointslices for service/fish in "default"'
        labels = {"kubernetes.io/service-name": "fish"}
        endpoint = {"addresses": ["192.0.2.1"], "conditions": {"ready": False}}
        slice_ = {
            "metadata": {"name": "fish-a", "labels": labels}, "addressType": "IPv4", "endpoints": [endpoint],
            "ports": [{"name": "api", "port": wardle.port}],
        }  # fmt: skip
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        assert (await admin.create(slices, slice_)).code == 201
        assert await told("MissingEndpoints") == (
            'endpointslices for service/fish in "default" have no addresses with port name "api"'
        )
        # Users may not name loopback addresses, but the only server of this test listens at one.
        record = await world.store.get("/registry/discovery.k8s.io/endpointslices/default/fish-a")
        assert record is not None
        ready = record.value.replace(b"192.0.2.1", b"127.0.0.1").replace(b'"ready":false', b'"ready":true')
        await world.store.update(record.key, ready, expected=record.revision)
        assert await told("Passed") == "all checks passed"
        assert (await admin.get(FLUNDERS)).code == 200
        table = await admin.get(API_SERVICE, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert table.body["rows"][0]["cells"][:3] == [name, "default/fish", "True"]


async def test_every_group_version_of_ours_has_a_local_api_service(api: Api) -> None:
    found = {one["metadata"]["name"]: one for one in (await api.get(API_SERVICES)).body["items"]}
    assert {"v1.", "v1.apps", "v2.autoscaling", "v1.rbac.authorization.k8s.io"} <= found.keys()
    apps = found["v1.apps"]
    assert apps["spec"] == {"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15}
    assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    condition = apps["status"]["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("True", "Local")
    table = await api.get(f"{API_SERVICES}/v1.apps", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert table.body["rows"][0]["cells"][:3] == ["v1.apps", "Local", "True"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"groupPriorityMinimum": 0}, "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than"),
        ({"versionPriority": 1001}, "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000"),
        ({"version": "v2"}, 'must be `spec.version+"."+spec.group`: "v2.wardle.example.com"'),
        ({"service": {}}, "spec.service.namespace: Required value"),
        ({"service": None}, "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have"),
        ({"caBundle": "YQ=="}, "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle"),
    ],
)  # fmt: skip
async def test_an_api_service_that_makes_no_sense_is_refused(api: Api, change: Any, problem: str) -> None:
    spec = {
        "group": GROUP, "version": VERSION, "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": {"name": "a", "namespace": "b"}, "insecureSkipTLSVerify": True, **change,
    }  # fmt: skip
    refused = await api.create(API_SERVICES, {"metadata": {"name": f"{VERSION}.{GROUP}"}, "spec": spec})
    assert refused.code == 422 and problem in refused.body["message"], refused.body
