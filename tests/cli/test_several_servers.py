"""Two ``kontinuum server`` on one etcd are one API: what is written at one, both tell, in the same order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.history import NAMESPACE, History, config
from tests.servers import Server, data_directory, requesting, settings_for
from tests.store.etcd import Cluster, etcd

from kontinuum.api.kubernetes.resources import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    NAMESPACES,
    RESOURCEQUOTAS,
    ROLEBINDINGS,
    ROLES,
    SECRETS,
    SERVICES,
)
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client, WatchEvent
from kontinuum.store.archive import ArchiveWriter, read_archive
from kontinuum.store.etcd import Access, transfer
from kontinuum.store.transfer import LEAP, carry

SERVICE_ADDRESSES = 13
"""Addresses of 10.97.0.0/28 that Services can have: not the network, not the broadcast, not the server's own."""

WIDGET = Resource("example.com", "v1", "Widget", "widgets", namespaced=True)
WIDGETS = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
                    }
                },
            }
        ],
    },
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with etcd() as one:
        yield one


@contextlib.contextmanager
def two_servers(access: Access, settings: Mapping[str, Any] | None = None) -> Iterator[tuple[Server, Server]]:
    """Two servers with the same authority, on the same store, with ``settings`` beside those of the store."""
    content = {"store": settings_for(access), **(settings or {})}
    with data_directory() as one, data_directory() as other:
        first, second = Server(one, settings=content), Server(other, settings=content)
        try:
            first.start()
            first.wait_listening()
            second.trust(first)
            second.start()
            yield first, second
        finally:
            first.kill()
            second.kill()


@pytest.fixture(scope="module")
def servers(cluster: Cluster) -> Iterator[tuple[Server, Server]]:
    settings = {"server": {"service_cidrs": "10.97.0.0/28"}}
    with two_servers(cluster.access(), settings) as both:
        yield both


@pytest.fixture
async def clients(servers: tuple[Server, Server]) -> AsyncIterator[tuple[Client, Client]]:
    first, second = [await server.connect() for server in servers]
    yield first, second
    await first.close()
    await second.close()


async def test_watches_at_both_tell_one_history(clients: tuple[Client, Client]) -> None:
    history = History()
    async with history.watched(clients, 4):
        async with history.written(clients, 8):
            await history.wait_more(300)
        await history.must_hold(clients[1])
    assert history.failures == []
    assert len(history.seen) == 4


async def test_what_was_written_at_one_is_read_at_the_other_at_once(clients: tuple[Client, Client]) -> None:
    for turn in range(50):
        writer, reader = clients if turn % 2 else clients[::-1]
        made = await writer.create(CONFIGMAPS, config(f"read-{turn}"))
        assert await reader.get(CONFIGMAPS, f"read-{turn}", namespace=NAMESPACE) == made
        listed = await reader.list(CONFIGMAPS, namespace=NAMESPACE, fields=f"metadata.name=read-{turn}")
        assert [one["metadata"]["uid"] for one in listed.items] == [made["metadata"]["uid"]]
        changed = await reader.update(CONFIGMAPS, made | {"data": {"content": "changed"}})
        with pytest.raises(ApiError) as refused:
            await writer.update(CONFIGMAPS, made | {"data": {"content": "too late"}})
        assert refused.value.code == 409
        version = changed["metadata"]["resourceVersion"]
        listed = await writer.list(CONFIGMAPS, namespace=NAMESPACE, resource_version=version)
        assert changed["metadata"]["uid"] in {
            one["metadata"]["uid"] for one in listed.items if one["data"]["content"] == "changed"
        }


async def test_a_revision_is_good_at_either_server(clients: tuple[Client, Client]) -> None:
    first, second = clients
    for number in range(20):
        await first.create(CONFIGMAPS, config(f"page-{number:02}"))
    page = await first.list(CONFIGMAPS, namespace=NAMESPACE, limit=5)
    await second.create(CONFIGMAPS, config("page-00-between"))
    await second.delete(CONFIGMAPS, "page-19", namespace=NAMESPACE)
    names = [name_of(one) for one in page.items]
    server = second
    while page.continue_:
        page = await server.list(CONFIGMAPS, namespace=NAMESPACE, limit=5, continue_=page.continue_)
        names += [name_of(one) for one in page.items]
        server = first if server is second else second
    assert "page-19" in names and "page-00-between" not in names
    changes = second.watch(CONFIGMAPS, namespace=NAMESPACE, resource_version=page.resource_version)
    async with contextlib.aclosing(changes), asyncio.timeout(60):
        seen = [(event.type, name_of(event.object)) for event in [await anext(changes), await anext(changes)]]
    assert seen == [("ADDED", "page-00-between"), ("DELETED", "page-19")]


async def test_services_created_at_both_never_share_an_address_or_a_port(clients: tuple[Client, Client]) -> None:
    def service(number: int) -> Object:
        spec = {"type": "NodePort", "ports": [{"port": 80}]}
        return {"metadata": {"name": f"s-{number}", "namespace": NAMESPACE}, "spec": spec}

    answers = await asyncio.gather(
        *(clients[number % 2].create(SERVICES, service(number)) for number in range(20)), return_exceptions=True
    )
    made = [one for one in answers if isinstance(one, dict)]
    refused = [one for one in answers if isinstance(one, ApiError)]
    assert len({one["spec"]["clusterIP"] for one in made}) == len(made) == SERVICE_ADDRESSES
    assert len({one["spec"]["ports"][0]["nodePort"] for one in made}) == len(made)
    assert len(refused) == 20 - len(made)
    for one in made:
        await clients[0].delete(SERVICES, name_of(one), namespace=NAMESPACE)
    again = await clients[1].create(SERVICES, service(99))
    assert again["spec"]["clusterIP"].startswith("10.97.0.")


async def test_a_name_is_given_once_however_many_ask_for_it(clients: tuple[Client, Client]) -> None:
    for turn in range(10):
        answers = await asyncio.gather(
            *(clients[number % 2].create(CONFIGMAPS, config(f"once-{turn}", str(number))) for number in range(8)),
            return_exceptions=True,
        )
        won = [one for one in answers if isinstance(one, dict)]
        lost = [one for one in answers if isinstance(one, ApiError)]
        assert (len(won), {one.reason for one in lost}) == (1, {"AlreadyExists"})


async def test_a_namespace_that_ends_at_one_takes_nothing_at_the_other(clients: tuple[Client, Client]) -> None:
    first, second = clients
    await first.create(NAMESPACES, {"metadata": {"name": "brief"}})
    await second.create(CONFIGMAPS, {"metadata": {"name": "c"}}, namespace="brief")
    await first.delete(NAMESPACES, "brief")
    with pytest.raises(ApiError) as refused:
        await second.create(CONFIGMAPS, {"metadata": {"name": "d"}}, namespace="brief")
    assert refused.value.code in (403, 404)


async def test_a_quota_is_exact_whichever_server_is_asked(clients: tuple[Client, Client]) -> None:
    first, second = clients
    await first.create(NAMESPACES, {"metadata": {"name": "counted"}})
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"count/secrets": "10"}}}
    await first.create(RESOURCEQUOTAS, quota, namespace="counted")

    def secret(number: int) -> Object:
        return {"metadata": {"name": f"s-{number}", "namespace": "counted"}}

    assert (await second.get(RESOURCEQUOTAS, "q", namespace="counted"))["spec"] == quota["spec"]
    answers = await asyncio.gather(
        *(clients[number % 2].create(SECRETS, secret(number)) for number in range(30)), return_exceptions=True
    )
    made = [one for one in answers if isinstance(one, dict)]
    assert {one.code for one in answers if isinstance(one, ApiError)} == {403}
    assert len((await second.list(SECRETS, namespace="counted")).items) == len(made) == 10
    await second.delete(SECRETS, name_of(made[0]), namespace="counted")
    again = await asyncio.gather(
        *(clients[number % 2].create(SECRETS, secret(100 + number)) for number in range(6)), return_exceptions=True
    )
    assert len([one for one in again if isinstance(one, dict)]) <= 1
    assert len((await first.list(SECRETS, namespace="counted")).items) <= 10


async def test_a_kind_that_is_defined_at_one_is_served_by_the_other(clients: tuple[Client, Client]) -> None:
    first, second = clients
    await first.create(CUSTOMRESOURCEDEFINITIONS, WIDGETS)
    await eventually(partial(serves, second, "/apis/example.com/v1"))
    made = await second.create(WIDGET, {"metadata": {"name": "w", "namespace": NAMESPACE}, "spec": {"size": 3}})
    assert (await first.get(WIDGET, "w", namespace=NAMESPACE))["spec"] == {"size": 3}
    with pytest.raises(ApiError) as refused:
        await first.update(WIDGET, made | {"spec": {"size": "three"}})
    assert refused.value.code == 422
    groups = [one["name"] for one in (await second.get_path("/apis"))["groups"]]
    assert "example.com" in groups
    await second.delete(CUSTOMRESOURCEDEFINITIONS, "widgets.example.com")
    for client in clients:
        await eventually(partial(serves, client, "/apis/example.com/v1", wanted=False))


async def serves(client: Client, path: str, *, wanted: bool = True) -> bool:
    try:
        await client.get_path(path)
    except ApiError as error:
        assert error.code == 404
        return not wanted
    return wanted


async def test_what_a_user_may_do_is_the_same_at_both(
    servers: tuple[Server, Server], clients: tuple[Client, Client]
) -> None:
    first, second = clients

    async def may(server: Server) -> bool:
        async with requesting(server) as session:
            headers = {"Impersonate-User": "bob"}
            async with session.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps", headers=headers) as answer:
                assert answer.status in (200, 403)
                return answer.status == 200

    async def may_not(server: Server) -> bool:
        return not await may(server)

    assert not await may(servers[0]) and not await may(servers[1])
    role = {
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}],
    }
    await first.create(ROLES, role, namespace=NAMESPACE)
    subjects = [{"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}]
    binding = {
        "metadata": {"name": "bob"}, "subjects": subjects,
        "roleRef": {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"},
    }  # fmt: skip
    await second.create(ROLEBINDINGS, binding, namespace=NAMESPACE)
    for server in servers:
        await eventually(partial(may, server))
    await first.delete(ROLEBINDINGS, "bob", namespace=NAMESPACE)
    for server in servers:
        await eventually(partial(may_not, server))


async def test_history_that_one_server_has_compacted_is_gone_at_both(cluster: Cluster) -> None:
    settings = {"server": {"compaction_seconds": 0.5, "history_events": 5}}
    with two_servers(cluster.access(), settings) as servers:
        clients = [await server.connect() for server in servers]
        for number in range(12):
            await clients[0].create(CONFIGMAPS, config(f"c-{number}"))
        page = await clients[0].list(CONFIGMAPS, namespace=NAMESPACE, limit=2)
        for number in range(40):  # as many changes as there are objects are remembered in any case
            await clients[1].patch(CONFIGMAPS, "c-0", {"data": {"now": str(number)}}, namespace=NAMESPACE)

        async def is_gone(client: Client) -> bool:
            await clients[1].create(CONFIGMAPS, {"metadata": {"generateName": "more-"}}, namespace=NAMESPACE)
            try:
                await client.list(CONFIGMAPS, namespace=NAMESPACE, limit=2, continue_=page.continue_)
            except ApiError as error:
                assert (error.code, error.reason) == (410, "Expired")
                return True
            return False

        for client in clients:
            await eventually(partial(is_gone, client))
            stream = client.watch(CONFIGMAPS, namespace=NAMESPACE, resource_version=page.resource_version)
            with pytest.raises(ApiError) as refused:
                await types_of(stream)
            assert refused.value.code == 410
            fresh = await client.list(CONFIGMAPS, namespace=NAMESPACE)
            assert len([one for one in fresh.items if name_of(one).startswith("c-")]) == 12
            await client.close()


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    """Fails after thirty seconds."""
    async with asyncio.timeout(30):
        while not await look():
            await asyncio.sleep(0.05)


@pytest.mark.machine
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_server_that_is_killed_costs_those_who_move_to_the_other_nothing(seed: int) -> None:
    with etcd(3, tls=True) as cluster, two_servers(cluster.access()) as servers:
        clients = [await server.connect() for server in servers]
        history = History()
        async with history.watched(clients, 4):
            async with history.written(clients, 8):
                await history.wait_more(100 * seed)
                for victim, client in zip(servers, clients, strict=True):
                    victim.kill()
                    await history.wait_more(150)
                    victim.start()
                    await (await victim.connect()).close()
                    await client.list(CONFIGMAPS, namespace=NAMESPACE, limit=1)
                    await history.wait_more(50)
            await history.must_hold(clients[0])
        assert history.failures
        for client in clients:
            await client.close()


async def test_a_restore_under_two_servers_reaches_the_clients_of_both_as_410(cluster: Cluster, tmp_path: Path) -> None:
    access = cluster.access()
    with two_servers(access) as servers:
        clients = [await server.connect() for server in servers]
        kept = await clients[0].create(CONFIGMAPS, config("kept"))
        await back_up(access, tmp_path / "backup")
        lost = await clients[1].create(CONFIGMAPS, config("lost"))
        version = lost["metadata"]["resourceVersion"]
        resuming = [partial(one.watch, CONFIGMAPS, namespace=NAMESPACE, resource_version=version) for one in clients]
        waiting = [asyncio.create_task(types_of(watch())) for watch in resuming]
        await asyncio.sleep(0.3)
        await restore(tmp_path / "backup", access)
        for client, watch, wait in zip(clients, resuming, waiting, strict=True):
            # The watch ends without a word of what was not there any more; who resumes is told to list again.
            assert await asyncio.wait_for(wait, 30) == []
            await eventually(partial(holds, client, ["kept"]))
            with pytest.raises(ApiError) as refused:
                await types_of(watch())
            assert refused.value.code == 410
            with pytest.raises(ApiError) as conflict:
                await client.update(CONFIGMAPS, kept | {"data": {"content": "from the past"}})
            assert conflict.value.code == 409
            made = await client.create(CONFIGMAPS, {"metadata": {"generateName": "new-"}}, namespace=NAMESPACE)
            assert int(made["metadata"]["resourceVersion"]) > LEAP
            await client.delete(CONFIGMAPS, name_of(made), namespace=NAMESPACE)
            await client.close()


async def back_up(access: Access, backup: Path) -> None:
    with ArchiveWriter(backup, replace=False, written="", writer="") as writer:
        async with transfer.reading(access) as source:
            await carry(source, writer, lambda _: None)


async def restore(backup: Path, access: Access) -> None:
    with read_archive(backup) as archive:
        async with transfer.replacing(access, replace=True) as target:
            await carry(archive, target, lambda _: None)


async def types_of(watch: AsyncIterator[WatchEvent]) -> list[str]:
    """What a watch tells until the server ends it."""
    return [event.type async for event in watch if event.type != "BOOKMARK"]


async def holds(client: Client, names: list[str]) -> bool:
    listed = await client.list(CONFIGMAPS, namespace=NAMESPACE)
    return [name_of(one) for one in listed.items if name_of(one) != "kube-root-ca.crt"] == names
