"""Tokens of service accounts: asked for, shown, reviewed, and worthless as soon as what they are bound to is gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.apiserver.serving import Answer, Api, Certificates, pod, serving

from kontinuum.foundation import jwt
from kontinuum.foundation.clock import RealClock
from kontinuum.store.memory.store import MemoryStore

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ISSUER = "https://kubernetes.default.svc.cluster.local"
LAST_USED = "kubernetes.io/legacy-token-last-used"
BUILDER = "system:serviceaccount:default:builder"


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "sa.key"
    jwt.ensure_key(path)
    return path


@pytest.fixture
async def api(certificates: Certificates, key: Path) -> AsyncIterator[Api]:
    async with serving(MemoryStore(), certificates, service_account_key=key) as api:
        await api.create(ACCOUNTS, {"metadata": {"name": "builder"}})
        await api.create(ACCOUNTS, {"metadata": {"name": "default"}})
        yield api


async def ask(api: Api, name: str = "builder", **spec: Any) -> Answer:
    return await api.create(f"{ACCOUNTS}/{name}/token", {"spec": spec})


async def token_of(api: Api, name: str = "builder", **spec: Any) -> str:
    answer = await ask(api, name, **spec)
    assert answer.code == 201, answer.body
    return str(answer.body["status"]["token"])


async def review(api: Api, token: str, *audiences: str) -> dict[str, Any]:
    answer = await api.create(REVIEWS, {"spec": {"token": token, "audiences": list(audiences)}})
    assert answer.code == 201, answer.body
    status: dict[str, Any] = answer.body["status"]
    return status


@contextlib.asynccontextmanager
async def as_bearer(api: Api, certificates: Certificates, token: str) -> AsyncIterator[aiohttp.ClientSession]:
    import ssl

    context = ssl.create_default_context(cafile=str(certificates.authority))
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), headers=headers) as session:
        yield session


async def test_a_token_says_what_kubernetes_tokens_say(api: Api) -> None:
    answer = await ask(api)
    body = answer.body
    assert (answer.code, body["kind"], body["apiVersion"]) == (201, "TokenRequest", "authentication.k8s.io/v1")
    assert body["spec"] == {"audiences": [ISSUER], "expirationSeconds": 3600}
    header, claims = jwt.unverified(body["status"]["token"])
    account = (await api.get(f"{ACCOUNTS}/builder")).body["metadata"]
    assert header["alg"] == "RS256"
    assert claims["iss"] == ISSUER
    assert claims["aud"] == [ISSUER]
    assert claims["sub"] == BUILDER
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["kubernetes.io"] == {
        "namespace": "default", "serviceaccount": {"name": "builder", "uid": account["uid"]},
    }  # fmt: skip


async def test_who_shows_a_token_is_its_account(api: Api, certificates: Certificates) -> None:
    token = await token_of(api)
    async with (
        as_bearer(api, certificates, token) as session,
        session.post(api.address + WHOAMI, json={"kind": "SelfSubjectReview"}) as response,
    ):
        info = (await response.json())["status"]["userInfo"]
    assert response.status == 201
    assert info["username"] == BUILDER
    assert info["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert info["uid"] == (await api.get(f"{ACCOUNTS}/builder")).body["metadata"]["uid"]
    assert info["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


@pytest.mark.behaviour("ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview")
async def test_a_review_tells_whose_token_it_is_and_for_whom(api: Api) -> None:
    token = await token_of(api, audiences=["vault", ISSUER])
    status = await review(api, token)
    assert (status["authenticated"], status["user"]["username"], status["audiences"]) == (True, BUILDER, [ISSUER])
    assert (await review(api, token, "vault", "other"))["audiences"] == ["vault"]
    refused = await review(api, token, "other")
    assert not refused.get("authenticated")
    assert "is invalid for the target audiences" in refused["error"]


async def test_a_token_for_others_is_not_good_here(api: Api, certificates: Certificates) -> None:
    token = await token_of(api, audiences=["vault"])
    async with as_bearer(api, certificates, token) as session, session.get(api.address + ACCOUNTS) as response:
        assert response.status == 401
        assert (await response.json())["message"] == "Unauthorized"


async def test_a_token_ends_with_its_account_even_if_another_gets_the_name(api: Api) -> None:
    token = await token_of(api)
    assert (await review(api, token))["authenticated"]
    await api.delete(f"{ACCOUNTS}/builder")
    assert "service account token has been invalidated" in (await review(api, token))["error"]
    await api.create(ACCOUNTS, {"metadata": {"name": "builder"}})
    assert "service account token has been invalidated" in (await review(api, token))["error"]


async def test_a_bound_token_names_its_pod_and_node_and_ends_with_the_pod(api: Api) -> None:
    node = (await api.create("/api/v1/nodes", {"metadata": {"name": "n1"}})).body["metadata"]
    made = await api.create("/api/v1/namespaces/default/pods", pod("web", serviceAccountName="builder", nodeName="n1"))
    uid = made.body["metadata"]["uid"]
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": uid}
    token = await token_of(api, boundObjectRef=reference)
    extra = (await review(api, token))["user"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["web"]
    assert extra["authentication.kubernetes.io/pod-uid"] == [uid]
    assert extra["authentication.kubernetes.io/node-name"] == ["n1"]
    assert extra["authentication.kubernetes.io/node-uid"] == [node["uid"]]
    await api.delete("/api/v1/namespaces/default/pods/web", {"gracePeriodSeconds": 0})
    assert "invalidated" in (await review(api, token))["error"]


@pytest.mark.parametrize("kind", ["Secret", "Node"])
async def test_a_token_may_be_bound_to_a_secret_or_a_node(api: Api, kind: str) -> None:
    path = "/api/v1/nodes" if kind == "Node" else "/api/v1/namespaces/default/secrets"
    await api.create(path, {"metadata": {"name": "it"}})
    token = await token_of(api, boundObjectRef={"kind": kind, "apiVersion": "v1", "name": "it"})
    assert (await review(api, token))["authenticated"]
    await api.delete(f"{path}/it")
    assert "invalidated" in (await review(api, token))["error"]


async def test_what_cannot_be_bound_is_refused_in_kubernetes_words(api: Api) -> None:
    await api.create("/api/v1/namespaces/default/pods", pod("other"))
    wrong = await ask(api, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "other"})
    assert (wrong.code, wrong.body["message"]) == (
        400,
        'cannot bind token for serviceaccount "builder" to pod running with different serviceaccount name.',
    )
    missing = await ask(api, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "none"})
    assert (missing.code, missing.body["message"]) == (404, 'pods "none" not found')
    kind = await ask(api, boundObjectRef={"kind": "Deployment", "apiVersion": "apps/v1", "name": "x"})
    assert (kind.code, kind.body["message"]) == (400, "cannot bind token to object of type apps/v1, Kind=Deployment")
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "other", "uid": "old"}
    stale = await ask(api, "default", boundObjectRef=reference)
    assert stale.code == 409
    assert "the UID in the bound object reference (old) does not match the UID in record." in stale.body["message"]


@pytest.mark.parametrize(
    ("seconds", "problem"),
    [
        (599, "may not specify a duration less than 10 minutes"),
        ((1 << 32) + 1, "may not specify a duration larger than 2^32 seconds"),
    ],
)
async def test_a_lifetime_has_bounds(api: Api, seconds: int, problem: str) -> None:
    answer = await ask(api, expirationSeconds=seconds)
    assert answer.code == 422
    assert answer.body["details"]["causes"][0]["field"] == "spec.expirationSeconds"
    assert problem in answer.body["message"]


async def test_pods_tokens_for_this_server_stay_good_for_a_year(api: Api) -> None:
    await api.create("/api/v1/namespaces/default/pods", pod("web"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "web"}
    token = await token_of(api, "default", expirationSeconds=3607, boundObjectRef=reference)
    _, claims = jwt.unverified(token)
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] - claims["iat"] == 3607


async def test_a_longest_lifetime_shortens_with_a_warning(certificates: Certificates, key: Path) -> None:
    settings = {"service_account_key": key, "service_account_longest_seconds": 7200}
    async with serving(MemoryStore(), certificates, **settings) as api:
        await api.create(ACCOUNTS, {"metadata": {"name": "builder"}})
        answer = await ask(api, expirationSeconds=90000)
        assert answer.body["spec"]["expirationSeconds"] == 7200
        assert "shortened to 7200 seconds" in answer.headers["Warning"]


async def test_old_keys_and_issuers_stay_good_after_rotation(
    certificates: Certificates, key: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.key"
    jwt.ensure_key(new)
    store = MemoryStore()
    async with serving(store, certificates, service_account_key=key) as api:
        await api.create(ACCOUNTS, {"metadata": {"name": "builder"}})
        old_token = await token_of(api)
    settings: dict[str, Any] = {
        "service_account_key": new,
        "service_account_issuer": "https://new.example",
        "api_audiences": ("https://new.example", ISSUER),
    }
    async with serving(store, certificates, **settings) as api:
        assert not (await review(api, old_token)).get("authenticated")
    settings |= {"service_account_public_keys": (key,), "service_account_old_issuers": (ISSUER,)}
    async with serving(store, certificates, **settings) as api:
        assert (await review(api, old_token))["authenticated"]
        assert (await review(api, await token_of(api)))["authenticated"]
        assert len((await api.get("/openid/v1/jwks")).body.split('"kid"')) == 3


async def test_others_find_the_keys_and_check_the_token_themselves(api: Api) -> None:
    found = (await api.get("/.well-known/openid-configuration")).body
    assert found["issuer"] == ISSUER
    assert found["jwks_uri"] == f"{api.address}/openid/v1/jwks"
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    answer = await api.get("/openid/v1/jwks")
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    import orjson

    keys = jwt.from_jwks(orjson.loads(answer.body))
    assert jwt.verify(await token_of(api), keys)["sub"] == BUILDER


async def test_without_a_key_nothing_is_issued(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates) as api:
        await api.create(ACCOUNTS, {"metadata": {"name": "builder"}})
        assert (await ask(api)).code == 500
        assert (await api.get("/openid/v1/jwks")).code == 404


class Calendar(RealClock):
    """The machine's clock, some days later."""

    days = 0

    def time(self) -> float:
        return super().time() + self.days * 86_400

    @property
    def today(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.time()))


SECRETS = "/api/v1/namespaces/default/secrets"


async def token_in_secret(api: Api, key: Path, name: str = "old") -> str:
    """A token as Kubernetes before 1.24 made it unasked, in its Secret."""
    account = (await api.get(f"{ACCOUNTS}/builder")).body
    prefix = "kubernetes.io/serviceaccount/"
    claims = {
        "iss": "kubernetes/serviceaccount", "sub": BUILDER, f"{prefix}namespace": "default",
        f"{prefix}secret.name": name, f"{prefix}service-account.name": "builder",
        f"{prefix}service-account.uid": account["metadata"]["uid"],
    }  # fmt: skip
    token = jwt.sign(jwt.load_signing_key(key), claims)
    metadata = {"name": name, "annotations": {"kubernetes.io/service-account.name": "builder"}}
    secret = {"metadata": metadata, "type": "kubernetes.io/service-account-token", "stringData": {"token": token}}
    assert (await api.create(SECRETS, secret)).code == 201
    return token


async def labels(api: Api, name: str = "old") -> dict[str, str]:
    return dict((await api.get(f"{SECRETS}/{name}")).body["metadata"].get("labels") or {})


async def test_each_days_use_of_a_token_in_a_secret_is_written_on_it_once(
    certificates: Certificates, key: Path
) -> None:
    clock = Calendar()
    async with serving(MemoryStore(), certificates, clock=clock, service_account_key=key) as api:
        await api.create(ACCOUNTS, {"metadata": {"name": "builder"}})
        token = await token_in_secret(api, key)
        tracking = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking"
        assert (await api.get(tracking)).body["data"] == {"since": clock.today}
        for _ in range(2):
            async with as_bearer(api, certificates, token) as session:
                for _ in range(3):
                    async with session.get(f"{api.address}{ACCOUNTS}") as answer:
                        assert answer.status == 403 and "Warning" not in answer.headers
            assert await labels(api) == {LAST_USED: clock.today}
            used = (await api.get(f"{SECRETS}/old")).version
            assert (await review(api, token))["authenticated"]
            assert (await api.get(f"{SECRETS}/old")).version == used
            clock.days += 2
        metrics = (await api.get("/metrics")).text
        assert "serviceaccount_legacy_manual_token_uses_total 8.0" in metrics


async def test_a_marked_token_is_refused_until_the_mark_is_taken_off(
    api: Api, certificates: Certificates, key: Path
) -> None:
    token = await token_in_secret(api, key)
    mark = "kubernetes.io/legacy-token-invalid-since"
    await api.patch(f"{ACCOUNTS}/builder", {"secrets": [{"name": "old"}]})
    async with as_bearer(api, certificates, token) as session:
        async with session.get(f"{api.address}{ACCOUNTS}") as answer:
            assert answer.headers["Warning"].startswith('299 - "Use tokens from the TokenRequest API or manually')
        await api.patch(f"{SECRETS}/old", {"metadata": {"labels": {mark: "2026-01-31", LAST_USED: None}}})
        async with session.get(f"{api.address}{ACCOUNTS}") as answer:
            assert answer.status == 401
        assert LAST_USED in await labels(api), "that somebody still wants to use it is written down"
        assert "has been marked invalid. Use tokens from the TokenRequest API" in (await review(api, token))["error"]
        await api.patch(f"{SECRETS}/old", {"metadata": {"labels": {mark: None}}})
        assert (await review(api, token))["user"]["username"] == BUILDER
        await api.patch(f"{SECRETS}/old", {"data": {"token": ""}})
        assert "invalidated" in (await review(api, token))["error"]
