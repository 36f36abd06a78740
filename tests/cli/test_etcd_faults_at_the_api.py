"""What clients of the API notice when etcd is in trouble: a code that says what to do, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from tests.history import NAMESPACE, History, config
from tests.servers import Server, data_directory, requesting, settings_for
from tests.store.etcd import Cluster, etcd

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import name_of
from kontinuum.api.machinery.status import ApiError

PATH = "/api/v1/namespaces/default/configmaps"


@contextlib.contextmanager
def server_on(cluster: Cluster, *, patience_seconds: float = 10.0) -> Iterator[Server]:
    with data_directory() as directory:
        access = cluster.access(patience_seconds=patience_seconds)
        server = Server(directory, settings={"store": settings_for(access)})
        server.start()
        try:
            yield server
        finally:
            server.kill()


async def get(session: aiohttp.ClientSession, path: str) -> tuple[int, Any, str]:
    """Code, body and Retry-After."""
    async with session.get(path) as response:
        body = await (response.json() if "json" in response.content_type else response.text())
        return response.status, body, response.headers.get("Retry-After", "")


@pytest.mark.machine
async def test_without_a_quorum_what_must_be_current_gets_503_and_what_may_be_old_is_answered() -> None:
    with etcd(3) as cluster, server_on(cluster, patience_seconds=2) as server:
        client = await server.connect()
        history = History()
        async with requesting(server) as session, history.watched([client], 1):
            made = await client.create(CONFIGMAPS, config("before"))
            for member in cluster.members[1:]:
                member.signal(signal.SIGSTOP)

            async with session.post(PATH, json=config("in-vain")) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
                refused = await response.json()
            assert refused["reason"] == "ServiceUnavailable" and "etcd at 127.0.0.1:" in refused["message"]
            code, body, again = await get(session, f"{PATH}/before")
            assert (code, body["reason"], again) == (503, "ServiceUnavailable", "1")
            assert (await get(session, PATH))[0] == 503
            code, body, _ = await get(session, f"{PATH}?resourceVersion=0")
            assert code == 200 and "before" in [name_of(one) for one in body["items"]]
            assert (await get(session, "/livez"))[:2] == (200, "ok")
            code, told, _ = await get(session, "/readyz?verbose")
            assert code == 500 and "[-]store failed" in told and "[+]ping ok" in told

            for member in cluster.members[1:]:
                member.signal(signal.SIGCONT)
            async with asyncio.timeout(60):
                while (await get(session, "/readyz"))[0] != 200:
                    await asyncio.sleep(0.1)
            changed = await client.update(CONFIGMAPS, made | {"data": {"content": "after"}})
            assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
            await history.must_hold(client)
        await client.close()


async def test_an_etcd_that_is_full_takes_nothing_more_is_read_on_and_works_again_with_space() -> None:
    with etcd(extra=["--quota-backend-bytes=6000000"]) as cluster, server_on(cluster) as server:
        client = await server.connect()
        await client.create(CONFIGMAPS, config("before"))
        one = await client.create(CONFIGMAPS, config("changing", "0" * 400_000))
        with pytest.raises(ApiError) as refused:
            for number in range(1, 100):
                one = await client.update(CONFIGMAPS, one | {"data": {"content": f"{number}" * 200_000}})
        assert refused.value.code == 507
        assert "etcdctl alarm disarm" in refused.value.message
        assert await client.get(CONFIGMAPS, "changing", namespace=NAMESPACE) == one
        assert {name_of(one) for one in (await client.list(CONFIGMAPS, namespace=NAMESPACE)).items} >= {"before"}

        # What the message says: compact, defragment, disarm. Nothing of ours needs to be started again.
        [member] = cluster.members
        revision = int(cluster.call(member, "kv/range", key="AA==")["header"]["revision"])
        cluster.call(member, "kv/compaction", revision=revision, physical=True)
        cluster.call(member, "maintenance/defragment")
        alarm = cluster.call(member, "maintenance/alarm", action="GET")["alarms"][0]
        cluster.call(member, "maintenance/alarm", action="DEACTIVATE", memberID=alarm["memberID"], alarm="NOSPACE")
        await client.update(CONFIGMAPS, one | {"data": {"content": "small"}})
        await client.create(CONFIGMAPS, config("after"))
        await client.close()


@pytest.mark.machine
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_each_member_of_three_fails_in_turn_under_load_and_no_client_notices(fault: signal.Signals) -> None:
    with etcd(3, tls=True) as cluster, server_on(cluster) as server:
        client = await server.connect()
        history = History()
        async with history.watched([client], 2):
            async with history.written([client], 8):
                for member in cluster.members:
                    await history.wait_more(100)
                    if fault == signal.SIGKILL:
                        member.kill()
                    else:
                        member.signal(fault)
                    await history.wait_more(200)
                    if fault == signal.SIGKILL:
                        member.start()
                    else:
                        member.signal(signal.SIGCONT)
                    await cluster.wait_whole()
            await history.must_hold(client)
        assert history.failures == [], "two members were there all the time"
        await client.close()
