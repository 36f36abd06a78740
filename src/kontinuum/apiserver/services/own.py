"""The server's own Service: ``kubernetes`` in ``default``, at the first Service address, and who stands behind it.

Every server keeps a record that it lives; each of them, looking now and then, writes the addresses of all that do into
the Endpoints and the EndpointSlice. There are no pods behind this Service that a controller could find.
"""

from __future__ import annotations

import ipaddress

import orjson
import structlog

from kontinuum.api.kubernetes.resources import ENDPOINTS, ENDPOINTSLICES, SERVICECIDRS, SERVICES
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import writing
from kontinuum.apiserver.bootstrap import create_missing
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.registry import ROOT
from kontinuum.apiserver.services import addresses, ranges
from kontinuum.apiserver.services.addresses import NoAddress
from kontinuum.foundation.clock import rfc3339
from kontinuum.store.port import AlreadyExists, Missing, StaleRevision

log = structlog.get_logger(__name__)

NAME, NAMESPACE = "kubernetes", "default"
ALIVE = f"{ROOT}ranges/servers/"
LOOK_SECONDS = 10.0
SILENT_SECONDS = 60.0
"""A server whose record is older than this is gone."""
LABELS = {"component": "apiserver", "provider": "kubernetes"}
SLICE_LABELS = {"kubernetes.io/service-name": NAME}


async def create_service_range(context: Context) -> None:
    """The default ServiceCIDR, ready from the beginning."""
    cidrs = [str(network) for network in ranges.configured(context.settings)]
    await create_missing(context, SERVICECIDRS, [{"metadata": {"name": NAME}, "spec": {"cidrs": cidrs}}])
    served = context.served[SERVICECIDRS]
    record = await context.store.get(served.layout.key("", NAME))
    if record is None or (orjson.loads(record.value).get("status") or {}).get("conditions"):
        return
    ready = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": rfc3339(context.clock.time()),
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
    }
    obj = {**served.layout.decode(record.value, record.revision), "status": {"conditions": [ready]}}
    try:
        await context.store.update(record.key, served.layout.encode(obj), expected=record.revision)
    except (Missing, StaleRevision):
        return  # Another server was faster.


async def keep_own_service(context: Context, *, host: str, port: int) -> None:
    """Create the Service and keep what stands behind it. Ends only by cancellation."""
    address = advertised(context.settings.advertise_address, host)
    while True:
        await _create_service(context, port)
        alive = await _living(context, address)
        await _write_endpoints(context, alive, port)
        await context.clock.sleep(LOOK_SECONDS)


def advertised(setting: str, host: str) -> str:
    """The address that pods are told; "" if the server is nowhere that they could reach."""
    if setting:
        return setting
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return ""
    return "" if found.is_unspecified or found.is_loopback or found.is_link_local else str(found)


async def _create_service(context: Context, port: int) -> None:
    served = context.served[SERVICES]
    key = served.layout.key(NAMESPACE, NAME)
    if served.cache.get(key) is not None:
        return
    network = ranges.configured(context.settings)[0]
    first = str(network.network_address + 1)
    spec = {
        "type": "ClusterIP",
        "clusterIP": first,
        "clusterIPs": [first],
        "ipFamilies": [f"IPv{network.version}"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
    }
    service: Object = {"metadata": {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}, "spec": spec}
    try:
        await addresses.take(context, service, first)
    except NoAddress:
        # It is this Service's since an earlier start, or somebody else's, who then has to give it up.
        log.debug("the first service address is taken already", address=first)
    await create_missing(context, SERVICES, [service])


async def _living(context: Context, address: str) -> list[str]:
    """Say that this server lives, and tell who does."""
    now = context.clock.time()
    found = {record.key: record for record in (await context.store.list(ALIVE)).records}
    own = f"{ALIVE}{address}"
    try:
        if address and own in found:
            await context.store.update(own, orjson.dumps(now), expected=found[own].revision)
        elif address:
            await context.store.create(own, orjson.dumps(now))
    except (AlreadyExists, Missing, StaleRevision):
        log.debug("another server says that it is at this address", address=address)
    others = [key for key, record in found.items() if now - float(orjson.loads(record.value)) < SILENT_SECONDS]
    return sorted({key.removeprefix(ALIVE) for key in [*others, own]} - {""})


async def _write_endpoints(context: Context, alive: list[str], port: int) -> None:
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    subsets = [{"addresses": [{"ip": one} for one in alive], "ports": ports}] if alive else []
    family = f"IPv{ipaddress.ip_address(alive[0]).version}" if alive else ranges.families(context.settings)[0]
    endpoints = [{"addresses": [one], "conditions": {"ready": True}} for one in alive]
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    await _write(context, ENDPOINTS, labels, {"subsets": subsets} if subsets else {})
    await _write(context, ENDPOINTSLICES, SLICE_LABELS, {"addressType": family, "endpoints": endpoints, "ports": ports})


async def _write(context: Context, resource: Resource, labels: dict[str, str], content: Object) -> None:
    """Create the object, or bring it up to date if it says something else."""
    served = context.served[resource]
    key = served.layout.key(NAMESPACE, NAME)
    record = await context.store.get(key)
    obj: Object = {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": labels},
        **content,
    }
    served.kind.default(obj)
    try:
        if record is None:
            writing.begin(obj["metadata"], now=context.clock.time())
            served.kind.prepare_create(obj)
            await context.store.create(key, served.layout.encode(obj))
            return
        old = served.layout.decode(record.value, record.revision)
        obj["metadata"] = {**old["metadata"], "labels": {**(old["metadata"].get("labels") or {}), **labels}}
        served.kind.prepare_update(obj, old)
        value = served.layout.encode(obj)
        if orjson.loads(value) != orjson.loads(record.value):
            await context.store.update(key, value, expected=record.revision)
    except (AlreadyExists, Missing, StaleRevision):
        return  # Another server was faster; the next look mends what differs.
