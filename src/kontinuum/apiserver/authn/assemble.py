"""The authenticators that the settings ask for, in Kubernetes' order; and the issuer of service account tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kontinuum.api.kubernetes.bootstrap import INFO_PATH
from kontinuum.apiserver.authn.authenticator import Authenticator, Tokens
from kontinuum.apiserver.authn.bootstrap_tokens import BootstrapTokens
from kontinuum.apiserver.authn.certificates import CertificateAuthenticator, PeerCertificates, load_authorities
from kontinuum.apiserver.authn.front_proxy import FrontProxyAuthenticator
from kontinuum.apiserver.authn.issuers.configuration import Anonymous, BadConfiguration
from kontinuum.apiserver.authn.issuers.following import ConfiguredIssuers
from kontinuum.apiserver.authn.local import LocalTokens
from kontinuum.apiserver.authn.objects import Objects
from kontinuum.apiserver.authn.port import Audiences, RequestAuthenticator, TokenAuthenticator
from kontinuum.apiserver.authn.remembering import RememberingTokens
from kontinuum.apiserver.authn.serviceaccounts.authenticator import ServiceAccountTokens
from kontinuum.apiserver.authn.serviceaccounts.issuer import Issuer
from kontinuum.apiserver.authn.serviceaccounts.secret_tokens import Uses
from kontinuum.apiserver.authn.tokens import TokenFile
from kontinuum.apiserver.authn.webhook import WebhookTokens
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.client import kubeconfig
from kontinuum.client.errors import BadKubeconfig
from kontinuum.foundation import jwt
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Broken

PUBLIC_PATHS = frozenset(
    {"/healthz", "/livez", "/readyz", "/healthz/", "/livez/", "/readyz/", "/version", "/version/", INFO_PATH}
)


class CredentialsBroken(Broken):
    """A file that authentication needs cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, and who issues service accounts' tokens (None: nobody here)."""

    authenticate: Authenticator
    issuer: Issuer | None
    issuers: ConfiguredIssuers | None = None
    """Others whose tokens are good."""
    webhook: WebhookTokens | None = None
    uses: Uses | None = None
    """Of tokens that stand in Secrets; None: none is good here."""

    def works(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What has to run as long as the server does, by name."""
        return {"authentication configuration": self.issuers.run} if self.issuers is not None else {}

    async def close(self) -> None:
        """End every connection to issuers and webhooks."""
        for one in (self.issuers, self.webhook):
            if one is not None:
                await one.close()


def identity_of(settings: ServerSettings, clock: Clock, objects: Objects) -> Identity:
    """Raises CredentialsBroken, BadTokenFile, BadKey, OSError."""
    issuer = _issuer(settings, clock)
    audiences = tuple(settings.api_audiences) or (settings.service_account_issuer,)
    tokens: list[TokenAuthenticator] = []
    if settings.token_file is not None:
        tokens.append(TokenFile.load(settings.token_file))
    keys = [key for path in settings.service_account_public_keys for key in jwt.load_verifying_keys(path)]
    if issuer is not None:
        keys.insert(0, issuer.key.public)
    uses = None
    if keys:
        issuers = (settings.service_account_issuer, *settings.service_account_old_issuers)
        accounts = ServiceAccountTokens(objects, clock, keys=keys, issuers=issuers, audiences=audiences)
        tokens.append(accounts)
        uses = accounts.in_secrets.uses
    if settings.bootstrap_tokens:
        tokens.append(BootstrapTokens(objects, clock))
    others, webhook = _issuers(settings, clock, audiences), _webhook(settings, clock, audiences)
    if others is not None:
        tokens.append(others)
    if webhook is not None:
        seconds = settings.token_webhook_cache_seconds
        tokens.append(RememberingTokens(webhook, clock, good_seconds=seconds, bad_seconds=seconds))

    def anonymous_paths() -> frozenset[str] | None:
        return _anonymous_paths(settings, others.anonymous if others is not None else None)

    by_request = _by_request(settings, clock)
    authenticate = Authenticator(Tokens(tokens, audiences), by_request, anonymous_paths=anonymous_paths)
    return Identity(authenticate, issuer, others, webhook, uses)


def _issuers(settings: ServerSettings, clock: Clock, audiences: Audiences) -> ConfiguredIssuers | None:
    if settings.authentication_config is None:
        return None
    own = (settings.service_account_issuer, *settings.service_account_old_issuers)
    try:
        return ConfiguredIssuers(settings.authentication_config, clock, api_audiences=audiences, disallowed=own)
    except BadConfiguration as error:
        raise CredentialsBroken(str(error)) from error


def _webhook(settings: ServerSettings, clock: Clock, audiences: Audiences) -> WebhookTokens | None:
    if settings.token_webhook_config is None:
        return None
    try:
        return WebhookTokens(kubeconfig.load(settings.token_webhook_config), clock, api_audiences=audiences)
    except (BadKubeconfig, OSError, ValueError) as error:
        raise CredentialsBroken(f"the token webhook's configuration: {error}") from error


def _issuer(settings: ServerSettings, clock: Clock) -> Issuer | None:
    if settings.service_account_key is None:
        return None
    key = jwt.load_signing_key(settings.service_account_key)
    others = [one for path in settings.service_account_public_keys for one in jwt.load_verifying_keys(path)]
    return Issuer(
        key,
        clock,
        url=settings.service_account_issuer,
        audiences=tuple(settings.api_audiences) or (settings.service_account_issuer,),
        other_keys=others,
        longest_seconds=settings.service_account_longest_seconds,
        extends=settings.service_account_extends,
    )


def _by_request(settings: ServerSettings, clock: Clock) -> list[RequestAuthenticator]:
    try:
        proxies = load_authorities(settings.front_proxy_ca)
    except (OSError, ValueError) as error:
        raise CredentialsBroken(f"{settings.front_proxy_ca}: reading the front proxy's authorities: {error}") from error
    certificates = PeerCertificates(clock, proxies)
    found: list[RequestAuthenticator] = []
    if settings.socket_tokens is not None:
        found.append(LocalTokens(TokenFile.load(settings.socket_tokens)))
    if proxies:
        found.append(FrontProxyAuthenticator(certificates, settings.front_proxy_names))
    if settings.client_ca is not None:
        found.append(CertificateAuthenticator(certificates))
    return found


def _anonymous_paths(settings: ServerSettings, configured: Anonymous | None) -> frozenset[str] | None:
    """What nobody in particular may ask for, None being everything. The configuration file has the last word."""
    if configured is not None:
        if not configured.enabled:
            return frozenset()
        return frozenset(one.path for one in configured.conditions) if configured.conditions else None
    match settings.anonymous:
        case "always":
            return None
        case "health":
            return PUBLIC_PATHS
        case _:
            return frozenset()
