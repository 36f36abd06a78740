"""Which certificates a node may have for itself without anybody's word: pure rules, for requests that nodes make.

Its own server's (``kubelet-serving``) names it and addresses that are nobody else's: whoever had a certificate for the
API server's address could pass for the API server. And that of its network part, which is one user on every node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.foundation.addresses import canonical, is_inside

if TYPE_CHECKING:
    from kontinuum.controllers.lib.signers import Asked

NODE, NODES = "system:node:", "system:nodes"
NETWORK = "system:kube-proxy"
"""The user whose name every node's network part has."""
LOOPBACK = ("127.0.0.0/8", "::1/128")
CLUSTER_NAMES = ("localhost", "kubernetes")
"""Names by which the API server is known, and everything below the second one."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """What belongs to others than the node that asks."""

    names: frozenset[str]
    addresses: frozenset[str]
    networks: tuple[str, ...]


def reserved(nodes: Iterable[Object], servers: Iterable[str], networks: Iterable[str], *, node: str) -> Reserved:
    """``servers``: hosts at which API servers are reached. ``networks``: the Services'."""
    named = [name_of(one) for one in nodes if name_of(one) != node]
    others = [
        address["address"]
        for one in nodes
        if name_of(one) != node
        for address in (one.get("status") or {}).get("addresses") or ()
    ]
    taken = [*named, *others, *servers]
    return Reserved(
        frozenset(one for one in taken if not _is_address(one)),
        frozenset(canonical(one) for one in taken if _is_address(one)),
        (*LOOPBACK, *networks),
    )


def requesting_node(spec: Object) -> str:
    """The name of the node that asks; "" if it is none."""
    name = spec.get("username") or ""
    return name.removeprefix(NODE) if name.startswith(NODE) and NODES in (spec.get("groups") or ()) else ""


def serving_refusal(asked: Asked, node: str, known: Reserved) -> str:
    """Why ``node`` may not have this certificate for its server; "" if it may."""
    if asked.common_name != f"{NODE}{node}":
        return f"the subject is {asked.common_name}, the requester {NODE}{node}"
    for name in asked.dns:
        if name != node or name in known.names or name.partition(".")[0] in CLUSTER_NAMES:
            return f"the name {name} is not the node's alone"
    for address in asked.addresses:
        if is_inside(address, known.networks):
            return f"the address {address} is loopback's or a Service's, and no node's"
        if canonical(address) in known.addresses:
            return f"the address {address} is an API server's or another node's too"
    return ""


def network_refusal(asked: Asked) -> str:
    """Why a node may not have this certificate for its network part; "" if it may."""
    if asked.common_name != NETWORK or asked.organizations:
        return f"the subject is not {NETWORK}"
    if asked.dns or asked.addresses or asked.emails or asked.uris:
        return "subjectAltNames are not allowed"
    return ""


def _is_address(text: str) -> bool:
    try:
        canonical(text)
    except ValueError:
        return False
    return True
