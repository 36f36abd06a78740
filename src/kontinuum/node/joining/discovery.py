"""Whom to believe: kubeadm's token-based discovery.

Whoever answers at the address may be anybody. What is believed is what the token's secret has signed, and nothing is
shown to the server before that: the token itself would be good for an impostor too.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import replace

from kontinuum.api.kubernetes.bootstrap import (
    INFO,
    INFO_NAMESPACE,
    KUBECONFIG,
    SIGNATURE,
    TOKEN,
    clusters_of,
    signature,
)  # fmt: skip
from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.connect import connect
from kontinuum.client.errors import Unreachable
from kontinuum.client.kubeconfig import Connection
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused
from kontinuum.foundation.pki import fingerprint

NEW_TOKEN = "make one where the API server runs: kontinuum token create"
PATIENCE_SECONDS = 10.0
"""For the signature of a token that was made a moment ago."""


class NotBelieved(Refused):
    """The server cannot show that it is the one that the token is for."""


class TokenUnknown(Refused):
    """The token is none, is over, or is another cluster's."""


def split(token: str) -> tuple[str, str]:
    """The id and the secret part. Raises TokenUnknown."""
    found = TOKEN.fullmatch(token)
    if found is None:
        raise TokenUnknown(f"the token is not six letters or digits, a full stop, and sixteen more; {NEW_TOKEN}")
    return found[1], found[2]


def believe(info: Object, token: str, hashes: Sequence[str] = ()) -> bytes:
    """The authorities (PEM) that ``cluster-info`` names, if it is signed with ``token``.

    ``hashes`` are those that one of the authorities must have, if there are any (``sha256:...``). Raises TokenUnknown
    and NotBelieved.
    """
    token_id, secret = split(token)
    data = info.get("data") or {}
    shown = data.get(f"{SIGNATURE}{token_id}")
    if shown is None:
        raise TokenUnknown(f'the server knows no token "{token_id}", or it is over; {NEW_TOKEN}')
    content = data.get(KUBECONFIG) or ""
    if not hmac.compare_digest(shown.encode(), signature(content, token_id, secret).encode()):
        raise NotBelieved(
            f'what the server says is not signed with the token "{token_id}": its second half is wrong, or somebody '
            "else answers at the server's address"
        )
    authorities = next((authority for _, authority in clusters_of(info) if authority), b"")
    if not authorities:
        raise NotBelieved("the server names no certificate authority (kube-public/cluster-info)")
    if hashes and fingerprint(authorities) not in {one.lower() for one in hashes}:
        raise NotBelieved(
            f"the cluster's certificate authority is {fingerprint(authorities)}, and not the one that --ca-hash names"
        )
    return authorities


async def discover(server: str, token: str, hashes: Sequence[str], clock: Clock) -> bytes:
    """The authorities (PEM) of the cluster whose API server is at ``server``.

    Raises Unreachable, TokenUnknown, NotBelieved.
    """
    split(token)
    stranger = Connection(server=server, insecure=True)
    deadline = clock.monotonic() + PATIENCE_SECONDS
    client = connect(stranger)
    try:
        while True:
            try:
                return believe(await client.get(CONFIGMAPS, INFO, namespace=INFO_NAMESPACE), token, hashes)
            except ApiError as error:
                raise _explained(error, server) from error
            except Unreachable as error:
                hint = "is an API server up there, and may this machine reach it?"
                raise Unreachable(f"{error}; {hint}") from error
            except TokenUnknown:
                if clock.monotonic() > deadline:
                    raise
                await clock.sleep(0.5)
    finally:
        await client.close()


def _explained(error: ApiError, server: str) -> Refused:
    if error.is_not_found:
        return TokenUnknown(f"{server} has no {INFO_NAMESPACE}/{INFO}: no token was made there yet; {NEW_TOKEN}")
    return NotBelieved(f"{server} does not let anybody read {INFO_NAMESPACE}/{INFO}: {error}; see server.anonymous")


def as_bearer(server: str, authorities: bytes, token: str) -> Connection:
    """How the bearer of ``token`` reaches the server that has shown itself."""
    return replace(Connection(server=server, certificate_authority=authorities), token=token)
