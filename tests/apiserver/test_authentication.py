"""A request is its certificate's user, or its token's, or nobody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.authn.authenticator import Authenticator, Tokens
from kontinuum.apiserver.authn.certificates import CertificateAuthenticator, PeerCertificates, user_of_certificate
from kontinuum.apiserver.authn.front_proxy import FrontProxyAuthenticator
from kontinuum.apiserver.authn.port import BadCredential, Remarks
from kontinuum.apiserver.authn.tokens import BadTokenFile, TokenFile
from kontinuum.apiserver.authn.users import NOBODY, User
from kontinuum.apiserver.authz.authorizer import on_resource
from kontinuum.apiserver.authz.refusal import refused
from kontinuum.foundation.clock import RealClock

ADMIN = {
    "subject": ((("organizationName", "system:masters"),), (("commonName", "kubernetes-admin"),)),
    "notBefore": "Jan  1 00:00:00 2020 GMT",
    "notAfter": "Jan  1 00:00:00 2090 GMT",
}
TOKENS = 's3cret,jane,u-1,"dev,ops"\n\n# a comment\nother,bob,u-2\n'


class Request:
    """As much of a request as authenticators look at; the certificate is described as ``ssl`` does it."""

    def __init__(self, certificate: Any = None, authorization: str = "", **headers: str) -> None:
        made = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        if authorization:
            made["Authorization"] = authorization
        self.headers = CIMultiDictProxy(made)
        self.transport = self
        self.certificate = certificate
        self.remarks: Remarks | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "ssl_object" and self.certificate else default

    def getpeercert(self, binary: bool = False) -> Any:
        return repr(self.certificate).encode() if binary else self.certificate


@pytest.fixture
def authenticator(tmp_path: Path) -> Authenticator:
    path = tmp_path / "tokens.csv"
    path.write_text(TOKENS)
    certificates = CertificateAuthenticator(PeerCertificates(RealClock()))
    public = frozenset({"/livez", "/version"})
    return Authenticator(Tokens([TokenFile.load(path)]), [certificates], anonymous_paths=lambda: public)


async def test_a_certificates_names_become_user_and_groups(authenticator: Authenticator) -> None:
    user = await authenticator(Request(ADMIN), "/api")
    assert (user.name, user.groups) == ("kubernetes-admin", ("system:masters", "system:authenticated"))
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")


async def test_a_token_of_the_file_becomes_its_user(authenticator: Authenticator) -> None:
    user = await authenticator(Request(authorization="Bearer s3cret"), "/api")
    assert user == User("jane", ("dev", "ops", "system:authenticated"), "u-1")
    assert (await authenticator(Request(authorization="bearer other"), "/api")).name == "bob"


async def test_a_websockets_subprotocol_may_carry_the_token(authenticator: Authenticator) -> None:
    protocol = "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.czNjcmV0"
    request = Request(upgrade="websocket", sec_websocket_protocol=protocol)
    assert (await authenticator(request, "/api")).name == "jane"


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer ", "Basic s3cret", "s3cret"])
async def test_everything_else_is_unauthorized(authenticator: Authenticator, authorization: str) -> None:
    with pytest.raises(ApiError) as caught:
        await authenticator(Request(authorization=authorization), "/api")
    assert (caught.value.code, caught.value.message) == (401, "Unauthorized")


async def test_nobody_may_ask_for_health_but_not_with_a_bad_token(authenticator: Authenticator) -> None:
    assert await authenticator(Request(), "/livez") == NOBODY
    with pytest.raises(ApiError):
        await authenticator(Request(authorization="Bearer wrong"), "/livez")


async def test_a_bad_certificate_does_not_hide_a_good_token(authenticator: Authenticator) -> None:
    expired = {**ADMIN, "notAfter": "Jan  1 00:00:00 2021 GMT"}
    with pytest.raises(ApiError):
        await authenticator(Request(expired), "/livez")
    assert (await authenticator(Request(expired, "Bearer s3cret"), "/api")).name == "jane"


async def test_without_a_token_file_no_token_is_good() -> None:
    with pytest.raises(ApiError):
        await Authenticator(Tokens([]))(Request(authorization="Bearer s3cret"), "/api")


async def test_a_certificate_without_a_name_is_nobodys(authenticator: Authenticator) -> None:
    with pytest.raises(ApiError):
        await authenticator(Request({**ADMIN, "subject": ((("organizationName", "system:masters"),),)}), "/api")


def test_a_certificate_may_carry_one_uid() -> None:
    uid = (("1.3.6.1.4.1.57683.2", "u-7"),)
    user = user_of_certificate({"subject": ((("commonName", "jane"),), uid)})
    assert user is not None
    assert user.uid == "u-7"
    with pytest.raises(BadCredential):
        user_of_certificate({"subject": ((("commonName", "jane"),), uid, uid)})


async def test_only_a_front_proxys_certificate_speaks_for_others() -> None:
    certificates = PeerCertificates(RealClock())
    proxy = FrontProxyAuthenticator(certificates, ["front-proxy"])
    headers = {"x_remote_user": "jane", "x_remote_group": "dev", "x_remote_extra_some%2fkey": "v"}
    request = Request(ADMIN, **headers)
    assert await proxy.authenticate(request) is None
    (known,) = certificates._known.values() if certificates._known else [certificates.of(request)]
    content = request.getpeercert(True)
    assert known is not None
    certificates._known[content] = type(known)(None, "front-proxy", known.not_before, known.not_after, True)
    certificates._shown.clear()  # As on a connection of its own.
    user = await proxy.authenticate(request)
    assert user is not None
    assert (user.name, user.groups) == ("jane", ("dev", "system:authenticated"))
    assert user.extra == {"some/key": ("v",)}
    certificates._known[content] = type(known)(None, "another", known.not_before, known.not_after, True)
    certificates._shown.clear()
    with pytest.raises(BadCredential, match="not in the allowed list"):
        await proxy.authenticate(request)


def test_a_broken_token_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("good,jane,u-1\nonly-a-token\n")
    with pytest.raises(BadTokenFile, match="line 2"):
        TokenFile.load(path)


def test_a_refusal_reads_as_kubernetes_writes_it() -> None:
    error = refused(on_resource(User("jane"), "list", PODS, namespace="default"), "")
    assert error.message == (
        'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"'
    )
