"""How an object becomes a store key and bytes, and bytes become an object again.

A stored value always begins with the same bytes for one resource (kind, apiVersion, the opening of metadata), so that
``resourceVersion`` can be spliced in after them without parsing. The spliced bytes are what is cached, answered and
watched: made once per change.
"""

from __future__ import annotations

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource

ROOT = "/registry/"

# The store knows the revision; selfLink has been empty since Kubernetes 1.20.
NEVER_STORED = ("resourceVersion", "selfLink")


class Layout:
    """Keys and bytes of one resource."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.prefix = f"{ROOT}{resource.group or 'core'}/{resource.plural}/"
        self._opened = len(f'{{"kind":"{resource.kind}","apiVersion":"{resource.api_version}","metadata":{{')

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.resource.namespaced else self.prefix + name

    def prefix_of(self, namespace: str) -> str:
        """The keys of one namespace, or all of the resource's for ""."""
        return f"{self.prefix}{namespace}/" if namespace else self.prefix

    def identity(self, key: str) -> tuple[str, str]:
        """``(namespace, name)`` of a key made by ``key``."""
        namespace, _, name = key[len(self.prefix) :].rpartition("/")
        return namespace, name

    def encode(self, obj: Object) -> bytes:
        """The value to store. ``obj`` has at least a name; it is not changed."""
        metadata = dict(obj["metadata"])
        for field in NEVER_STORED:
            metadata.pop(field, None)
        first = {"kind": self.resource.kind, "apiVersion": self._version_of(obj), "metadata": metadata}
        # Their place is that of the left one, their value that of the right one.
        return orjson.dumps(first | obj | first)

    def splice(self, value: bytes, revision: int) -> bytes:
        """The stored ``value`` with its ``resourceVersion``: what clients get."""
        opening = self._opening(value)
        return b'%b"resourceVersion":"%d",%b' % (value[:opening], revision, value[opening:])

    def resplice(self, spliced: bytes, revision: int) -> bytes:
        """``spliced`` (made by ``splice``) under another resourceVersion."""
        opening = self._opening(spliced)
        end = spliced.index(b",", opening) + 1
        return b'%b"resourceVersion":"%d",%b' % (spliced[:opening], revision, spliced[end:])

    def decode(self, value: bytes, revision: int) -> Object:
        """The stored ``value`` as an object with its resourceVersion."""
        obj: Object = orjson.loads(value)
        obj["metadata"]["resourceVersion"] = str(revision)
        return obj

    def _version_of(self, obj: Object) -> str:
        """The apiVersion in which ``obj`` is stored."""
        return self.resource.api_version

    def _opening(self, value: bytes) -> int:
        """Where the metadata of a stored ``value`` begin, behind their brace."""
        return self._opened
