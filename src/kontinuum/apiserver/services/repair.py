"""Puts right what crashes leave behind: addresses and ports that nobody has, and Services whose proof is missing.

A thing without an owner is given back only when it has been seen so twice, so that a Service that is being written
just now keeps what it has taken.
"""

from __future__ import annotations

import orjson
import structlog

from kontinuum.api.kubernetes.defaults.services import needs_address
from kontinuum.api.kubernetes.resources import IPADDRESSES, SERVICES
from kontinuum.api.machinery.objects import Object, labels_of
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.services import addresses, ports
from kontinuum.apiserver.services.addresses import NoAddress
from kontinuum.apiserver.services.ports import NoPort

log = structlog.get_logger(__name__)

REPAIR_SECONDS = 180.0


async def repair_for_ever(context: Context) -> None:
    """Look every few minutes. Ends only by cancellation."""
    suspects: set[str] = set()
    while True:
        suspects = await repair(context, suspects)
        await context.clock.sleep(REPAIR_SECONDS)


async def repair(context: Context, suspects: set[str]) -> set[str]:
    """Give back what is without an owner now and was among ``suspects``; answers what is without an owner now."""
    await context.catch_up()
    services = {(entry.namespace, entry.name): _spec(entry.value)
                for entry in context.served[SERVICES].cache.select(Selection())}  # fmt: skip
    found = await _idle_addresses(context, services, suspects) | await _idle_ports(context, services, suspects)
    taken = {ports.number_of(record) for record in await ports.all_taken(context)}
    for owner, spec in services.items():
        await _take_again(context, {**_service(owner), "spec": spec}, taken)
    return found


async def _idle_addresses(context: Context, services: dict[tuple[str, str], Object], suspects: set[str]) -> set[str]:
    found = set()
    for entry in list(context.served[IPADDRESSES].cache.select(Selection())):
        obj: Object = orjson.loads(entry.value)
        if labels_of(obj).get(addresses.MANAGED_BY) != addresses.MANAGER:
            continue
        parent = (obj.get("spec") or {}).get("parentRef") or {}
        owner = parent.get("namespace", ""), parent.get("name", "")
        if entry.name in (services.get(owner) or {}).get("clusterIPs", ()):
            continue
        found.add(entry.name)
        if entry.name in suspects:
            log.warning("an address belongs to no Service; giving it back", address=entry.name, service=owner)
            await addresses.give_back(context, _service(owner), entry.name)
    return found


async def _idle_ports(context: Context, services: dict[tuple[str, str], Object], suspects: set[str]) -> set[str]:
    found = set()
    for record in await ports.all_taken(context):
        number, owner = ports.number_of(record), ports.owner_of(record)
        if number in ports.numbers_of(services.get(owner) or {}):
            continue
        found.add(record.key)
        if record.key in suspects:
            log.warning("a node port belongs to no Service; giving it back", port=number, service=owner)
            await ports.give_back(context, _service(owner), number)
    return found


async def _take_again(context: Context, service: Object, taken: set[int]) -> None:
    """Make up for a missing proof of what the Service has; ``taken`` are the ports of all Services."""
    spec = service["spec"]
    held = context.served[IPADDRESSES]
    for address in spec.get("clusterIPs") or ():
        if not needs_address(spec) or address == "None" or held.cache.get(held.layout.key("", address)) is not None:
            continue
        try:
            await addresses.take(context, service, address)
        except NoAddress as problem:
            log.warning("a Service has an address that it cannot have", address=address, reason=str(problem))
    for number in ports.numbers_of(spec) - taken:
        try:
            await ports.take(context, service, number)
        except NoPort as problem:
            log.warning("a Service has a node port that it cannot have", port=number, reason=str(problem))


def _service(owner: tuple[str, str]) -> Object:
    return {"metadata": {"namespace": owner[0], "name": owner[1]}}


def _spec(value: bytes) -> Object:
    spec: Object = orjson.loads(value).get("spec") or {}
    return spec
