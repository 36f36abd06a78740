"""A request in somebody else's name is theirs, if its author may use the name."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from tests.apiserver.serving import Api

from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.authn.impersonation import impersonated
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import ALLOWED, NO_OPINION, Attributes, Decision, Rules

BOSS = User("boss", ("system:authenticated",))
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Asked:
    """Allows everything but what is named, and remembers what it was asked."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.questions: list[tuple[str, ...]] = []

    def decide(self, attributes: Attributes) -> Decision:
        assert attributes.user == BOSS and attributes.verb == "impersonate"
        self.questions.append((attributes.group, attributes.combined, attributes.namespace, attributes.name))
        return NO_OPINION if attributes.name in self.refused else ALLOWED

    def rules(self, user: User, namespace: str) -> Rules:
        return Rules([], [])


def headers(*given: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(given))


def test_each_header_is_a_question_of_its_own() -> None:
    asked = Asked()
    user = impersonated(
        BOSS,
        headers(
            ("Impersonate-User", "jane"), ("Impersonate-Group", "dev"), ("Impersonate-Group", "ops"),
            ("Impersonate-Uid", "u-1"), ("Impersonate-Extra-Acme.com%2Fscope", "read"),
        ),
        asked,
    )  # fmt: skip
    assert user == User("jane", ("dev", "ops", "system:authenticated"), "u-1", {"acme.com/scope": ("read",)})
    assert asked.questions == [
        ("", "users", "", "jane"),
        ("", "groups", "", "dev"),
        ("", "groups", "", "ops"),
        ("authentication.k8s.io", "userextras/acme.com/scope", "", "read"),
        ("authentication.k8s.io", "uids", "", "u-1"),
    ]


def test_a_service_account_has_its_own_groups() -> None:
    asked = Asked()
    user = impersonated(BOSS, headers(("Impersonate-User", "system:serviceaccount:shop:builder")), asked)
    assert user is not None
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
    assert asked.questions == [("", "serviceaccounts", "shop", "builder")]


def test_the_anonymous_user_stays_unauthenticated() -> None:
    user = impersonated(BOSS, headers(("Impersonate-User", "system:anonymous")), Asked())
    assert user is not None
    assert user.groups == ("system:unauthenticated",)


def test_a_refusal_reads_as_in_kubernetes() -> None:
    with pytest.raises(ApiError) as caught:
        impersonated(BOSS, headers(("Impersonate-User", "jane"), ("Impersonate-Group", "ops")), Asked("ops"))
    assert (caught.value.code, caught.value.message) == (
        403,
        'groups "ops" is forbidden: User "boss" cannot impersonate resource "groups" in API group "" '
        "at the cluster scope",
    )


@pytest.mark.parametrize("header", ["Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-Scope"])
def test_groups_without_a_user_are_an_error(header: str) -> None:
    with pytest.raises(ApiError) as caught:
        impersonated(BOSS, headers((header, "x")), Asked())
    assert caught.value.code == 500


def test_requests_without_such_headers_ask_nothing() -> None:
    asked = Asked()
    assert impersonated(BOSS, headers(("If-None-Match", "x"), ("Accept", "*/*")), asked) is None
    assert asked.questions == []


async def test_whoever_may_do_everything_may_be_anybody(api: Api) -> None:
    sent: dict[str, Any] = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    answer = await api.create(WHOAMI, sent, impersonate_user="jane", impersonate_group="dev")
    assert answer.body["status"]["userInfo"] == {"username": "jane", "groups": ["dev", "system:authenticated"]}
    refused = await api.get("/api/v1/namespaces/default/secrets", impersonate_user="jane")
    assert refused.code == 403
    assert refused.body["message"].startswith('secrets is forbidden: User "jane" cannot list resource "secrets"')
