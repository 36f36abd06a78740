"""The Service ``kube-dns``, by which pods find DNS, and this node's place behind it.

The Service has no selector, because its endpoints are no pods: every node that answers writes an EndpointSlice of its
own, which goes with its Node. Each says whom it is for, so that a node's pods ask their own node. An operator who
brings another DNS server applies its manifests as everywhere: then the Service has a selector, and we keep out of it.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import structlog

from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, NODES, SERVICES
from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable
from kontinuum.node.settings import NodeSettings

log = structlog.get_logger(__name__)

NAMESPACE, NAME = "kube-system", "kube-dns"
PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))
LABELS = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
"""Those of kubeadm's, by which policies and tools find it."""
MANAGER = "network.kontinuum.dev"
LOOK_SECONDS = 30.0
AGAIN_SECONDS = 1.0


def service(settings: NodeSettings) -> Object:
    """The Service as we create it where there is none."""
    families = [f"IPv{ipaddress.ip_address(one).version}" for one in settings.cluster_dns]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": dict(LABELS)},
        "spec": {
            "clusterIP": settings.cluster_dns[0],
            "clusterIPs": list(settings.cluster_dns),
            "ipFamilies": families,
            "ipFamilyPolicy": "RequireDualStack" if len(families) > 1 else "SingleStack",
            "ports": [{"name": name, "protocol": protocol, "port": 53} for name, protocol in PORTS],
        },
    }


def slices(settings: NodeSettings, node: Object, port: int) -> list[Object]:
    """This node's endpoint, one slice for each family."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": name_of(node), "uid": uid_of(node)}
    return [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{NAME}-{name_of(node)}" + ("-ipv6" if ":" in address else ""),
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": MANAGER},
                "ownerReferences": [owner],
            },
            "addressType": f"IPv{ipaddress.ip_address(address).version}",
            "endpoints": [
                {
                    "addresses": [address],
                    "conditions": {"ready": True, "serving": True, "terminating": False},
                    "nodeName": name_of(node),
                    "hints": {"forNodes": [{"name": name_of(node)}]},
                }
            ],
            "ports": [{"name": name, "protocol": protocol, "port": port} for name, protocol in PORTS],
        }
        for address in settings.dns_addresses
    ]


async def keep(client: Client, clock: Clock, settings: NodeSettings, port: int) -> None:
    """Keep the Service and our slices, looking now and then. Ends only by cancellation."""
    told = ""
    while True:
        try:
            await _write(client, settings, port)
        except (ApiError, Retryable) as error:
            if str(error) != told:
                log.warning("the Service kube-dns cannot be kept; it is tried again", error=str(error))
            told = str(error)
            await clock.sleep(AGAIN_SECONDS)
        else:
            told = ""
            await clock.sleep(LOOK_SECONDS)


async def _write(client: Client, settings: NodeSettings, port: int) -> None:
    found = await _get_or_create(client, settings)
    if (found.get("spec") or {}).get("selector"):
        return
    node = await client.get(NODES, settings.name)
    for wanted in slices(settings, node, port):
        try:
            known = await client.get(ENDPOINTSLICES, name_of(wanted), namespace=NAMESPACE)
        except ApiError as error:
            if not error.is_not_found:
                raise
            await client.create(ENDPOINTSLICES, wanted)
            continue
        if not says(known, wanted):
            metadata = {**wanted["metadata"], "resourceVersion": known["metadata"]["resourceVersion"]}
            await client.update(ENDPOINTSLICES, {**wanted, "metadata": metadata})


async def _get_or_create(client: Client, settings: NodeSettings) -> Object:
    try:
        return await client.get(SERVICES, NAME, namespace=NAMESPACE)
    except ApiError as error:
        if not error.is_not_found:
            raise
    return await client.create(SERVICES, service(settings))


def says(known: Any, wanted: Any) -> bool:
    """Whether what the API has says what we would write, whatever it has filled in besides."""
    if isinstance(wanted, dict) and isinstance(known, dict):
        return all(says(known.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(known, list) and len(known) == len(wanted):
        return all(says(one, other) for one, other in zip(known, wanted, strict=True))
    return bool(known == wanted)
