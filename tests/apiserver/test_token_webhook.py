"""A webhook is asked about tokens that nobody else knows, and not more often than needed."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.apiserver.serving import Certificates, serving

from kontinuum.apiserver.authn.assemble import CredentialsBroken
from kontinuum.apiserver.authn.port import BadCredential
from kontinuum.apiserver.authn.remembering import RememberingTokens
from kontinuum.apiserver.authn.webhook import WebhookTokens
from kontinuum.client import kubeconfig
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.store.memory.store import MemoryStore

JANE = {"username": "jane", "uid": "7", "groups": ["dev"], "extra": {"Example.com/Tenant": ["blue"]}}
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


class Impatient(RealClock):
    """Sleeping takes no time; ``ahead`` may be set."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        self.ahead += seconds


@dataclass
class Webhook:
    authority: Authority
    port: int = 0
    statuses: dict[str, Any] = field(default_factory=lambda: {"good": {"authenticated": True, "user": JANE}})
    """What it says of each token; of all others that they are not authenticated."""
    failures: list[int] = field(default_factory=list)
    """Codes that it answers with first."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)

    async def review(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.credentials.append(request.headers.get("Authorization", ""))
        if self.failures:
            return web.Response(status=self.failures.pop(0), text="not now")
        status = self.statuses.get(body["spec"]["token"], {"authenticated": False})
        return web.json_response({**body, "status": status})

    def kubeconfig(self, directory: Path, **user: Any) -> Path:
        server = f"https://localhost:{self.port}/review"
        cluster = {"server": server, "certificate-authority": str(self.authority.certificate)}
        file = directory / "webhook.yaml"
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1", "kind": "Config", "current-context": "w",
                    "clusters": [{"name": "w", "cluster": cluster}], "users": [{"name": "u", "user": user}],
                    "contexts": [{"name": "w", "context": {"cluster": "w", "user": "u"}}],
                }
            )
        )  # fmt: skip
        return file


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[Webhook]:
    made = Webhook(Authority.ensure(tmp_path / "webhook", RealClock(), name="webhook"))
    pair = made.authority.ensure_server("server", common_name="webhook", hosts=["localhost"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    application = web.Application()
    application.router.add_post("/review", made.review)
    runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def asking(webhook: Webhook, directory: Path, clock: Any = None, **user: Any) -> AsyncIterator[WebhookTokens]:
    connection = kubeconfig.load(webhook.kubeconfig(directory, **user))
    made = WebhookTokens(connection, clock or Impatient(), api_audiences=("api", "other-api"))
    try:
        yield made
    finally:
        await made.close()


async def test_whom_the_webhook_names_is_let_in(webhook: Webhook, certificates: Certificates, tmp_path: Path) -> None:
    async with serving(MemoryStore(), certificates, token_webhook_config=webhook.kubeconfig(tmp_path)) as api:
        good = (await api.create(REVIEWS, {"spec": {"token": "good"}})).body["status"]
        assert good["authenticated"] and good["user"]["username"] == "jane" and good["user"]["uid"] == "7"
        assert good["user"]["groups"] == ["dev", "system:authenticated"]
        assert good["user"]["extra"] == {"example.com/tenant": ["blue"]}
        bad = (await api.create(REVIEWS, {"spec": {"token": "bad"}})).body["status"]
        assert not bad.get("authenticated") and "invalid bearer token" in bad["error"]
        for token in ("good", "bad"):
            await api.create(REVIEWS, {"spec": {"token": token}})
        assert [one["spec"]["token"] for one in webhook.asked] == ["good", "bad"], "answers are remembered"
        assert webhook.asked[0]["apiVersion"] == "authentication.k8s.io/v1"


async def test_an_answer_is_remembered_for_its_time_and_an_error_never(webhook: Webhook, tmp_path: Path) -> None:
    clock = Impatient()
    webhook.statuses["broken"] = {"authenticated": False, "error": "the database is away"}
    async with asking(webhook, tmp_path, clock) as tokens:
        remembered = RememberingTokens(tokens, clock, good_seconds=120, bad_seconds=120)
        for ahead, times in ((0, 1), (119, 1), (121, 2)):
            clock.ahead = ahead
            found = await remembered.authenticate("good", ("api",))
            assert found is not None and found.user.name == "jane"
            assert len(webhook.asked) == times
        # Another audience is another question.
        await remembered.authenticate("good", ("other-api",))
        assert len(webhook.asked) == 3
        for times in (4, 5):
            with pytest.raises(BadCredential, match="the database is away"):
                await remembered.authenticate("broken", ("api",))
            assert len(webhook.asked) == times


@pytest.mark.parametrize(
    ("told", "asked", "agreed"),
    [
        (None, ("api",), ("api",)),
        (None, ("third",), None),
        (["api"], ("api", "other-api"), ("api",)),
        (["third"], ("api",), None),
        (["third"], ("third",), ("third",)),
        (["third"], (), ()),
    ],
)
async def test_the_webhook_says_whom_a_token_is_meant_for(
    webhook: Webhook, tmp_path: Path, told: Any, asked: tuple[str, ...], agreed: tuple[str, ...] | None
) -> None:
    webhook.statuses["good"] |= {"audiences": told} if told else {}
    async with asking(webhook, tmp_path) as tokens:
        found = await tokens.authenticate("good", asked)
        assert (found.audiences if found is not None else None) == agreed
        assert webhook.asked[0]["spec"].get("audiences", []) == list(asked)


async def test_a_webhook_that_is_busy_is_asked_again(webhook: Webhook, tmp_path: Path) -> None:
    async with asking(webhook, tmp_path) as tokens:
        webhook.failures = [500, 429, 503]
        found = await tokens.authenticate("good", ("api",))
        assert found is not None and len(webhook.asked) == 4
        webhook.failures = [403]
        with pytest.raises(BadCredential, match="asking the token webhook: 403 not now"):
            await tokens.authenticate("good", ("api",))
        assert len(webhook.asked) == 5
        webhook.failures = [500] * 9
        with pytest.raises(BadCredential, match="asking the token webhook: 500"):
            await tokens.authenticate("good", ("api",))
        assert len(webhook.asked) == 10


@pytest.mark.parametrize(
    "status",
    [
        None,
        [],
        {},
        {"authenticated": "yes"},
        {"authenticated": 1, "user": JANE},
        {"user": JANE},
        {"authenticated": True},
        {"authenticated": True, "user": "jane"},
        {"authenticated": True, "user": {**JANE, "groups": 7}},
    ],
)
async def test_anything_but_a_clear_yes_is_a_no(webhook: Webhook, tmp_path: Path, status: Any) -> None:
    webhook.statuses["odd"] = status
    async with asking(webhook, tmp_path) as tokens:
        found = None
        with contextlib.suppress(BadCredential):
            found = await tokens.authenticate("odd", ("api",))
        assert found is None


async def test_we_show_the_webhook_who_we_are(webhook: Webhook, tmp_path: Path) -> None:
    async with asking(webhook, tmp_path, token="ours") as tokens:
        await tokens.authenticate("good", ("api",))
    secret = tmp_path / "token"
    secret.write_text("from-file\n")
    async with asking(webhook, tmp_path, tokenFile=str(secret)) as tokens:
        await tokens.authenticate("good", ("api",))
    assert webhook.credentials == ["Bearer ours", "Bearer from-file"]


async def test_a_webhook_that_cannot_be_reached_lets_nobody_in(webhook: Webhook, tmp_path: Path) -> None:
    webhook.port += 1
    async with asking(webhook, tmp_path) as tokens:
        with pytest.raises(BadCredential, match="asking the token webhook: "):
            await tokens.authenticate("good", ("api",))


async def test_a_kubeconfig_that_cannot_be_used_stops_the_server(certificates: Certificates, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("{}")
    with pytest.raises(CredentialsBroken, match="the token webhook's configuration"):
        async with serving(MemoryStore(), certificates, token_webhook_config=tmp_path / "bad.yaml"):
            raise AssertionError("it started")
