"""What stands in a service account's token. Pure (kubernetes ``pkg/serviceaccount/claims.go``).

    {"iss": "https://kubernetes.default.svc.cluster.local", "sub": "system:serviceaccount:default:builder",
     "aud": ["..."], "iat": 0, "nbf": 0, "exp": 3600, "jti": "a uuid",
     "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "builder", "uid": "..."},
                       "pod": {"name": "...", "uid": "..."}, "node": {"name": "...", "uid": "..."}}}

The older tokens, kept in Secrets of type ``kubernetes.io/service-account-token``, have flat claims and never expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.apiserver.authn.port import BadCredential
from kontinuum.apiserver.authn.users import CREDENTIAL_ID, NODE_NAME, NODE_UID, POD_NAME, POD_UID, User, authenticated
from kontinuum.foundation.jwt import Claims

PREFIX = "system:serviceaccount:"
GROUP = "system:serviceaccounts"
LEGACY_ISSUER = "kubernetes/serviceaccount"
LEGACY = "kubernetes.io/serviceaccount/"
PRIVATE = "kubernetes.io"

UNREADABLE = "Token could not be parsed."


@dataclass(frozen=True, slots=True)
class Reference:
    """An object that a token is bound to; ``uid`` is "" for a node that does not exist (yet)."""

    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token names, and what it is bound to. ``token_id`` is "" for the older tokens; times are seconds."""

    namespace: str
    account: Reference
    token_id: str = ""
    pod: Reference | None = None
    node: Reference | None = None
    secret: Reference | None = None
    is_legacy: bool = False
    audiences: tuple[str, ...] = ()
    not_before: float = 0.0
    expires: float = float("inf")
    warn_after: float | None = None


def build(
    *,
    issuer: str,
    account: Object,
    audiences: Sequence[str],
    now: int,
    seconds: int,
    token_id: str,
    pod: Object | None = None,
    node: Reference | None = None,
    secret: Object | None = None,
    warn_seconds: int | None = None,
) -> Claims:
    """The claims of a new token. ``warn_seconds``: its user should have renewed it by then, though it is still good."""
    namespace = namespace_of(account)
    private: dict[str, Any] = {"namespace": namespace}
    if node is not None:
        private["node"] = _reference(node)
    if pod is not None:
        private["pod"] = {"name": name_of(pod), "uid": uid_of(pod)}
    if secret is not None:
        private["secret"] = {"name": name_of(secret), "uid": uid_of(secret)}
    private["serviceaccount"] = {"name": name_of(account), "uid": uid_of(account)}
    if warn_seconds is not None:
        private["warnafter"] = now + warn_seconds
    return {
        "aud": list(audiences),
        "exp": now + seconds,
        "iat": now,
        "iss": issuer,
        "jti": token_id,
        PRIVATE: private,
        "nbf": now,
        "sub": user_name(namespace, name_of(account)),
    }


def _reference(one: Reference) -> dict[str, str]:
    return {"name": one.name, "uid": one.uid} if one.uid else {"name": one.name}


def read(claims: Claims) -> Identity:
    """Whom the claims name. Raises BadCredential if something is missing or of the wrong type."""
    try:
        found = _read_legacy(claims) if claims.get("iss") == LEGACY_ISSUER else _read(claims)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadCredential(UNREADABLE) from error
    if claims.get("sub") != user_name(found.namespace, found.account.name):
        raise BadCredential("Token could not be validated: its subject is not the service account that it names.")
    return found


def _read(claims: Claims) -> Identity:
    private = claims[PRIVATE]
    bound = {kind: _read_reference(private[kind]) for kind in ("pod", "node", "secret") if private.get(kind)}
    audiences = claims.get("aud") or ()
    if isinstance(audiences, str):
        audiences = (audiences,)
    warn_after = private.get("warnafter")
    return Identity(
        namespace=_text(private["namespace"]),
        account=_read_reference(private["serviceaccount"]),
        token_id=str(claims.get("jti") or ""),
        pod=bound.get("pod"),
        node=bound.get("node"),
        secret=bound.get("secret"),
        audiences=tuple(_text(one) for one in audiences),
        not_before=float(claims.get("nbf") or 0),
        expires=float(claims["exp"]),
        warn_after=float(warn_after) if warn_after is not None else None,
    )


def _read_legacy(claims: Claims) -> Identity:
    return Identity(
        namespace=_text(claims[f"{LEGACY}namespace"]),
        account=Reference(
            _text(claims[f"{LEGACY}service-account.name"]), _text(claims[f"{LEGACY}service-account.uid"])
        ),
        secret=Reference(_text(claims[f"{LEGACY}secret.name"])),
        is_legacy=True,
    )


def _read_reference(value: Any) -> Reference:
    return Reference(_text(value["name"]), str(value.get("uid") or ""))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a text")
    return value


def user_name(namespace: str, name: str) -> str:
    return f"{PREFIX}{namespace}:{name}"


def groups(namespace: str) -> list[str]:
    """The groups of every service account of a namespace."""
    return [GROUP, f"{GROUP}:{namespace}"]


def split_user_name(user: str) -> tuple[str, str] | None:
    """``(namespace, name)`` of a service account's user name, else None."""
    if not user.startswith(PREFIX):
        return None
    namespace, _, name = user.removeprefix(PREFIX).partition(":")
    return (namespace, name) if namespace and name and ":" not in name else None


def user_of(identity: Identity) -> User:
    """The user that a good token stands for."""
    extra: dict[str, tuple[str, ...]] = {}
    if identity.token_id:
        extra[CREDENTIAL_ID] = (f"JTI={identity.token_id}",)
    for reference, name_key, uid_key in ((identity.pod, POD_NAME, POD_UID), (identity.node, NODE_NAME, NODE_UID)):
        if reference is not None:
            extra[name_key] = (reference.name,)
            if reference.uid:
                extra[uid_key] = (reference.uid,)
    name = user_name(identity.namespace, identity.account.name)
    return authenticated(name, groups(identity.namespace), identity.account.uid, extra)
