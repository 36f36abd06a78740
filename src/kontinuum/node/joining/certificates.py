"""A node's certificates: asked for as CertificateSigningRequests, kept as files, asked for again before they end.

    node          system:node:NAME      the agent towards the API        kube-apiserver-client-kubelet
    network       system:kube-proxy     the network part                 kube-apiserver-client
    node-server   system:node:NAME      the node's own HTTPS server      kubelet-serving

The first is asked for with a bootstrap token, once; everything later with the node's own certificate.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from kontinuum.api.kubernetes.resources import CERTIFICATESIGNINGREQUESTS
from kontinuum.api.machinery.conditions import find
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.foundation.pki import KeyPair, Wanted, ends_after, renew_after, write_pair

log = structlog.get_logger(__name__)

NODES = "system:nodes"
CLIENT_USAGES, SERVER_USAGES = ("digital signature", "client auth"), ("digital signature", "server auth")
LOOK = Backoff(initial=0.1, maximum=2.0)
AGAIN_SECONDS = 30.0
"""After this time what could not be renewed is asked for again; there is a third of its life left."""
PATIENCE_SECONDS = 60.0
"""How long a request may wait for its approval."""


class NotIssued(Refused):
    """Somebody has denied the request, or its signer does not like it."""


class NotApproved(Retryable):
    """Nobody has decided about the request in time."""


class MembershipOver(Refused):
    """The node's certificate has ended: it must join again."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the certificates, in the order in which they are asked for."""

    name: str
    wanted: Wanted
    signer: str
    usages: tuple[str, ...]


def kinds(node: str, hosts: Sequence[str]) -> list[Kind]:
    """``hosts``: names and addresses at which the node's server is reached."""
    user = f"system:node:{node}"
    return [
        Kind("node", Wanted(user, (NODES,)), "kubernetes.io/kube-apiserver-client-kubelet", CLIENT_USAGES),
        Kind("network", Wanted("system:kube-proxy"), "kubernetes.io/kube-apiserver-client", CLIENT_USAGES),
        Kind("node-server", Wanted(user, (NODES,), tuple(hosts)), "kubernetes.io/kubelet-serving", SERVER_USAGES),
    ]


def pair_of(directory: Path, kind: Kind) -> KeyPair:
    return KeyPair(directory / f"{kind.name}.crt", directory / f"{kind.name}.key")


def is_member(directory: Path, clock: Clock) -> bool:
    """Whether there is a certificate with which the node can ask for others."""
    return ends_after(KeyPair(directory / "node.crt", directory / "node.key"), clock) > 0


async def ensure(client: Client, clock: Clock, directory: Path, chosen: Sequence[Kind]) -> None:
    """Ask for those of ``chosen`` that are not in ``directory`` or want renewal; ``ca.crt`` is there.

    Raises NotIssued, NotApproved, ApiError, Unreachable, OSError. What was issued until then is kept.
    """
    for kind in chosen:
        pair = pair_of(directory, kind)
        if kind.wanted.is_had(pair, directory / "ca.crt", clock):
            continue
        key, request = kind.wanted.request()
        certificate = await _issued(client, clock, kind, request)
        write_pair(pair, certificate, key)
        log.info("a certificate was issued", certificate=kind.name, seconds=round(ends_after(pair, clock)))


def seconds_to_renewal(directory: Path, clock: Clock, chosen: Sequence[Kind]) -> float:
    """Until the first of ``chosen`` wants renewal."""
    return min(renew_after(pair_of(directory, kind), clock) for kind in chosen)


def problem_of(csr: Object) -> str:
    """Why there will be no certificate; "" if there may be one yet."""
    conditions = list((csr.get("status") or {}).get("conditions") or ())
    for kind in ("Denied", "Failed"):
        found = find(conditions, kind)
        if found is not None and found.get("status") == "True":
            return f"{kind}: {found.get('message') or found.get('reason') or 'without a reason'}"
    return ""


async def _issued(client: Client, clock: Clock, kind: Kind, request: bytes) -> bytes:
    created = await client.create(
        CERTIFICATESIGNINGREQUESTS,
        {
            "metadata": {"generateName": f"{kind.name}-"},
            "spec": {
                "request": b64encode(request).decode(), "signerName": kind.signer, "usages": list(kind.usages),
            },
        },
    )  # fmt: skip
    name, deadline, looks = name_of(created), clock.monotonic() + PATIENCE_SECONDS, 0
    while clock.monotonic() < deadline:
        await clock.sleep(LOOK.delay(looks))
        looks += 1
        found = await client.get(CERTIFICATESIGNINGREQUESTS, name)
        if certificate := (found.get("status") or {}).get("certificate"):
            return b64decode(certificate)
        if problem := problem_of(found):
            raise NotIssued(f"the certificate request {name} ({kind.signer}) was not granted: {problem}")
    raise NotApproved(
        f"the certificate request {name} ({kind.signer}) was not approved within {PATIENCE_SECONDS:g} s; "
        f"kubectl certificate approve {name}"
    )


async def keep(client: Client, clock: Clock, directory: Path, chosen: Sequence[Kind]) -> float:
    """``ensure``, but what still holds is enough if nobody answers. Returns seconds until it should be called again.

    Raises MembershipOver if the node cannot speak for itself any more.
    """
    if not is_member(directory, clock):
        raise MembershipOver("this node's certificate has ended; join again: kontinuum node --server URL --token TOKEN")
    try:
        await ensure(client, clock, directory, chosen)
    except (ApiError, Retryable) as error:
        log.warning("certificates are not renewed yet", error=str(error))
        return AGAIN_SECONDS
    return seconds_to_renewal(directory, clock, chosen)
