"""Whatever tenants do, nodes, controllers and administrators are answered; tenants are told to come back later."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from tests.apiserver.serving import CONFIGMAPS, Api, Certificates, configmap, serving

from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.port import Record

TOKENS = """tenant-token,tenant,1,team
other-token,other,2,team
node-token,system:node:n1,3,system:nodes
scheduler-token,system:kube-scheduler,4
"""
CONFIGURATIONS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"


class SlowStore(MemoryStore):
    """Creations of ConfigMaps called ``slow...`` wait until ``go``."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.slow = 0

    async def create(self, key: str, value: bytes) -> Record:
        if "/slow" in key:
            self.slow += 1
            await self.go.wait()
        return await super().create(key, value)


@contextlib.asynccontextmanager
async def busy(
    certificates: Certificates, tmp_path: Path, seats: int, **settings: Any
) -> AsyncIterator[tuple[Api, SlowStore, aiohttp.ClientSession]]:
    """A server with few seats, and a client that can be anybody."""
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(TOKENS)
    store = SlowStore()
    options = {"maximum_in_flight": seats, "token_file": tokens, "authorization": "always-allow", **settings}
    connector = aiohttp.TCPConnector(ssl=client_tls_of(certificates), limit=0)
    async with serving(store, certificates, **options) as api, aiohttp.ClientSession(connector=connector) as session:
        try:
            yield api, store, session
        finally:
            store.go.set()


def client_tls_of(certificates: Certificates) -> ssl.SSLContext:
    """Without a certificate of its own: the token says who it is."""
    return ssl.create_default_context(cafile=str(certificates.authority))


async def ask(
    api: Api, session: aiohttp.ClientSession, who: str, method: str, path: str, body: Any = None
) -> tuple[int, Any, Any]:
    headers = {"Authorization": f"Bearer {who}-token", "Content-Type": "application/json"}
    data = orjson.dumps(body) if body is not None else None
    async with session.request(method, api.address + path, data=data, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


def flood(api: Api, session: aiohttp.ClientSession, who: str, number: int) -> list[asyncio.Task[Any]]:
    return [
        asyncio.create_task(ask(api, session, who, "POST", CONFIGMAPS, configmap(f"slow-{who}-{index}")))
        for index in range(number)
    ]


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def metric(api: Api, name: str, **labels: str) -> float:
    text = (await api.get("/metrics")).body
    wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    line = next((line for line in text.splitlines() if line.startswith(f"{name}{{{wanted}}} ")), None)
    return float(line.rpartition(" ")[2]) if line is not None else 0.0


async def test_a_flood_of_a_tenant_holds_nobody_else_up(certificates: Certificates, tmp_path: Path) -> None:
    async with busy(certificates, tmp_path, seats=30) as (api, store, session):
        tasks = flood(api, session, "tenant", 400)
        await until(lambda: sum(task.done() for task in tasks) > 50)
        assert store.slow < 30
        async with asyncio.timeout(10):
            for who in ("node", "scheduler"):
                assert (await ask(api, session, who, "POST", CONFIGMAPS, configmap(who)))[0] == 201
                assert (await ask(api, session, who, "GET", CONFIGMAPS))[0] == 200
            assert (await api.create(CONFIGMAPS, configmap("administrator"))).code == 201
            assert (await api.get("/readyz")).code == 200
        refused = next(task for task in tasks if task.done()).result()
        assert (refused[0], refused[2]["Retry-After"]) == (429, "1")
        status = orjson.loads(refused[1])
        assert (status["reason"], status["message"]) == (
            "TooManyRequests", "Too many requests, please try again later.",
        )  # fmt: skip
        store.go.set()
        codes = [result[0] for result in await asyncio.gather(*tasks)]
        assert set(codes) == {201, 429} and codes.count(201) > 100


async def test_one_tenant_does_not_wait_behind_all_requests_of_another(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with busy(certificates, tmp_path, seats=30) as (api, store, session):
        tasks = flood(api, session, "tenant", 150)
        in_queue = "apiserver_flowcontrol_current_inqueue_requests"
        async with asyncio.timeout(20):
            while await metric(api, in_queue, priority_level="global-default") < 50:
                await asyncio.sleep(0.05)
        order: list[str] = []
        other = asyncio.create_task(ask(api, session, "other", "POST", CONFIGMAPS, configmap("quick")))
        for task in (other, *tasks):
            task.add_done_callback(lambda done: order.append("other" if done is other else "tenant"))
        async with asyncio.timeout(20):
            while "other" not in await _requests(api):
                await asyncio.sleep(0.05)
        store.go.set()
        await asyncio.gather(other, *tasks)
        assert other.result()[0] == 201 and order.index("other") < 60


async def _requests(api: Api) -> str:
    path = "/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1"
    return str((await api.get(path)).body)


async def test_who_waits_too_long_is_told_to_come_back(certificates: Certificates, tmp_path: Path) -> None:
    async with busy(certificates, tmp_path, seats=10, request_timeout_seconds=1.2) as (api, store, session):
        tasks = flood(api, session, "tenant", 100)
        codes = {result[0] for result in await asyncio.gather(*tasks)}
        assert codes == {429, 504}
        late = await metric(
            api, "apiserver_flowcontrol_rejected_requests_total",
            priority_level="global-default", flow_schema="global-default", reason="time-out",
        )  # fmt: skip
        assert late > 0
        assert await metric(api, "apiserver_flowcontrol_current_executing_seats", priority_level="global-default") == 0
        store.go.set()


async def test_a_level_without_queues_turns_away_what_does_not_fit(certificates: Certificates, tmp_path: Path) -> None:
    async with busy(certificates, tmp_path, seats=20) as (api, store, session):
        limited = {"nominalConcurrencyShares": 1, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}
        level = {"metadata": {"name": "tight"}, "spec": {"type": "Limited", "limited": limited}}
        assert (await api.create(CONFIGURATIONS, level)).code == 201
        rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
        subject = {"kind": "User", "user": {"name": "tenant"}}
        spec = {
            "priorityLevelConfiguration": {"name": "tight"}, "matchingPrecedence": 50,
            "rules": [{"subjects": [subject], "resourceRules": [rule]}],
        }  # fmt: skip
        schema = await api.create(SCHEMAS, {"metadata": {"name": "tenants"}, "spec": spec})
        assert schema.code == 201
        tasks = flood(api, session, "tenant", 5)
        await until(lambda: sum(task.done() for task in tasks) == 4)
        refused = next(task for task in tasks if task.done()).result()
        assert refused[0] == 429
        assert refused[2]["X-Kubernetes-PF-FlowSchema-UID"] == schema.body["metadata"]["uid"]
        store.go.set()
        assert sorted(result[0] for result in await asyncio.gather(*tasks)) == [201, 429, 429, 429, 429]


async def test_watches_hold_a_seat_only_while_they_send_what_there_is(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with busy(certificates, tmp_path, seats=10) as (api, _, session):
        await api.create(CONFIGMAPS, configmap("first"))
        headers = {"Authorization": "Bearer tenant-token"}
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(30):
                answer = await stack.enter_async_context(
                    session.get(f"{api.address}{CONFIGMAPS}?watch=true", headers=headers)
                )
                assert answer.status == 200 and await answer.content.readline()
            assert (await ask(api, session, "tenant", "GET", CONFIGMAPS))[0] == 200
            used = "apiserver_flowcontrol_current_executing_seats"
            assert await metric(api, used, priority_level="global-default") == 0


async def test_every_answer_names_its_schema_and_level(certificates: Certificates, tmp_path: Path) -> None:
    async with busy(certificates, tmp_path, seats=10) as (api, _, session):
        schema, level = await api.get(f"{SCHEMAS}/global-default"), await api.get(f"{CONFIGURATIONS}/global-default")
        for path in (CONFIGMAPS, f"{CONFIGMAPS}/missing", "/version", f"{CONFIGMAPS}?watch=true&timeoutSeconds=1"):
            _, _, headers = await ask(api, session, "tenant", "GET", path)
            assert headers["X-Kubernetes-PF-FlowSchema-UID"] == schema.body["metadata"]["uid"]
            assert headers["X-Kubernetes-PF-PriorityLevel-UID"] == level.body["metadata"]["uid"]


@pytest.mark.parametrize("table", ["dump_priority_levels", "dump_queues", "dump_requests"])
async def test_what_waits_is_shown_in_tables(certificates: Certificates, tmp_path: Path, table: str) -> None:
    async with busy(certificates, tmp_path, seats=10) as (api, store, session):
        tasks = flood(api, session, "tenant", 40)
        in_queue = "apiserver_flowcontrol_current_inqueue_requests"
        async with asyncio.timeout(20):
            while await metric(api, in_queue, priority_level="global-default") < 5:
                await asyncio.sleep(0.05)
        text = (await api.get(f"/debug/api_priority_and_fairness/{table}")).body
        lines = text.splitlines()
        assert lines[0].startswith("PriorityLevelName,") and any(line.startswith("global-default,") for line in lines)
        assert len({line.count(",") for line in lines}) == 1
        assert (await api.get("/debug/api_priority_and_fairness/nothing")).code == 404
        store.go.set()
        await asyncio.gather(*tasks)
