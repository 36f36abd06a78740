"""The wall clock may jump, by hours and either way: what is stored and told does not depend on it.

What has a time in it does: certificates and tokens are good when they say so. So the administrator here has a static
token, which has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.apiserver.serving import CONFIGMAPS, Api, Certificates, configmap, serving

from kontinuum.foundation import jwt
from kontinuum.foundation.clock import RealClock
from kontinuum.store.sqlite import SqliteStore

HOUR = 3600.0
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
EVENTS = "/api/v1/namespaces/default/events"


class JumpingClock(RealClock):
    """Wall time that jumps; monotonic time and sleeping go on as ever, as on a real machine."""

    offset = 0.0

    def time(self) -> float:
        return super().time() + self.offset


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@contextlib.asynccontextmanager
async def jumping(
    certificates: Certificates, clock: JumpingClock, directory: Path, **settings: Any
) -> AsyncIterator[Api]:
    """A server by that clock, and an administrator with a static token."""
    (directory / "tokens.csv").write_text("secret,admin,1,system:masters\n")
    jwt.ensure_key(directory / "sa.key")
    settings |= {"token_file": directory / "tokens.csv", "service_account_key": directory / "sa.key"}
    store = await SqliteStore.open(directory / "store.db")
    async with serving(store, certificates, clock=clock, **settings) as api, bearing("secret", certificates) as session:
        yield Api(session, api.server)
    await store.close()


def bearing(token: str, certificates: Certificates) -> aiohttp.ClientSession:
    tls = ssl.create_default_context(cafile=str(certificates.authority))
    headers = {"Authorization": f"Bearer {token}"}
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), headers=headers)


@pytest.fixture
async def api(certificates: Certificates, clock: JumpingClock, tmp_path: Path) -> AsyncIterator[Api]:
    async with jumping(certificates, clock, tmp_path, compaction_seconds=HOUR) as api:
        yield api


@pytest.mark.parametrize("jump", [48 * HOUR, -48 * HOUR])
async def test_writes_watches_and_paged_lists_go_on_over_a_jump(api: Api, clock: JumpingClock, jump: float) -> None:
    for number in range(6):
        made = await api.create(CONFIGMAPS, configmap(f"before-{number}"))
    page = await api.get(f"{CONFIGMAPS}?limit=2")
    async with api.watch(CONFIGMAPS, f"resourceVersion={made.version}") as events:
        clock.offset = jump
        after = await api.create(CONFIGMAPS, configmap("after"))
        assert int(after.version) > int(made.version)
        changed = await api.update(f"{CONFIGMAPS}/before-0", configmap("before-0", a="b"))
        assert changed.code == 200 and int(changed.version) > int(after.version)
        assert (await api.delete(f"{CONFIGMAPS}/before-1")).code == 200
        clock.offset = 0.0
        assert (await api.create(CONFIGMAPS, configmap("back"))).code == 201
        assert await events.take(4) == [
            ("ADDED", "after"), ("MODIFIED", "before-0"), ("DELETED", "before-1"), ("ADDED", "back"),
        ]  # fmt: skip
    rest = await api.get(f"{CONFIGMAPS}?limit=20&continue={page.body['metadata']['continue']}")
    names = [one["metadata"]["name"] for one in [*page.body["items"], *rest.body["items"]]]
    assert [name for name in names if name != "kube-root-ca.crt"] == [f"before-{number}" for number in range(6)]


async def test_a_token_is_good_for_the_hour_that_its_clock_shows(
    api: Api, clock: JumpingClock, certificates: Certificates
) -> None:
    asked = await api.create(f"{ACCOUNTS}/default/token", {"spec": {"expirationSeconds": 3600}})
    token = asked.body["status"]["token"]
    assert await is_known(api, certificates, token)
    clock.offset = 2 * HOUR
    assert not await is_known(api, certificates, token)
    clock.offset = -2 * HOUR  # issued in what is the future now
    assert not await is_known(api, certificates, token)
    clock.offset = 0.0
    assert await is_known(api, certificates, token)


async def is_known(api: Api, certificates: Certificates, token: str) -> bool:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    async with bearing(token, certificates) as session, session.post(api.address + WHOAMI, json=review) as answer:
        assert answer.status in (201, 401)
        return answer.status == 201


async def test_objects_made_while_the_clock_was_wrong_are_shown_and_deleted_as_others(
    api: Api, clock: JumpingClock
) -> None:
    clock.offset = -48 * HOUR
    assert (await api.create(CONFIGMAPS, configmap("old"))).code == 201
    clock.offset = 48 * HOUR
    assert (await api.create(CONFIGMAPS, configmap("young"))).code == 201
    clock.offset = 0.0
    table = await api.get(CONFIGMAPS, accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    ages = {row["cells"][0]: row["cells"][2] for row in table.body["rows"]}
    assert ages["old"] == "2d" and ages["young"] in ("0s", "<invalid>")
    for name in ("old", "young"):
        assert (await api.delete(f"{CONFIGMAPS}/{name}")).code == 200
    listed = await api.get(CONFIGMAPS)
    assert {one["metadata"]["name"] for one in listed.body["items"]} <= {"kube-root-ca.crt"}


async def test_events_are_kept_when_the_clock_goes_back(
    certificates: Certificates, clock: JumpingClock, tmp_path: Path
) -> None:
    async with jumping(certificates, clock, tmp_path, event_ttl_seconds=1.0) as api:
        clock.offset = -HOUR
        event = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}}
        assert (await api.create(EVENTS, event)).code == 201
        clock.offset = -2 * HOUR
        await asyncio.sleep(0.3)  # several looks at what has expired
        assert (await api.get(f"{EVENTS}/e")).code == 200
        clock.offset = 0.0
        async with asyncio.timeout(60):
            while (await api.get(f"{EVENTS}/e")).code != 404:
                await asyncio.sleep(0.05)
