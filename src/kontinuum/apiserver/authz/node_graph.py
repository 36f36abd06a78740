"""Which objects have to do with which node: those that its pods use, and what those use in turn.

    node ◀── pod ◀── secret, configmap, service account, resource claim
                ◀── claim ◀── volume ◀── secret
    node ◀── volume attachment, resource slice

Like ``Index`` it follows the caches by key and looks at what has changed only when it is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import orjson

from kontinuum.api.kubernetes import references
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authz.index import Cache

MIRROR = "kubernetes.io/config.mirror"
Thing = tuple[str, str, str]
"""Plural, namespace ("" where there is none), name."""


@dataclass(frozen=True, slots=True)
class GraphCaches:
    pods: Cache
    volumes: Cache
    attachments: Cache
    slices: Cache


class _Claim(msgspec.Struct):
    name: str = ""
    resourceClaimName: str | None = None


class _Metadata(msgspec.Struct):
    uid: str = ""


class _Status(msgspec.Struct):
    resourceClaimStatuses: list[_Claim] | None = None


class _PodFacts(msgspec.Struct):
    """All of a pod that decides what it uses and may change while it lives."""

    metadata: _Metadata
    status: _Status | None = None


_decode_facts = msgspec.json.Decoder(_PodFacts).decode


@dataclass(frozen=True, slots=True)
class _Pod:
    node: str
    facts: _PodFacts
    things: tuple[Thing, ...]


class NodeGraph:
    """See the module."""

    def __init__(self, caches: GraphCaches) -> None:
        self._pods: dict[str, _Pod] = {}
        self._nodes_of: dict[Thing, Counter[str]] = {}
        self._claim_of_volume: dict[str, Thing] = {}
        self._secrets_of_volume: dict[str, tuple[Thing, ...]] = {}
        self._volumes_of_secret: dict[Thing, set[str]] = {}
        self._node_of_thing: dict[Thing, str] = {}
        self._followed = [
            (caches.pods, caches.pods.follow(), self._take_pod),
            (caches.volumes, caches.volumes.follow(), self._take_volume),
            (caches.attachments, caches.attachments.follow(), self._take_attachment),
            (caches.slices, caches.slices.follow(), self._take_slice),
        ]

    def is_related(self, node: str, thing: Thing) -> bool:
        """Whether ``node`` has to do with ``thing``."""
        self._refresh()
        if self._node_of_thing.get(thing) == node or node in self._nodes_of.get(thing, ()):
            return True
        kind, _, name = thing
        if kind == "persistentvolumes":
            return self._uses_volume(node, name)
        return any(self._uses_volume(node, volume) for volume in self._volumes_of_secret.get(thing, ()))

    def _uses_volume(self, node: str, volume: str) -> bool:
        claim = self._claim_of_volume.get(volume)
        return claim is not None and node in self._nodes_of.get(claim, ())

    def _refresh(self) -> None:
        for cache, keys, take in self._followed:
            while keys:
                take(cache, keys.pop())

    def _take_pod(self, cache: Cache, key: str) -> None:
        entry = cache.get(key)
        node = entry.fields.get("spec.nodeName", "") if entry is not None else ""
        if not node:
            self._forget_pod(key)
            return
        facts = _decode_facts(entry.value)
        known = self._pods.get(key)
        if known is not None and known.node == node and known.facts == facts:
            return
        self._forget_pod(key)
        things = tuple(dict.fromkeys(things_of_pod(orjson.loads(entry.value))))
        self._pods[key] = _Pod(node, facts, things)
        for thing in things:
            self._nodes_of.setdefault(thing, Counter())[node] += 1

    def _forget_pod(self, key: str) -> None:
        pod = self._pods.pop(key, None)
        if pod is None:
            return
        for thing in pod.things:
            nodes = self._nodes_of[thing]
            nodes[pod.node] -= 1
            if not nodes[pod.node]:
                del nodes[pod.node]
            if not nodes:
                del self._nodes_of[thing]

    def _take_volume(self, cache: Cache, key: str) -> None:
        name = key.rpartition("/")[2]
        self._claim_of_volume.pop(name, None)
        for secret in self._secrets_of_volume.pop(name, ()):
            self._volumes_of_secret[secret].discard(name)
            if not self._volumes_of_secret[secret]:
                del self._volumes_of_secret[secret]
        entry = cache.get(key)
        if entry is None:
            return
        volume: Object = orjson.loads(entry.value)
        claim = (volume.get("spec") or {}).get("claimRef")
        if not claim:
            return
        self._claim_of_volume[name] = ("persistentvolumeclaims", claim.get("namespace") or "", claim.get("name") or "")
        secrets = tuple(("secrets", *found) for found in references.secrets_of_volume(volume))
        self._secrets_of_volume[name] = secrets
        for secret in secrets:
            self._volumes_of_secret.setdefault(secret, set()).add(name)

    def _take_attachment(self, cache: Cache, key: str) -> None:
        self._take_named(cache, key, "volumeattachments")

    def _take_slice(self, cache: Cache, key: str) -> None:
        self._take_named(cache, key, "resourceslices")

    def _take_named(self, cache: Cache, key: str, plural: str) -> None:
        """Things that name their node themselves."""
        thing = (plural, "", key.rpartition("/")[2])
        entry = cache.get(key)
        node = (orjson.loads(entry.value).get("spec") or {}).get("nodeName") if entry is not None else None
        if node:
            self._node_of_thing[thing] = node
        else:
            self._node_of_thing.pop(thing, None)


def things_of_pod(pod: Object) -> Iterator[Thing]:
    """What the node of a pod may read because of it, the pod itself first."""
    namespace, spec = pod["metadata"]["namespace"], pod.get("spec") or {}
    yield "pods", namespace, pod["metadata"]["name"]
    if MIRROR in (pod["metadata"].get("annotations") or {}):
        # Nodes make these themselves; they must never become a way to read something.
        return
    if spec.get("serviceAccountName"):
        yield "serviceaccounts", namespace, spec["serviceAccountName"]
    for name in references.secrets_of_pod(pod):
        yield "secrets", namespace, name
    for name in references.config_maps_of_pod(pod):
        yield "configmaps", namespace, name
    for name in references.volume_claims_of_pod(pod):
        yield "persistentvolumeclaims", namespace, name
    for name in references.resource_claims_of_pod(pod):
        yield "resourceclaims", namespace, name
