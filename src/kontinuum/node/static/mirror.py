"""The mirror pod of a static pod: what it looks like, and what is to be done about it. Pure."""

from __future__ import annotations

from typing import Literal

from kontinuum.api.machinery.objects import Object, annotations_of
from kontinuum.node import pods
from kontinuum.node.pods import MIRROR


def mirror_of(static: Object, node: Object) -> Object:
    """What is created in the API; ``node`` is the Node object, which owns it."""
    meta = static["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}
    annotations = {**meta["annotations"], MIRROR: meta["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **{key: meta[key] for key in ("name", "namespace", "labels") if key in meta},
            "annotations": annotations,
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": static["spec"],
    }


def step(static: Object | None, mirror: Object | None) -> Literal["create", "delete", ""]:
    """A mirror of another content, one that somebody deletes, and one of nothing go; they come back by themselves."""
    if mirror is None:
        return "create" if static is not None else ""
    shows = annotations_of(mirror)[MIRROR]
    if static is None or pods.is_deleting(mirror) or shows != static["metadata"]["uid"]:
        return "delete"
    return ""
