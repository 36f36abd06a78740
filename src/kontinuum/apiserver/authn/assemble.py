"""The authenticators that the settings ask for, in Kubernetes' order; and the issuer of service account tokens."""

from __future__ import annotations

from dataclasses import dataclass

from kontinuum.apiserver.authn.authenticator import Authenticator, Tokens
from kontinuum.apiserver.authn.bootstrap_tokens import BootstrapTokens
from kontinuum.apiserver.authn.certificates import CertificateAuthenticator, PeerCertificates, load_authorities
from kontinuum.apiserver.authn.front_proxy import FrontProxyAuthenticator
from kontinuum.apiserver.authn.objects import Objects
from kontinuum.apiserver.authn.port import RequestAuthenticator, TokenAuthenticator
from kontinuum.apiserver.authn.serviceaccounts.authenticator import ServiceAccountTokens
from kontinuum.apiserver.authn.serviceaccounts.issuer import Issuer
from kontinuum.apiserver.authn.tokens import TokenFile
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation import jwt
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Broken

PUBLIC_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/healthz/", "/livez/", "/readyz/", "/version", "/version/"})


class CredentialsBroken(Broken):
    """A file that authentication needs cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, and who issues service accounts' tokens (None: nobody here)."""

    authenticate: Authenticator
    issuer: Issuer | None


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
    if keys:
        issuers = (settings.service_account_issuer, *settings.service_account_old_issuers)
        tokens.append(ServiceAccountTokens(objects, clock, keys=keys, issuers=issuers, audiences=audiences))
    if settings.bootstrap_tokens:
        tokens.append(BootstrapTokens(objects, clock))
    authenticate = Authenticator(
        Tokens(tokens, audiences), _by_request(settings, clock), anonymous_paths=_anonymous_paths(settings)
    )
    return Identity(authenticate, issuer)


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
    if proxies:
        found.append(FrontProxyAuthenticator(certificates, settings.front_proxy_names))
    if settings.client_ca is not None:
        found.append(CertificateAuthenticator(certificates))
    return found


def _anonymous_paths(settings: ServerSettings) -> frozenset[str] | None:
    match settings.anonymous:
        case "always":
            return None
        case "health":
            return PUBLIC_PATHS
        case _:
            return frozenset()
