"""What a new member is told and given: the cluster's settings for nodes, a Node object, and networks for its pods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kontinuum.api.kontinuum import node_settings
from kontinuum.api.kubernetes.resources import CONFIGMAPS, NODES
from kontinuum.api.machinery.conditions import find
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused, Retryable

LOOK = Backoff(initial=0.05, maximum=1.0)
PATIENCE_SECONDS = 30.0


class NameTaken(Refused):
    """Another node of this name is in the cluster, and well."""


class NoNetwork(Retryable):
    """The cluster has not given the node a network for its pods."""


class OtherNetwork(Refused):
    """The Node object says another network than the operator."""


async def check_name(client: Client, name: str) -> None:
    """Raises NameTaken: two machines with one name would take turns at being that node."""
    try:
        node = await client.get(NODES, name)
    except ApiError as error:
        if error.is_not_found:
            return
        raise
    ready = find((node.get("status") or {}).get("conditions") or [], "Ready")
    if ready is not None and ready.get("status") == "True":
        raise NameTaken(
            f'a node "{name}" is in the cluster already, and Ready; choose another name (node.name), or remove it: '
            f"kubectl delete node {name}"
        )


async def shared_settings(client: Client) -> dict[str, Any]:
    """What the cluster says to all its nodes: values of the section ``node``; {} if it says nothing."""
    try:
        found = await client.get(CONFIGMAPS, node_settings.NAME, namespace=node_settings.NAMESPACE)
    except ApiError as error:
        if error.is_not_found:
            return {}
        raise
    told = json.loads((found.get("data") or {}).get(node_settings.KEY) or "{}")
    return {name: value for name, value in told.items() if name in node_settings.SHARED}


async def networks(client: Client, clock: Clock, name: str, wanted: Sequence[str] = ()) -> str:
    """The networks of this node's pods, as the setting ``node.pod_cidr`` writes them: ``wanted``, or what is given.

    The Node object is made for that, with nothing in it that would let pods come: its agent says more when it starts.
    Raises NoNetwork, OtherNetwork.
    """
    deadline, looks = clock.monotonic() + PATIENCE_SECONDS, 0
    node = await _created(client, name, wanted)
    while not (found := (node.get("spec") or {}).get("podCIDRs")):
        if clock.monotonic() > deadline:
            raise NoNetwork(
                f'the cluster has given the node "{name}" no network for its pods: controllers.cluster_cidrs is empty '
                f"or has no piece left (kubectl describe node {name}); or set node.pod_cidr here"
            )
        await clock.sleep(LOOK.delay(looks))
        looks += 1
        node = await client.get(NODES, name)
    if wanted and list(wanted) != list(found):
        raise OtherNetwork(
            f'the node "{name}" has {", ".join(found)} for its pods, and node.pod_cidr says {", ".join(wanted)}: '
            f"change the setting, or remove the node first: kubectl delete node {name}"
        )
    return ",".join(found)


async def _created(client: Client, name: str, networks: Sequence[str]) -> Object:
    spec = {"podCIDR": networks[0], "podCIDRs": list(networks)} if networks else {}
    try:
        return await client.create(NODES, {"metadata": {"name": name}, "spec": spec})
    except ApiError as error:
        if not error.is_already_exists:
            raise
    return await client.get(NODES, name)
