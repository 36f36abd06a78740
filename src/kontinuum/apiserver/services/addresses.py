"""Taking and giving back an address: its IPAddress object is the proof of who has it."""

from __future__ import annotations

import ipaddress

import orjson

from kontinuum.api.kubernetes.resources import IPADDRESSES, SERVICES
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import writing
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.services import ranges
from kontinuum.foundation.errors import Refused
from kontinuum.store.port import AlreadyExists, Missing, StaleRevision

FAMILY = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"


class NoAddress(Refused):
    """The address cannot be had. The message is Kubernetes'."""


async def take(context: Context, service: Object, address: str) -> None:
    """Take the address that a Service asks for. Raises NoAddress, StoreFull, StoreUnavailable."""
    await _check_range(context, address)
    try:
        await _create(context, service, str(ipaddress.ip_address(address)))
    except AlreadyExists:
        raise NoAddress("provided IP is already allocated") from None


async def check(context: Context, address: str) -> None:
    """What ``take`` would find, for a dry run. Raises NoAddress, StoreUnavailable."""
    await _check_range(context, address)
    layout = context.served[IPADDRESSES].layout
    if await context.store.get(layout.key("", str(ipaddress.ip_address(address)))) is not None:
        raise NoAddress("provided IP is already allocated")


async def take_any(context: Context, service: Object, family: str) -> str:
    """Take a free address of ``family``. Raises NoAddress, StoreFull, StoreUnavailable."""
    layout, cache = context.served[IPADDRESSES].layout, context.served[IPADDRESSES].cache
    for network in await ranges.usable(context, family):
        for address in ranges.candidates(network):
            if cache.get(layout.key("", address)) is not None:
                continue
            try:
                await _create(context, service, address)
            except AlreadyExists:
                continue  # Another server was faster.
            return address
    raise NoAddress("range is full")


async def shown(context: Context, family: str) -> str:
    """What a dry run shows for an address that would be taken: Kubernetes answers the range's own."""
    networks = await ranges.usable(context, family)
    if not networks:
        raise NoAddress("range is full")
    return str(networks[0].network_address)


async def give_back(context: Context, service: Object, address: str) -> None:
    """Remove the address' object if it is this Service's; gone or another's already is fine."""
    key = context.served[IPADDRESSES].layout.key("", str(ipaddress.ip_address(address)))
    record = await context.store.get(key)
    if record is None or not is_of(orjson.loads(record.value), service):
        return
    try:
        await context.store.delete(key, expected=record.revision)
    except (Missing, StaleRevision):
        return  # Somebody else is at it; repair looks again.


async def _check_range(context: Context, address: str) -> None:
    found = ipaddress.ip_address(address)
    network = ranges.holds(await ranges.usable(context, f"IPv{found.version}"), address)
    if network is None:
        raise NoAddress("the provided network does not match the current range")
    first, last = ranges.first_and_last(network)
    if not first <= int(found) <= last:
        problem = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {network}"
        raise NoAddress(problem)


def is_of(address: Object, service: Object) -> bool:
    """The IPAddress object says that ``service`` has it."""
    return bool((address.get("spec") or {}).get("parentRef") == parent_of(service))


def parent_of(service: Object) -> Object:
    metadata = service["metadata"]
    return {
        "group": "", "resource": SERVICES.plural, "namespace": metadata["namespace"], "name": metadata["name"],
    }  # fmt: skip


async def _create(context: Context, service: Object, address: str) -> None:
    served = context.served[IPADDRESSES]
    family = f"IPv{ipaddress.ip_address(address).version}"
    metadata: Object = {"name": address, "labels": {FAMILY: family, MANAGED_BY: MANAGER}}
    obj: Object = {
        "kind": IPADDRESSES.kind,
        "apiVersion": IPADDRESSES.api_version,
        "metadata": metadata,
        "spec": {"parentRef": parent_of(service)},
    }
    writing.begin(metadata, now=context.clock.time())
    served.kind.default(obj)
    served.kind.prepare_create(obj)
    await context.store.create(served.layout.key("", address), served.layout.encode(obj))
