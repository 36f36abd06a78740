"""Flow schemas and priority levels that every server has, and what their status says.

As Kubernetes does it (``registry/flowcontrol/ensurer``): mandatory objects come back, and their specs are put right;
suggested ones are made once and follow the server's idea of them while the annotation
``apf.kubernetes.io/autoupdate-spec`` is "true". A schema without its level is marked ``Dangling``.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from kontinuum.api.kubernetes import flowcontrol as tables
from kontinuum.api.kubernetes.resources import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS
from kontinuum.api.machinery.conditions import get_condition, set_condition
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.bootstrap import create_missing
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.selection import Selection
from kontinuum.foundation.clock import rfc3339
from kontinuum.store.port import Missing, StaleRevision

EVERY_SECONDS = 60.0
LEVELS = {**tables.MANDATORY_LEVELS, **tables.SUGGESTED_LEVELS}
SCHEMAS = {**tables.MANDATORY_SCHEMAS, **tables.SUGGESTED_SCHEMAS}
Decide = Callable[[Object], Object]


async def create_flow_objects(context: Context) -> None:
    """All of them, at the start. Raises StoreFull, StoreUnavailable."""
    await create_missing(context, PRIORITYLEVELCONFIGURATIONS, tables.objects(LEVELS))
    await create_missing(context, FLOWSCHEMAS, tables.objects(SCHEMAS))


async def keep_flow_objects(context: Context) -> None:
    """Look again every minute. Ends only by cancellation."""
    await context.catch_up()
    while True:
        await look_once(context)
        await context.clock.sleep(EVERY_SECONDS)


async def look_once(context: Context) -> None:
    """Bring back what is mandatory, put specs right, and say which schemas dangle."""
    await create_missing(context, PRIORITYLEVELCONFIGURATIONS, tables.objects(tables.MANDATORY_LEVELS))
    await create_missing(context, FLOWSCHEMAS, tables.objects(tables.MANDATORY_SCHEMAS))
    levels = {context.served[PRIORITYLEVELCONFIGURATIONS].layout.identity(one.key)[1]
              for one in _entries(context, PRIORITYLEVELCONFIGURATIONS)}  # fmt: skip
    for entry in _entries(context, PRIORITYLEVELCONFIGURATIONS):
        await _write(context, PRIORITYLEVELCONFIGURATIONS, entry, lambda obj: followed(obj, LEVELS))
    now = rfc3339(context.clock.time())
    for entry in _entries(context, FLOWSCHEMAS):
        await _write(context, FLOWSCHEMAS, entry, lambda obj: marked(followed(obj, SCHEMAS), levels, now))


def followed(obj: Object, wanted: dict[str, Object]) -> Object:
    """``obj`` with the spec that the server wants for it, if it has an opinion and is asked for it."""
    spec = wanted.get(name_of(obj))
    if spec is None or obj.get("spec") == spec or annotations_of(obj).get(tables.AUTO_UPDATE) != "true":
        return obj
    metadata = {**obj["metadata"], "generation": obj["metadata"].get("generation", 1) + 1}
    return {**obj, "metadata": metadata, "spec": spec}


def marked(schema: Object, levels: set[str], now: str) -> Object:
    """``schema`` with a condition that says whether its level is there; ``now`` is an RFC 3339 time."""
    name = schema["spec"]["priorityLevelConfiguration"]["name"]
    is_there = name in levels
    existence = "and it exists" if is_there else "but there is no such object"
    message = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}" {existence}'
    old = get_condition(schema, "Dangling")
    if old is not None and old.get("message") == message:
        return schema
    status = schema.get("status") or {}
    reason = "Found" if is_there else "NotFound"
    conditions = set_condition(
        status.get("conditions"), "Dangling", not is_there, now=now, reason=reason, message=message
    )
    return {**schema, "status": {**status, "conditions": conditions}}


def _entries(context: Context, resource: Resource) -> list[Entry]:
    return list(context.served[resource].cache.select(Selection()))


async def _write(context: Context, resource: Resource, entry: Entry, decide: Decide) -> None:
    served: Served = context.served[resource]
    old: Object = orjson.loads(entry.value)
    new = decide(old)
    if new is old:
        return
    try:
        await context.store.update(entry.key, served.layout.encode(new), expected=entry.revision)
    except (StaleRevision, Missing):
        return  # Somebody else has changed it; the next look sees what came of it.
