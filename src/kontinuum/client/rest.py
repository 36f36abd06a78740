"""Requests in Kubernetes' words: get, list, watch, create, update, patch, delete, over any transport.

Every method raises ``api.machinery.status.ApiError`` for an answer that is no success, and
``client.errors.Unreachable`` when no answer came. Objects are plain JSON mappings and belong to the caller once they
are returned.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec
import orjson

from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError, from_status
from kontinuum.client.errors import WatchBroken
from kontinuum.client.shapes import Shape, events, shaped
from kontinuum.client.transport.port import Request, Response, Transport

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
PatchKind = Literal["merge", "strategic", "json"]

T = TypeVar("T")

_METADATA_ACCEPT = "application/json;as={kind};g=meta.k8s.io;v=v1,application/json"
_WATCH_SLACK = 30.0
"""Seconds by which a server may be late in ending a watch before we think the connection dead."""


@dataclass(frozen=True, slots=True)
class ObjectList:
    """One page of a list. The items carry ``kind`` and ``apiVersion``, whatever the server left out."""

    items: list[Object]
    resource_version: str
    """Watch from here to miss nothing."""
    continue_: str
    """Pass it to ``list`` for the next page; "" on the last one."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK (whose object has only a resourceVersion)."""

    type: str
    object: Object


class Client:
    """An API server as seen through ``transport``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def through(self, wrap: Callable[[Transport], Transport]) -> Client:
        """A client of the same server whose requests pass through ``wrap``; closing either closes both."""
        return Client(wrap(self._transport))

    async def get(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str = "",
        subresource: str = "",
        metadata_only: bool = False,
    ) -> Object:
        """One object as it is now; with ``metadata_only`` it may have metadata alone."""
        accept = _accept(metadata_only, "PartialObjectMetadata")
        return await self._call(Request("GET", resource.path(namespace, name, subresource), accept=accept))

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
        metadata_only: bool = False,
    ) -> ObjectList:
        """One page of objects (all of them when ``limit`` is 0); namespace "" means all namespaces.

        ``labels`` and ``fields`` are selectors in text form. With ``metadata_only`` the items may have metadata alone.
        """
        query = _query(
            labelSelector=labels,
            fieldSelector=fields,
            limit=str(limit or ""),
            resourceVersion=resource_version,
            **{"continue": continue_},
        )
        accept = _accept(metadata_only, "PartialObjectMetadataList")
        answer = await self._call(Request("GET", resource.path(namespace), query, accept=accept))
        metadata = answer.get("metadata") or {}
        items: list[Object] = answer.get("items") or []
        for item in items:
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return ObjectList(items, metadata.get("resourceVersion", ""), metadata.get("continue", ""))

    async def list_as(
        self, kind: type[T], resource: Resource, *, namespace: str = "", resource_version: str = ""
    ) -> T:  # fmt: skip
        """The whole list, decoded as msgspec does ``kind``: for whoever wants one field of each of thousands."""
        query = _query(resourceVersion=resource_version)
        body = await self._read(Request("GET", resource.path(namespace), query))
        return msgspec.json.decode(body, type=kind)

    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str,
        timeout_seconds: int = 300,
        bookmarks: bool = True,
        metadata_only: bool = False,
        shape: Shape = None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Every change after ``resource_version``, until the server ends the stream (it does, after the timeout).

        ``shape``: what of each object is wanted (``client.shapes``); the others of its fields may be missing.

        An expired version raises ApiError (Gone), at once or in the middle: list again. Close the iterator
        (``contextlib.aclosing``) to let go of the connection.
        """
        query = _query(
            watch="true",
            labelSelector=labels,
            fieldSelector=fields,
            resourceVersion=resource_version,
            timeoutSeconds=str(timeout_seconds),
            allowWatchBookmarks="true" if bookmarks else "",
        )
        request = Request(
            "GET",
            resource.path(namespace),
            query,
            accept=_accept(metadata_only, "PartialObjectMetadata"),
            timeout=timeout_seconds + _WATCH_SLACK,
        )
        decoder = events(shape) if shape is not None else None
        response = await self._transport.send(request)
        try:
            await _raise_for_status(response)
            async with contextlib.aclosing(response.lines()) as lines:
                async for line in lines:
                    if line:
                        yield (_shaped_event(line, decoder) if decoder is not None else None) or _watch_event(line)
        finally:
            await response.close()

    async def create(
        self,
        resource: Resource,
        obj: Object,
        *,
        namespace: str = "",
        subresource: str = "",
        name: str = "",
        shape: Shape = None,
    ) -> Object:
        """Create ``obj``, in its own namespace unless ``namespace`` says another.

        With ``name`` and ``subresource`` it is posted below an existing object: a pod's binding, an eviction.
        ``shape``: what of the answer is wanted (``client.shapes``).
        """
        path = resource.path(namespace or namespace_of(obj), name, subresource)
        return await self._call(_json_request("POST", path, obj), shape)

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        """Replace the object. With a resourceVersion in ``obj`` a change in between is a Conflict."""
        path = resource.path(namespace_of(obj), name_of(obj), subresource)
        return await self._call(_json_request("PUT", path, obj))

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object | Sequence[Object],
        *,
        namespace: str = "",
        subresource: str = "",
        kind: PatchKind = "merge",
        shape: Shape = None,
    ) -> Object:
        """Change part of an object. A ``metadata.resourceVersion`` in a merge patch makes it conditional.

        ``shape``: what of the answer is wanted (``client.shapes``).
        """
        path = resource.path(namespace, name, subresource)
        return await self._call(Request("PATCH", path, {}, orjson.dumps(patch), PATCH_TYPES[kind]), shape)

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        propagation: str = "",
        grace_seconds: int | None = None,
    ) -> Object:
        """Ask for deletion; answers the object as it is now, or a Status if it is gone at once.

        ``uid`` and ``resource_version`` are preconditions (else Conflict); ``propagation`` is Foreground, Background or
        Orphan, and "" for the kind's default.
        """
        body = _delete_options(uid, resource_version, propagation, grace_seconds)
        return await self._call(_json_request("DELETE", resource.path(namespace, name), body))

    async def get_path(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """GET any path that answers JSON, e.g. discovery's ``/apis/apps/v1``."""
        return await self._call(Request("GET", path, dict(query or {})))

    async def close(self) -> None:
        """Close the transport."""
        await self._transport.close()

    async def _call(self, request: Request, shape: Shape = None) -> Object:
        body = await self._read(request)
        answer: Object = orjson.loads(body) if shape is None else shaped(body, shape)
        return answer

    async def _read(self, request: Request) -> bytes:
        response = await self._transport.send(request)
        try:
            await _raise_for_status(response)
            return await response.read()
        finally:
            await response.close()


def _query(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _accept(metadata_only: bool, kind: str) -> str:
    return _METADATA_ACCEPT.format(kind=kind) if metadata_only else "application/json"


def _json_request(method: str, path: str, body: Object) -> Request:
    return Request(method, path, {}, orjson.dumps(body), "application/json")


def _delete_options(uid: str, resource_version: str, propagation: str, grace_seconds: int | None) -> Object:
    options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
    preconditions = _query(uid=uid, resourceVersion=resource_version)
    if preconditions:
        options["preconditions"] = preconditions
    if propagation:
        options["propagationPolicy"] = propagation
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    return options


async def _raise_for_status(response: Response) -> None:
    """Turn an answer that is no success into an ApiError, also one that a proxy or a dying server wrote."""
    if response.status < 400:
        return
    body = await response.read()
    try:
        status = orjson.loads(body)
        described = isinstance(status, dict) and status.get("kind") == "Status"
    except orjson.JSONDecodeError:
        described = False
    if described:
        raise from_status(status)
    raise ApiError(response.status, "", body[:500].decode(errors="replace").strip() or f"status {response.status}")


def _shaped_event(line: bytes, decoder: msgspec.json.Decoder[Any]) -> WatchEvent | None:
    """None for what must be read as a whole: an error, or what is not of that shape."""
    try:
        event = decoder.decode(line)
    except msgspec.MsgspecError:
        return None
    return WatchEvent(event.type, event.object) if event.type != "ERROR" and event.object else None


def _watch_event(line: bytes) -> WatchEvent:
    try:
        event = orjson.loads(line)
        kind, obj = event["type"], event["object"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise WatchBroken(f"reading a watch event: {line[:100]!r}") from error
    if kind == "ERROR":
        raise from_status(obj)
    return WatchEvent(kind, obj)
