"""Objects of a cluster as dictionaries, through the official client, for tests that need its controllers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kubernetes.dynamic import DynamicClient, exceptions

MERGE = "application/merge-patch+json"


class Objects:
    """The objects of one kind in one namespace, as dictionaries."""

    def __init__(self, client: DynamicClient, version: str, kind: str, namespace: str) -> None:
        self._resource = client.resources.get(api_version=version, kind=kind)
        self._where = {"namespace": namespace}

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._resource.create(body=body, **self._where).to_dict()

    def get(self, name: str) -> dict[str, Any]:
        return self._resource.get(name=name, **self._where).to_dict()

    def list(self, selector: str = "") -> list[dict[str, Any]]:
        return self._resource.get(label_selector=selector, **self._where).to_dict()["items"]

    def patch(self, name: str, body: dict[str, Any], subresource: str = "") -> dict[str, Any]:
        resource = getattr(self._resource, subresource) if subresource else self._resource
        return resource.patch(name=name, body=body, content_type=MERGE, **self._where).to_dict()

    def read(self, name: str, subresource: str) -> dict[str, Any]:
        return getattr(self._resource, subresource).get(name=name, **self._where).to_dict()

    def replace(self, body: dict[str, Any], subresource: str = "") -> dict[str, Any]:
        resource = getattr(self._resource, subresource) if subresource else self._resource
        return resource.replace(name=body["metadata"]["name"], body=body, **self._where).to_dict()

    def delete(self, name: str, propagation: str = "Background") -> None:
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        self._resource.delete(name=name, body=options, **self._where)

    def delete_all(self, selector: str) -> None:
        self._resource.delete(label_selector=selector, **self._where)

    def is_gone(self, name: str) -> bool:
        try:
            self.get(name)
        except exceptions.NotFoundError:
            return True
        return False

    def is_ready(self, name: str, replicas: int) -> bool:
        """The controller has seen the last change, and so many replicas are ready."""
        found = self.get(name)
        status = found.get("status") or {}
        is_seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return bool(is_seen and status.get("replicas", 0) == status.get("readyReplicas", 0) == replicas)


def wait_until(condition: Callable[[], Any]) -> None:
    """Fails after a minute. The controllers change objects while a test does: its own write is tried again."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if condition():
                return
        except exceptions.ConflictError:
            pass
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


def workload(kind: str, name: str = "web", replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"test": "conformance"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def pod(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "nginx:1"}], "terminationGracePeriodSeconds": 0}
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def owner_of(obj: dict[str, Any]) -> dict[str, Any]:
    keys = {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
    return keys | {"name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}


def owners(obj: dict[str, Any]) -> list[str]:
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]
