"""Bootstrap tokens as controllers see them: when they end, and what they sign. Pure.

A machine that knows nothing but a token finds the cluster's authority in ``kube-public/cluster-info``, and believes it
because it is signed with the token's secret (kubeadm's "token-based discovery").
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping

from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.foundation.clock import parse_rfc3339

TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE = "kube-system"
KUBECONFIG = "kubeconfig"
SIGNATURE = "jws-kubeconfig-"
"""Followed by a token's id: the key of ``cluster-info`` under which its signature stands."""
_ID, _SECRET = re.compile(r"[a-z0-9]{6}"), re.compile(r"[a-z0-9]{16}")


def seconds_left(secret: Object, now: float) -> float | None:
    """Until the token ends; None: it does not. A time that cannot be read is over."""
    expiration = _data(secret).get("expiration")
    if not expiration:
        return None
    try:
        return max(0.0, parse_rfc3339(expiration) - now)
    except ValueError:
        return 0.0


def signing_token(secret: Object, now: float) -> tuple[str, str] | None:
    """The id and the secret part of a token that is to sign, None for one that is not."""
    data = _data(secret)
    token_id, key = data.get("token-id", ""), data.get("token-secret", "")
    is_meant = data.get("usage-bootstrap-signing") == "true" and "deletionTimestamp" not in secret["metadata"]
    is_token = _ID.fullmatch(token_id) and _SECRET.fullmatch(key) and name_of(secret) == f"bootstrap-token-{token_id}"
    is_ours = namespace_of(secret) == NAMESPACE and secret.get("type") == TYPE
    if not (is_meant and is_token and is_ours) or seconds_left(secret, now) == 0:
        return None
    return token_id, key


def signed(data: Mapping[str, str], secrets: Iterable[Object], now: float) -> dict[str, str]:
    """``cluster-info``'s data with the signatures that it should have and no others."""
    found = {key: value for key, value in data.items() if not key.startswith(SIGNATURE)}
    content = data.get(KUBECONFIG)
    for token in (signing_token(one, now) for one in secrets):
        if token is not None and content is not None:
            found[SIGNATURE + token[0]] = signature(content, *token)
    return found


def signature(content: str, token_id: str, secret: str) -> str:
    """A JSON Web Signature (RFC 7515, HS256) that leaves its content out."""
    header = _encoded(f'{{"alg":"HS256","kid":"{token_id}"}}'.encode())
    digest = hmac.new(secret.encode(), f"{header}.{_encoded(content.encode())}".encode(), hashlib.sha256).digest()
    return f"{header}..{_encoded(digest)}"


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


def _data(secret: Object) -> dict[str, str]:
    found = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = b64decode(value, validate=True).decode()
        except ValueError:
            found[key] = ""
    return found
