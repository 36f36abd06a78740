"""GET and LIST of NodeMetrics and PodMetrics: made of the newest samples when they are asked for.

Labels and names are those of the Node or Pod itself, so every selector means the same as there. What nothing is known
of (yet) is not found by name, and left out of a list (the metrics-server's rules).
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiohttp.web_response import StreamResponse
from msgspec.structs import replace

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object, annotations_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.authz.node_graph import MIRROR
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.presenting import answer, answer_list
from kontinuum.apiserver.reading import Slice
from kontinuum.apiserver.strategy import NEUTRAL
from kontinuum.apiserver.usage import kinds
from kontinuum.apiserver.verbs.list import selection_of
from kontinuum.apiserver.watchcache import WatchCache

Make = Callable[[Context, Object], Object | None]


def served() -> list[Served]:
    """Both resources, for the catalog."""
    return [Served(one, kinds.Metrics(one), NEUTRAL, WatchCache(one)) for one in (kinds.NODES, kinds.PODS)]


async def get_usage(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 404, 406."""
    resource, make = _source(served)
    route = call.route
    obj = await context.find(resource, route.namespace, route.name)
    made = make(context, obj) if obj is not None else None
    if made is None:
        name = f"{route.namespace}/{route.name}" if route.namespace else route.name
        raise status.not_found(replace(served.resource, plural=served.resource.kind.lower()), name)
    return answer(context, call, served, orjson.dumps(made))


async def list_usage(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 406."""
    resource, make = _source(served)
    found = []
    for entry in context.served[resource].cache.select(selection_of(served, call)):
        made = make(context, orjson.loads(entry.value))
        if made is not None:
            found.append(_entry(entry, made))
    return await answer_list(context, call, served, Slice(found, context.feed.applied))


def _source(served: Served) -> tuple[Resource, Make]:
    return (r.NODES, _of_node) if served.resource == kinds.NODES else (r.PODS, _of_pod)


def _of_node(context: Context, node: Object) -> Object | None:
    now = context.clock.time()
    used = context.usage.of_node(node["metadata"]["name"], now=now)
    return kinds.node_metrics(node, used, now=now) if used is not None else None


def _of_pod(context: Context, pod: Object) -> Object | None:
    now = context.clock.time()
    # A node tells of a static pod under its own UID, which the mirror names.
    used = context.usage.of_pod(annotations_of(pod).get(MIRROR) or uid_of(pod), now=now)
    return kinds.pod_metrics(pod, used, now=now) if used is not None else None


def _entry(source: Entry, made: Object) -> Entry:
    return source.showing(orjson.dumps(made))
