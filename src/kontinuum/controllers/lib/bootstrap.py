"""Bootstrap tokens as controllers see them: when they end, and what they sign. Pure."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping

from kontinuum.api.kubernetes.bootstrap import KUBECONFIG, NAMESPACE, SIGNATURE, TOKEN, TYPE, secret_name, signature
from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.foundation.clock import parse_rfc3339


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
    is_token = TOKEN.fullmatch(f"{token_id}.{key}") and name_of(secret) == secret_name(token_id)
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


def _data(secret: Object) -> dict[str, str]:
    found = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = b64decode(value, validate=True).decode()
        except ValueError:
            found[key] = ""
    return found
