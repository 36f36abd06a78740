"""Impersonation: a request in somebody else's name, which its author must be allowed to use (``kubectl --as``).

    Impersonate-User: jane    Impersonate-Uid: 42    Impersonate-Group: dev    Impersonate-Extra-Scopes: read

Each of the headers is a question to the authorizer of its own: may the author ``impersonate`` this user, this group ...
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from kontinuum.api.machinery import status
from kontinuum.apiserver.authn.serviceaccounts import claims
from kontinuum.apiserver.authn.users import User, with_default_group
from kontinuum.apiserver.authz.authorizer import Attributes, Authorizer
from kontinuum.apiserver.authz.refusal import refused

USER, GROUP, UID = "Impersonate-User", "Impersonate-Group", "Impersonate-Uid"
PREFIX = "impersonate-"
EXTRA_PREFIX = "impersonate-extra-"
VERB = "impersonate"
AUTHENTICATION = "authentication.k8s.io"

Headers = CIMultiDictProxy[str]


def impersonated(author: User, headers: Headers, authorizer: Authorizer) -> User | None:
    """Whom the request is to be taken for; None if it is its author's own.

    Raises ApiError 403, or 500 (as Kubernetes does) for headers that name groups but no user.
    """
    if not _is_meant(tuple(headers)):
        return None
    name, groups, uid = headers.get(USER, ""), headers.getall(GROUP, []), headers.get(UID, "")
    extra = _extra(headers)
    if not name:
        if groups or extra or uid:
            raise status.internal_error("requested groups, a uid or extra fields without impersonating a user")
        return None
    for question in _questions(author, name, groups, uid, extra):
        decision = authorizer.decide(question)
        if not decision.allowed:
            raise refused(question, decision.reason)
    account = claims.split_user_name(name)
    if account is not None and not groups:
        groups = claims.groups(account[0])
    return with_default_group(User(name, tuple(groups), uid, extra))


@lru_cache(maxsize=256)
def _is_meant(names: tuple[str, ...]) -> bool:
    """Nearly no request has such headers, and every request comes by here; a client's are called alike each time."""
    return any(name[:1] in "iI" and name.lower().startswith(PREFIX) for name in names)


def _extra(headers: Headers) -> dict[str, tuple[str, ...]]:
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in headers.items():
        lower = key.lower()
        if lower.startswith(EXTRA_PREFIX):
            about = unquote(lower.removeprefix(EXTRA_PREFIX))
            extra[about] = (*extra.get(about, ()), value)
    return extra


def _questions(
    author: User, name: str, groups: list[str], uid: str, extra: dict[str, tuple[str, ...]]
) -> Iterator[Attributes]:
    """In Kubernetes' order, so that the same one is refused first."""
    account = claims.split_user_name(name)
    if account is not None:
        namespace, plain = account
        yield Attributes(author, VERB, "", "serviceaccounts", namespace=namespace, name=plain, version="v1")
    else:
        yield Attributes(author, VERB, "", "users", name=name, version="v1")
    for group in groups:
        yield Attributes(author, VERB, "", "groups", name=group, version="v1")
    for key, values in extra.items():
        for value in values:
            yield Attributes(author, VERB, AUTHENTICATION, "userextras", key, name=value, version="v1")
    if uid:
        yield Attributes(author, VERB, AUTHENTICATION, "uids", name=uid, version="v1")
