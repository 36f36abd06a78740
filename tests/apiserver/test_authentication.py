"""A request is its certificate's user, or its token's, or nobody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.authn.authenticator import Authenticator
from kontinuum.apiserver.authn.tokens import BadTokenFile, TokenFile
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes, on_resource
from kontinuum.apiserver.authz.refusal import refused

ADMIN = {"subject": ((("organizationName", "system:masters"),), (("commonName", "kubernetes-admin"),))}
TOKENS = 's3cret,jane,u-1,"dev,ops"\n\n# a comment\nother,bob,u-2\n'


class Request:
    def __init__(self, certificate: Any = None, authorization: str = "") -> None:
        self.headers = {"Authorization": authorization} if authorization else {}
        self.transport = self
        self.certificate = certificate

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.certificate if name == "peercert" else default


@pytest.fixture
def authenticator(tmp_path: Path) -> Authenticator:
    path = tmp_path / "tokens.csv"
    path.write_text(TOKENS)
    return Authenticator(TokenFile.load(path))


def test_a_certificates_names_become_user_and_groups(authenticator: Authenticator) -> None:
    user = authenticator(Request(ADMIN))
    assert user == User("kubernetes-admin", ("system:masters", "system:authenticated"))


def test_a_token_of_the_file_becomes_its_user(authenticator: Authenticator) -> None:
    user = authenticator(Request(authorization="Bearer s3cret"))
    assert user == User("jane", ("dev", "ops", "system:authenticated"), "u-1")
    assert authenticator(Request(authorization="bearer other")).name == "bob"


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer ", "Basic s3cret", "s3cret"])
def test_everything_else_is_unauthorized(authenticator: Authenticator, authorization: str) -> None:
    with pytest.raises(ApiError) as caught:
        authenticator(Request(authorization=authorization))
    assert (caught.value.code, caught.value.message) == (401, "Unauthorized")


def test_without_a_token_file_no_token_is_good() -> None:
    with pytest.raises(ApiError):
        Authenticator()(Request(authorization="Bearer s3cret"))


def test_a_certificate_without_a_name_is_nobodys(authenticator: Authenticator) -> None:
    with pytest.raises(ApiError):
        authenticator(Request({"subject": ((("organizationName", "system:masters"),),)}))


def test_a_broken_token_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("good,jane,u-1\nonly-a-token\n")
    with pytest.raises(BadTokenFile, match="line 2"):
        TokenFile.load(path)


def test_a_refusal_reads_as_kubernetes_writes_it() -> None:
    jane = User("jane")
    error = refused(on_resource(jane, "list", PODS, namespace="default"), "")
    assert error.message == (
        'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    assert refused(Attributes(jane, "get", path="/metrics"), "").message == (
        'forbidden: User "jane" cannot get path "/metrics"'
    )
