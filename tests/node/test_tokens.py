"""Pods' service account tokens are asked for once, renewed in time, and belong to the pod's user."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.node.world import volume_context

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError, service_unavailable
from kontinuum.client.rest import Client
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock, rfc3339
from kontinuum.node.fields import Surroundings
from kontinuum.node.sources import Sources
from kontinuum.node.tokens import Tokens
from kontinuum.node.volumes import projected
from kontinuum.node.volumes.context import File
from kontinuum.node.volumes.service_account_token import common_user

POD: Object = {
    "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
    "spec": {"serviceAccountName": "builder", "containers": [{"name": "main"}]},
}


class Api:
    """Issues tokens that are numbered, and can be away."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.asked: list[tuple[str, Object]] = []
        self.is_away = False
        self.good_for = 0

    async def create(
        self, resource: Resource, obj: Object, *, namespace: str = "", subresource: str = "", name: str = ""
    ) -> Object:
        if self.is_away:
            raise service_unavailable("away")
        self.asked.append((resource.path(namespace, name, subresource), obj["spec"]))
        seconds = self.good_for or obj["spec"]["expirationSeconds"]
        expires = rfc3339(self.clock.time() + seconds)
        return {"status": {"token": f"token-{len(self.asked)}", "expirationTimestamp": expires}}


def with_tokens(main: Any) -> None:
    async def run() -> None:
        clock = VirtualClock()
        api = Api(clock)
        await main(api, Tokens(cast(Client, api), clock), clock)

    virtual_time.run(run)


def test_a_token_is_bound_to_its_pod_and_asked_for_once() -> None:
    async def main(api: Api, tokens: Tokens, clock: VirtualClock) -> None:
        assert await tokens.token(POD, "", 3607) == await tokens.token(POD, "", 3607) == "token-1"
        ((path, spec),) = api.asked
        assert path == "/api/v1/namespaces/shop/serviceaccounts/builder/token"
        assert spec == {
            "expirationSeconds": 3607,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u-1"},
        }
        assert await tokens.token(POD, "vault", 3607) == "token-2"
        assert api.asked[1][1]["audiences"] == ["vault"]

    with_tokens(main)


def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over() -> None:
    async def main(api: Api, tokens: Tokens, clock: VirtualClock) -> None:
        await tokens.token(POD, "", 1000)
        await clock.sleep(799)
        assert await tokens.token(POD, "", 1000) == "token-1"
        await clock.sleep(2)
        assert await tokens.token(POD, "", 1000) == "token-2"

    with_tokens(main)


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_token_is_renewed_in_time_whatever_becomes_of_the_clock(jump: float) -> None:
    async def main(api: Api, tokens: Tokens, clock: VirtualClock) -> None:
        await tokens.token(POD, "", 1000)
        await clock.sleep(100)
        clock.jump(jump)
        await clock.sleep(701)
        assert await tokens.token(POD, "", 1000) == "token-2"

    with_tokens(main)


def test_a_long_lived_token_is_renewed_every_day() -> None:
    async def main(api: Api, tokens: Tokens, clock: VirtualClock) -> None:
        api.good_for = 365 * 24 * 3600
        await tokens.token(POD, "", 3607)
        await clock.sleep(24 * 3600 + 1)
        assert await tokens.token(POD, "", 3607) == "token-2"

    with_tokens(main)


def test_the_old_token_is_shown_while_the_api_is_away_and_it_is_good() -> None:
    async def main(api: Api, tokens: Tokens, clock: VirtualClock) -> None:
        await tokens.token(POD, "", 1000)
        api.is_away = True
        await clock.sleep(900)
        assert await tokens.token(POD, "", 1000) == "token-1"
        await clock.sleep(200)
        with pytest.raises(ApiError):
            await tokens.token(POD, "", 1000)

    with_tokens(main)


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        ({}, File(b"token-1", 0o644, None)),
        ({"runAsUser": 1000}, File(b"token-1", 0o600, 1000)),
        ({"fsGroup": 2000}, File(b"token-1", 0o600, None)),
    ],
)
def test_only_the_pods_user_may_read_its_token(security: Object, expected: File) -> None:
    async def main(api: Api, tokens: Tokens, clock: VirtualClock) -> None:
        pod = {**POD, "spec": {**POD["spec"], "securityContext": security}}
        sources = Sources(cast(Client, api), clock)
        around = Surroundings((), "192.0.2.1", 1000, 1 << 30)
        context = volume_context(pod, sources=sources, tokens=tokens, around=around)
        projection = {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]}
        assert await projected.files(projection, context) == {"token": expected}

    with_tokens(main)


def test_containers_that_differ_have_no_common_user() -> None:
    def container(user: int | None) -> Object:
        return {"name": "c", "securityContext": {} if user is None else {"runAsUser": user}}

    assert common_user({"containers": [container(1), container(1)]}) == 1
    assert common_user({"containers": [container(1), container(2)]}) is None
    assert common_user({"containers": [container(1), container(None)]}) is None
    assert common_user({"securityContext": {"runAsUser": 1}, "containers": [container(None)]}) == 1
