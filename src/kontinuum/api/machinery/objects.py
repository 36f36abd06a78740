"""An API object is a plain JSON mapping; these are the few readings of it that everybody needs."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
"""A decoded API object (or any JSON mapping inside one). Treated as immutable once it has been handed to somebody."""


def name_of(obj: Object) -> str:
    name: str = obj["metadata"]["name"]
    return name


def namespace_of(obj: Object) -> str:
    """The object's namespace, or "" for a cluster-scoped one."""
    namespace: str = obj["metadata"].get("namespace", "")
    return namespace


def uid_of(obj: Object) -> str:
    uid: str = obj["metadata"].get("uid", "")
    return uid


def labels_of(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def key_of(obj: Object) -> str:
    """``namespace/name``, or ``name`` for a cluster-scoped object: the key that informers and queues use."""
    namespace = namespace_of(obj)
    return f"{namespace}/{name_of(obj)}" if namespace else name_of(obj)


def split_key(key: str) -> tuple[str, str]:
    """``(namespace, name)`` of a key made by ``key_of``; the namespace is "" for a cluster-scoped object."""
    namespace, _, name = key.rpartition("/")
    return namespace, name
