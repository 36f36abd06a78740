"""Taking and giving back a port of every node. Each taken port is a small record of its own in the store.

Kubernetes keeps one bitmap for all ports, which every write of a NodePort Service contends for; records do not.
"""

from __future__ import annotations

import random

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.registry import ROOT
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation.errors import Refused
from kontinuum.store.port import AlreadyExists, Missing, Record, StaleRevision

PREFIX = f"{ROOT}ranges/servicenodeports/"
GUESSES = 8
"""Free ports are guessed this often before the taken ones are read."""


class NoPort(Refused):
    """The port cannot be had. The message is Kubernetes'."""


def numbers_of(spec: Object) -> set[int]:
    """The ports of nodes that a Service's spec names."""
    found = {port.get("nodePort") or 0 for port in spec.get("ports") or ()}
    return (found | {spec.get("healthCheckNodePort") or 0}) - {0}


async def take(context: Context, service: Object, number: int) -> None:
    """Take the port that a Service asks for. Raises NoPort, StoreFull, StoreUnavailable."""
    _check_range(context, number)
    try:
        await context.store.create(_key(number), orjson.dumps(_owner(service)))
    except AlreadyExists:
        raise NoPort("provided port is already allocated") from None


async def check(context: Context, number: int) -> None:
    """What ``take`` would find, for a dry run. Raises NoPort, StoreUnavailable."""
    _check_range(context, number)
    if await context.store.get(_key(number)) is not None:
        raise NoPort("provided port is already allocated")


async def take_any(context: Context, service: Object) -> int:
    """Take a free port. Raises NoPort, StoreFull, StoreUnavailable."""
    low, high = bounds(context.settings)
    for guess in (random.randint(low, high) for _ in range(GUESSES)):
        if await _is_taken(context, service, guess):
            return guess
    taken = {number_of(record) for record in await all_taken(context)}
    free = [number for number in range(low, high + 1) if number not in taken]
    random.shuffle(free)
    for number in free:
        if await _is_taken(context, service, number):
            return number
    raise NoPort("range is full")


async def _is_taken(context: Context, service: Object, number: int) -> bool:
    """Try to take the port for ``service``."""
    try:
        await take(context, service, number)
    except NoPort:
        return False
    return True


async def give_back(context: Context, service: Object, number: int) -> None:
    """Remove the port's record if it is this Service's; gone or another's already is fine."""
    record = await context.store.get(_key(number))
    if record is None or not is_of(record, service):
        return
    try:
        await context.store.delete(record.key, expected=record.revision)
    except (Missing, StaleRevision):
        return  # Somebody else is at it; repair looks again.


async def all_taken(context: Context) -> tuple[Record, ...]:
    return (await context.store.list(PREFIX)).records


def number_of(record: Record) -> int:
    return int(record.key.removeprefix(PREFIX))


def is_of(record: Record, service: Object) -> bool:
    return bool(orjson.loads(record.value) == _owner(service))


def owner_of(record: Record) -> tuple[str, str]:
    """(namespace, name) of the Service that has the port."""
    found = orjson.loads(record.value)
    return found["namespace"], found["name"]


def bounds(settings: ServerSettings) -> tuple[int, int]:
    """The lowest and the highest port that may be given out."""
    low, _, high = settings.node_port_range.partition("-")
    return int(low), int(high)


def _check_range(context: Context, number: int) -> None:
    low, high = bounds(context.settings)
    if not low <= number <= high:
        raise NoPort(f"provided port is not in the valid range. The range of valid ports is {low}-{high}")


def _key(number: int) -> str:
    return f"{PREFIX}{number}"


def _owner(service: Object) -> Object:
    return {"namespace": service["metadata"]["namespace"], "name": service["metadata"]["name"]}
