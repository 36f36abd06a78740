"""Tokens of an OpenID Connect provider say who it is; nothing that anybody else could have made does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from tests.apiserver.issuing import AUDIENCE, CURVES, RSA_KEYS, Provider, providing
from tests.apiserver.serving import Api, Certificates, serving

from kontinuum.apiserver.authn.issuers import following, keysets
from kontinuum.apiserver.authn.issuers.following import ConfiguredIssuers
from kontinuum.apiserver.authn.port import BadCredential
from kontinuum.foundation.clock import RealClock
from kontinuum.store.memory.store import MemoryStore

SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
Make = Callable[[Provider], str]


class Hurrying(RealClock):
    """A clock that can be set ahead."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def configured(provider: Provider, issuer: Any = None, **more: Any) -> dict[str, Any]:
    described = {
        "url": provider.url,
        "audiences": [AUDIENCE],
        "certificateAuthority": provider.authority.certificate.read_text(),
        **(issuer or {}),
    }
    mappings = {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": "oidc:"}}
    one = {"issuer": described, "claimMappings": mappings, **more}
    return {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [one]}


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with providing(tmp_path / "provider") as provider:
        yield provider


@contextlib.asynccontextmanager
async def issuers(provider: Provider, tmp_path: Path, document: Any = None, clock: Any = None) -> AsyncIterator[Any]:
    """The authenticator alone, from the file on."""
    file = tmp_path / "authentication.yaml"
    file.write_text(yaml.safe_dump(document or configured(provider)))
    made = ConfiguredIssuers(file, clock or RealClock(), api_audiences=("api",), disallowed=("https://own",))
    try:
        yield made
    finally:
        await made.close()


async def problem(made: ConfiguredIssuers, token: str) -> str:
    with pytest.raises(BadCredential) as refused:
        found = await made.authenticate(token, ("api",))
        raise AssertionError(f"it is taken for {found}")
    return str(refused.value)


@dataclass
class Asking:
    """Requests with a token, or with none."""

    session: aiohttp.ClientSession
    address: str
    admin: Api

    async def whoami(self, token: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.post(self.address + SELF, json={}, headers=headers) as answer:
            body = await answer.json()
            return answer.status, body.get("status", {}).get("userInfo") if answer.status == 201 else body

    async def code(self, path: str) -> int:
        async with self.session.get(self.address + path) as answer:
            return answer.status


@contextlib.asynccontextmanager
async def asking(certificates: Certificates, **settings: Any) -> AsyncIterator[Asking]:
    async with serving(MemoryStore(), certificates, **settings) as api:
        tls = ssl.create_default_context(cafile=str(certificates.authority))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
            yield Asking(session, api.address, api)


async def test_a_token_s_user_may_be_seen_reviewed_and_authorized(
    provider: Provider, certificates: Certificates, tmp_path: Path
) -> None:
    file = tmp_path / "authentication.yaml"
    file.write_text(yaml.safe_dump(configured(provider)))
    async with asking(certificates, authentication_config=file) as server:
        token = provider.token(groups=["dev", "ops"])
        code, user = await server.whoami(token)
        assert (code, user["username"]) == (201, "oidc:jane")
        assert user["groups"] == ["oidc:dev", "oidc:ops", "system:authenticated"]
        review = await server.admin.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
        assert review.body["status"]["authenticated"] and review.body["status"]["user"]["username"] == "oidc:jane"
        other = {"spec": {"token": token, "audiences": ["somebody-else"]}}
        review = await server.admin.create("/apis/authentication.k8s.io/v1/tokenreviews", other)
        assert not review.body["status"].get("authenticated")
        bad = await server.whoami(provider.token(aud="somebody-else"))
        assert bad[0] == 401 and bad[1]["message"] == "Unauthorized"
        review = await server.admin.create(
            "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": provider.token(aud="somebody-else")}}
        )
        assert 'oidc: expected audience in ["kontinuum"] got ["somebody-else"]' in review.body["status"]["error"]


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"])
async def test_every_signature_by_a_key_pair_is_understood(provider: Provider, tmp_path: Path, algorithm: str) -> None:
    if algorithm in CURVES:
        provider.keys = {"first": ec.generate_private_key(CURVES[algorithm])}
    async with issuers(provider, tmp_path) as made:
        found = await made.authenticate(provider.token(algorithm=algorithm), ("api",))
        assert found.user.name == "oidc:jane" and found.audiences == ("api",)


def unsigned(provider: Provider) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, provider.claims())
    return ".".join(_encoded(orjson.dumps(one)) for one in parts) + "."


def signed_with_the_public_key(provider: Provider) -> str:
    """HS256 with what everybody knows as the secret: libraries that believe the header fall for it."""
    parts = ({"alg": "HS256", "typ": "JWT", "kid": "first"}, provider.claims())
    signed = ".".join(_encoded(orjson.dumps(one)) for one in parts)
    mac = hmac.digest(provider.public_pem(), signed.encode(), hashlib.sha256)
    return f"{signed}.{_encoded(mac)}"


def another_header(provider: Provider) -> str:
    """A good signature, under a header that names another algorithm."""
    header, payload, signature = provider.token().split(".")
    changed = {**orjson.loads(base64.urlsafe_b64decode(header + "==")), "alg": "PS256"}
    return f"{_encoded(orjson.dumps(changed))}.{payload}.{signature}"


def other_claims(provider: Provider) -> str:
    header, _, signature = provider.token().split(".")
    return f"{header}.{_encoded(orjson.dumps(provider.claims(sub='root')))}.{signature}"


def own_key_in_the_header(provider: Provider) -> str:
    """The token brings the key along that it is signed with (``jwk``)."""
    import jwt
    from jwt.algorithms import RSAAlgorithm

    brought = RSAAlgorithm.to_jwk(RSA_KEYS[1].public_key(), as_dict=True)
    return jwt.encode(provider.claims(), RSA_KEYS[1], algorithm="RS256", headers={"jwk": brought, "kid": "first"})


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "make",
    [
        unsigned,
        signed_with_the_public_key,
        another_header,
        other_claims,
        own_key_in_the_header,
        lambda provider: provider.token(key=RSA_KEYS[1]),
        lambda provider: provider.token(key=RSA_KEYS[1], kid="unknown"),
        lambda provider: provider.token(key=RSA_KEYS[1], kid=None),
    ],
)
async def test_what_the_provider_has_not_signed_is_nobody_s(provider: Provider, tmp_path: Path, make: Make) -> None:
    async with issuers(provider, tmp_path) as made:
        assert "oidc: verify token: the token's signature is not by a known key" in await problem(made, make(provider))
        assert await made.authenticate(provider.token(), ("api",)) is not None


async def test_a_token_is_verified_with_the_key_that_it_names_and_no_other(provider: Provider, tmp_path: Path) -> None:
    provider.keys["second"] = RSA_KEYS[1]
    async with issuers(provider, tmp_path) as made:
        assert "not by a known key" in await problem(made, provider.token(key=RSA_KEYS[1], kid="first"))
        assert "not by a known key" in await problem(made, provider.token(key=RSA_KEYS[0], kid="second"))
        for token in (provider.token(kid="second"), provider.token(key=RSA_KEYS[1], kid=None)):
            assert (await made.authenticate(token, ("api",))).user.name == "oidc:jane"


NOW = time.time()


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": NOW - 1}, "token is expired"),
        ({"exp": None}, "token is expired"),
        ({"exp": "tomorrow"}, "token is expired"),
        ({"nbf": NOW + 3600}, "before the nbf (not before) time"),
        ({"nbf": "tomorrow"}, "before the nbf (not before) time"),
        ({"aud": "other"}, 'expected audience in ["kontinuum"] got ["other"]'),
        ({"aud": ["other", "another"]}, 'got ["other" "another"]'),
        ({"aud": None}, "got []"),
        ({"aud": {"kontinuum": 1}}, "got []"),
        ({"sub": None}, 'parse username claims "sub": claim not present'),
        ({"sub": 7}, 'parse username claims "sub": expected a string'),
        ({"groups": {"a": 1}}, 'parse groups claim "groups"'),
        ({"groups": ["a", 1]}, 'parse groups claim "groups"'),
    ],
)
async def test_what_the_provider_has_signed_must_be_meant_for_us_and_for_now(
    provider: Provider, tmp_path: Path, claims: Any, why: str
) -> None:
    import jwt

    async with issuers(provider, tmp_path) as made:
        body = orjson.dumps(provider.claims(**claims))
        token = jwt.PyJWS().encode(body, RSA_KEYS[0], algorithm="RS256", headers={"kid": "first"})
        assert why in await problem(made, token)


async def test_a_clock_that_is_a_little_ahead_of_ours_is_forgiven(provider: Provider, tmp_path: Path) -> None:
    async with issuers(provider, tmp_path) as made:
        assert await made.authenticate(provider.token(nbf=int(time.time()) + 120), ("api",)) is not None


async def test_a_token_ends_although_it_was_good_a_moment_ago(provider: Provider, tmp_path: Path) -> None:
    clock = Hurrying()
    async with issuers(provider, tmp_path, clock=clock) as made:
        token = provider.token()
        assert await made.authenticate(token, ("api",)) is not None
        clock.ahead = 700
        assert "token is expired" in await problem(made, token)


async def test_keys_rotate(provider: Provider, tmp_path: Path) -> None:
    """A new key is fetched when a token names it; one that was taken back is forgotten within the hour."""
    clock = Hurrying()
    async with issuers(provider, tmp_path, clock=clock) as made:
        assert await made.authenticate(provider.token(), ("api",)) is not None
        provider.keys["next"] = RSA_KEYS[1]
        token = provider.token(kid="next")
        await problem(made, token)
        clock.ahead += keysets.AGAIN_SECONDS + 1
        assert await made.authenticate(token, ("api",)) is not None
        old = provider.token()
        del provider.keys["first"]
        assert await made.authenticate(old, ("api",)) is not None
        clock.ahead += keysets.FRESH_SECONDS + 1
        assert "not by a known key" in await problem(made, provider.token(key=RSA_KEYS[0], kid="first", exp=2**40))


async def test_unknown_keys_do_not_make_us_ask_the_provider_each_time(provider: Provider, tmp_path: Path) -> None:
    async with issuers(provider, tmp_path) as made:
        for number in range(20):
            await problem(made, provider.token(key=RSA_KEYS[1], kid=f"unknown-{number}"))
        assert provider.asked.count("keys") == 1


async def test_a_provider_that_is_away_is_asked_again_later(provider: Provider, tmp_path: Path) -> None:
    clock = Hurrying()
    provider.is_away = True
    async with issuers(provider, tmp_path, clock=clock) as made:
        for _ in range(5):
            why = await problem(made, provider.token())
            assert f'oidc: authenticator for issuer "{provider.url}" is not initialized' in why
        assert provider.asked == ["discovery"]
        provider.is_away = False
        clock.ahead += keysets.AGAIN_SECONDS + 1
        assert await made.authenticate(provider.token(), ("api",)) is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"told_issuer": "https://somebody.else"}, "did not match the issuer URL returned by provider"),
        ({"jwks_uri": "http://localhost:1/keys"}, "jwks_uri is no https URL"),
    ],
)
async def test_a_provider_that_speaks_for_another_is_not_believed(
    provider: Provider, tmp_path: Path, change: Any, why: str
) -> None:
    for name, value in change.items():
        setattr(provider, name, value)
    async with issuers(provider, tmp_path) as made:
        assert why in await problem(made, provider.token())


async def test_a_provider_without_the_right_certificate_is_not_believed(provider: Provider, tmp_path: Path) -> None:
    document = configured(provider, {"certificateAuthority": ""})
    async with issuers(provider, tmp_path, document) as made:
        assert "certificate verify failed" in await problem(made, provider.token())


async def test_keys_may_be_described_elsewhere(provider: Provider, tmp_path: Path) -> None:
    """The issuer's own URL leads nowhere from here; discoveryURL does."""
    real = provider.url
    provider.url = provider.told_issuer = "https://issuer.example.com"
    provider.jwks_uri = f"{real}/keys"
    document = configured(provider, {"discoveryURL": f"{real}/elsewhere"})
    async with issuers(provider, tmp_path, document) as made:
        assert await made.authenticate(provider.token(), ("api",)) is not None


async def test_expressions_make_the_user(provider: Provider, tmp_path: Path) -> None:
    document = configured(
        provider,
        claimMappings={
            "username": {"expression": "claims.email_verified ? 'corp:' + claims.email : claims.sub"},
            "groups": {"expression": "claims.roles.split(',')"},
            "uid": {"claim": "oid"},
            "extra": [
                {"key": "example.com/tenant", "valueExpression": "claims.tenant"},
                {"key": "example.com/none", "valueExpression": "claims.?nothing.orValue([])"},
            ],
        },
        claimValidationRules=[
            {"claim": "hd", "requiredValue": "example.com"},
            {"expression": "claims.exp - claims.iat <= 3600", "message": "it lives too long"},
        ],
        userValidationRules=[
            {"expression": "!user.username.startsWith('system:')", "message": "that is reserved"},
            {"expression": "user.groups.all(group, !group.startsWith('system:'))"},
        ],
    )
    good = {
        "email": "jane@example.com", "email_verified": True, "roles": "dev,ops", "oid": "7", "tenant": "blue",
        "hd": "example.com",
    }  # fmt: skip
    async with issuers(provider, tmp_path, document) as made:
        user = (await made.authenticate(provider.token(**good), ("api",))).user
        assert (user.name, user.uid) == ("corp:jane@example.com", "7")
        assert user.groups == ("dev", "ops", "system:authenticated")
        assert user.extra == {"example.com/tenant": ("blue",)}
        for change, why in (
            ({"hd": "other.com"}, "required claim hd value does not match. Got = other.com, want = example.com"),
            ({"hd": None}, "required claim hd not present in ID token"),
            ({"exp": int(time.time()) + 7200}, "failed: it lives too long"),
            ({"email_verified": False, "sub": "system:admin"}, "failed: that is reserved"),
            ({"roles": "system:masters"}, "validation expression 'user.groups.all("),
            ({"roles": None}, "error evaluating group claim expression: no such key: roles"),
            ({"tenant": 7}, "error evaluating extra claim expression"),
            ({"email_verified": False, "sub": ""}, "empty username via CEL expression is not allowed"),
        ):
            assert why in await problem(made, provider.token(**{**good, **change}))


async def test_an_address_that_nobody_has_verified_is_no_name(provider: Provider, tmp_path: Path) -> None:
    document = configured(provider, claimMappings={"username": {"claim": "email", "prefix": ""}})
    async with issuers(provider, tmp_path, document) as made:
        for verified in (False, "true"):
            token = provider.token(email="jane@example.com", email_verified=verified)
            assert "oidc: email not verified" in await problem(made, token)
        for more in ({"email_verified": True}, {}):
            found = await made.authenticate(provider.token(email="jane@example.com", **more), ("api",))
            assert found.user.name == "jane@example.com"


async def test_the_token_of_an_issuer_that_is_not_configured_is_none_of_ours(
    provider: Provider, tmp_path: Path
) -> None:
    async with issuers(provider, tmp_path) as made:
        for token in (provider.token(iss="https://other"), provider.token(iss=None), "abc", "a.b.c", ""):
            assert await made.authenticate(token, ("api",)) is None
        assert not provider.asked


async def test_the_file_is_read_again_when_it_changes(provider: Provider, tmp_path: Path) -> None:
    file = tmp_path / "authentication.yaml"
    async with issuers(provider, tmp_path) as made:
        token = provider.token()
        assert (await made.authenticate(token, ("api",))).user.name == "oidc:jane"
        assert not made.look_again()
        file.write_text("kind: Nonsense")
        assert not made.look_again()
        assert (await made.authenticate(token, ("api",))).user.name == "oidc:jane"
        mappings = {"username": {"claim": "sub", "prefix": "new:"}}
        file.write_text(yaml.safe_dump(configured(provider, claimMappings=mappings)))
        assert made.look_again()
        assert (await made.authenticate(token, ("api",))).user.name == "new:jane"
        file.write_text(yaml.safe_dump({**configured(provider), "jwt": []}))
        assert made.look_again()
        assert await made.authenticate(token, ("api",)) is None


async def test_the_file_says_where_nobody_in_particular_may_ask_and_may_say_otherwise_later(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "CHECK_SECONDS", 0.01)
    file = tmp_path / "authentication.yaml"
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
    file.write_text(yaml.safe_dump(document))
    said: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [200, 200, 401]),
        ({"anonymous": {"enabled": False}}, [401, 401, 401]),
        ({"anonymous": {"enabled": True}}, [200, 200, 403]),
        ({"anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]}}, [200, 401, 401]),
        ({}, [200, 200, 401]),
    ]
    async with asking(certificates, authentication_config=file) as server:
        for more, codes in said:
            (tmp_path / "new.yaml").write_text(yaml.safe_dump(document | more))
            (tmp_path / "new.yaml").rename(file)
            async with asyncio.timeout(60):
                while [await server.code(path) for path in ("/livez", "/version", "/api/v1/pods")] != codes:
                    await asyncio.sleep(0.01)
