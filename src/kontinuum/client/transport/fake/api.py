"""The fake API server itself: requests in, answers out. See the package for what it promises."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import orjson

from kontinuum.api.kubernetes.resources import NAMESPACES, NODES, PODS, STORED
from kontinuum.api.machinery.objects import Object, key_of, labels_of
from kontinuum.api.machinery.patches import json_patch, merge_patch
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import parse_fields, parse_labels
from kontinuum.api.machinery.status import (
    already_exists,
    bad_request,
    expired,
    method_not_allowed,
    namespace_terminating,
    not_found,
    success,
)
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import routes, rules, watching
from kontinuum.client.transport.fake.channel import Channel
from kontinuum.client.transport.fake.faults import Faults
from kontinuum.client.transport.fake.storage import Storage
from kontinuum.client.transport.port import Request
from kontinuum.foundation.clock import Clock, VirtualClock

_INITIAL_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class FakeApi:
    """One cluster's API. Make a ``channel`` per component, so that each has faults of its own."""

    def __init__(self, clock: Clock | None = None, resources: Sequence[Resource] = STORED) -> None:
        self.storage = Storage()
        self.resources = tuple(resources)
        self.clock: Clock = clock or VirtualClock()
        self._listed = 0
        self._namesakes: Counter[str] = Counter()
        """How many objects were created under each name, or under names that begin with each ``generateName``: uids and
        names tell that, and not what else was created before."""
        self._pages: dict[str, tuple[list[Object], int]] = {}
        self.cuts = 0
        """How often the watches were cut; each remembers the number of its beginning."""
        self.aggregated: dict[str, Callable[[Request], Object]] = {}
        """Who answers below a path instead of this server: the APIs that others add to it."""

    def client(self) -> Client:
        """A client that nothing goes wrong for."""
        return Client(self.channel())

    def channel(self, faults: Faults | None = None) -> Channel:
        """A transport of one component; ``faults`` are what it is to suffer."""
        return Channel(self, faults or Faults())

    def drop_watches(self) -> None:
        """Cut the connection of every watch that stands."""
        self.cuts += 1
        self.storage.wake()

    def compact(self) -> None:
        """Forget history: a watch that resumes from an older revision than now's is answered 410."""
        self.storage.compacted = self.storage.revision

    def serve(self, request: Request) -> Object:
        """Carry out one request that is no watch, and answer its object. Raises ApiError."""
        self._begin()
        if request.method == "GET" and (document := routes.discovery(request.path, self.resources)):
            return document
        for path, answer in self.aggregated.items():
            if request.path.startswith(path):
                return answer(request)
        target = routes.parse(request.path, self.resources)
        match request.method, bool(target.name):
            case "GET", True:
                found = self._existing(target)
                return rules.scale_of(found) if target.subresource == "scale" else _rendering(request)(found)
            case "GET", False:
                return self._list(target, request)
            case "POST", _:
                return self._post(target, _body(request))
            case "PUT", True:
                return self._write(target, self._existing(target), _body(request))
            case "PATCH", True:
                return self._patch(target, request)
            case "DELETE", True:
                return self._delete(target, _body(request) if request.body else {})
            case "DELETE", False:
                for obj in self.storage.find(target.resource, _selector(target, request)):
                    self._delete_object(target.resource, obj, _body(request) if request.body else {})
                return success()
        raise method_not_allowed(target.resource, request.method.lower())

    def watch(self, request: Request) -> watching.Watch:
        """What a watch request asks for."""
        self._begin()
        target = routes.parse(request.path, self.resources)
        revision = request.query.get("resourceVersion") or "0"
        return watching.Watch(
            resource=target.resource,
            revision=int(revision) if revision != "0" else None,
            matches=_selector(target, request),
            render=_rendering(request),
            seconds=float(request.query.get("timeoutSeconds") or 1800),
            bookmarks=request.query.get("allowWatchBookmarks") == "true",
        )

    def _begin(self) -> None:
        """Make the namespaces that every cluster has; on first use, because the clock may need a running loop."""
        if not self._namesakes:
            for name in _INITIAL_NAMESPACES:
                self._post(routes.Target(NAMESPACES, "", "", ""), {"metadata": {"name": name}})

    def _existing(self, target: routes.Target) -> Object:
        found = self.storage.get(target.resource, target.key)
        if found is None:
            raise not_found(target.resource, target.name)
        return found

    def _list(self, target: routes.Target, request: Request) -> Object:
        if token := request.query.get("continue"):
            if token not in self._pages:
                raise expired("The provided continue parameter is too old.")
            items, revision = self._pages.pop(token)
        else:
            items = self.storage.find(target.resource, _selector(target, request))
            revision = self.storage.revision
        limit = int(request.query.get("limit") or 0) or len(items)
        metadata: Object = {"resourceVersion": str(revision)}
        if items[limit:]:
            # The rest is kept as it was, because all pages of a list show one moment.
            self._listed += 1
            metadata["continue"] = f"page-{self._listed}"
            self._pages[metadata["continue"]] = (items[limit:], revision)
        render = _rendering(request)
        kind = f"{target.resource.kind}List"
        shown = [{k: v for k, v in render(obj).items() if k not in ("kind", "apiVersion")} for obj in items[:limit]]
        return {"kind": kind, "apiVersion": target.resource.api_version, "metadata": metadata, "items": shown}

    def _post(self, target: routes.Target, obj: Object) -> Object:
        if target.subresource == "binding":
            node = self.storage.get(NODES, obj["target"]["name"])
            bound = rules.bind(self._existing(target), obj, labels_of(node) if node else {})
            return self._store(PODS, self._existing(target), bound)
        if target.subresource == "eviction":
            return self._delete(target, obj.get("deleteOptions") or {})
        namespace = target.namespace if target.resource.namespaced else ""
        metadata = obj.get("metadata") or {}
        name = metadata.get("name") or metadata.get("generateName") or ""
        source = f"{target.resource.qualified} {namespace}/{name}"
        self._namesakes[source] += 1
        number = self._namesakes[source]
        circumstances = rules.Created(namespace, _uid(f"{source} {number}"), f"{number:05x}", self.clock.time())
        new = rules.prepare_create(target.resource, obj, circumstances)
        self._check_namespace(target.resource, new)
        if self.storage.get(target.resource, key_of(new)) is not None:
            raise already_exists(target.resource, new["metadata"]["name"])
        return self.storage.put(target.resource, new)

    def _check_namespace(self, resource: Resource, new: Object) -> None:
        if not resource.namespaced:
            return
        namespace = new["metadata"]["namespace"]
        holder = self._existing(routes.Target(NAMESPACES, "", namespace, ""))
        if "deletionTimestamp" in holder["metadata"]:
            raise namespace_terminating(resource, new["metadata"]["name"], namespace)

    def _patch(self, target: routes.Target, request: Request) -> Object:
        old, patch = self._existing(target), orjson.loads(request.body)
        match request.content_type:
            case "application/merge-patch+json":
                new = merge_patch(old, patch)
            case "application/json-patch+json":
                new = json_patch(old, patch)
            case _:
                # A strategic merge needs the schemas, which are the API server's business.
                raise bad_request(f"the fake API server does not know patches of type {request.content_type}")
        return self._write(target, old, new)

    def _write(self, target: routes.Target, old: Object, new: Object) -> Object:
        stored = self._store(target.resource, old, rules.prepare_update(target.resource, old, new, target.subresource))
        return rules.scale_of(stored) if target.subresource == "scale" else stored

    def _store(self, resource: Resource, old: Object, new: Object) -> Object:
        """Write, unless nothing changes; remove, if this write lets go of an object that was to be deleted."""
        if rules.is_gone(resource, new):
            return self.storage.remove(resource, new)
        compared = {**new, "metadata": {**new["metadata"], "resourceVersion": old["metadata"]["resourceVersion"]}}
        return old if compared == old else self.storage.put(resource, new)

    def _delete(self, target: routes.Target, options: Object) -> Object:
        if target.subresource not in ("", "eviction"):
            raise method_not_allowed(target.resource, "delete")
        return self._delete_object(target.resource, self._existing(target), options)

    def _delete_object(self, resource: Resource, old: Object, options: Object) -> Object:
        new = rules.prepare_delete(resource, old, options, self.clock.time())
        stored = self._store(resource, old, new)
        gone = rules.is_gone(resource, new)
        return success(resource, new["metadata"]["name"], new["metadata"]["uid"]) if gone else stored


def _body(request: Request) -> Object:
    body: Object = orjson.loads(request.body)
    return body


def _uid(of: str) -> str:
    return f"00000000-0000-4000-8000-{hashlib.sha256(of.encode()).hexdigest()[:12]}"


def _selector(target: routes.Target, request: Request) -> Callable[[Object], bool]:
    labels = parse_labels(request.query.get("labelSelector", ""))
    fields = parse_fields(request.query.get("fieldSelector", ""))

    def matches(obj: Object) -> bool:
        if target.namespace and obj["metadata"].get("namespace") != target.namespace:
            return False
        values = {one.key: _field(obj, one.key) for one in fields.requirements}
        return labels.matches(labels_of(obj)) and fields.matches(values)

    return matches


def _field(obj: Object, path: str) -> str:
    value: object = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def _rendering(request: Request) -> Callable[[Object], Object]:
    if "as=PartialObjectMetadata" not in request.accept:
        return lambda obj: obj
    return lambda obj: {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": obj["metadata"],
    }
