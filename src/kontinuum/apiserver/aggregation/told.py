"""What extension servers have told about themselves: discovery, and OpenAPI in both versions.

Kept while the APIService is there, also when its server has gone: clients learn that it is ``Stale`` and go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kontinuum.api.kubernetes.apiregistration import GroupVersion, Priority
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.aggregation.extensions import Extensions


@dataclass(slots=True)
class Told:
    """Of one group version. Empty where the server has not been asked yet, or has nothing to say."""

    resources: list[Object] = field(default_factory=list)
    """APIResources, as the legacy discovery lists them."""
    openapi_v3: bytes = b""
    """JSON."""
    openapi_v3_etag: str = ""
    openapi_v2: Object = field(default_factory=dict)
    """``definitions`` and ``paths``, of this group version alone."""
    openapi_v2_etag: str = ""


class Elsewhere:
    """What the documents of this server (discovery, OpenAPI) have to know of the others."""

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions
        self._told: dict[GroupVersion, Told] = {}

    def versions(self) -> Mapping[GroupVersion, Priority]:
        """Which group versions others answer, and where discovery tells them."""
        return {version: one.priority for version, one in self._extensions.current().items()}

    def is_fresh(self, version: GroupVersion) -> bool:
        """False where what is told may no longer be so."""
        extension = self._extensions.current().get(version)
        return extension is not None and extension.is_available and version in self._told

    def resources(self, version: GroupVersion) -> list[Object]:
        """In the aggregated form of discovery; as far as they are known."""
        return aggregated(self.told(version).resources, *version)

    def told(self, version: GroupVersion) -> Told:
        return self._told.get(version) or Told()

    def tell(self, version: GroupVersion, told: Told) -> None:
        self._told[version] = told

    def forget(self) -> set[GroupVersion]:
        """Drop what is told of group versions that nobody else answers any more; which those were."""
        gone = self._told.keys() - self._extensions.current().keys()
        for version in gone:
            del self._told[version]
        return gone


def aggregated(resources: list[Object], group: str, version: str) -> list[Object]:
    """APIResources in the form of ``apidiscovery.k8s.io/v2``: subresources below their resource."""
    found: dict[str, Object] = {}
    below: list[tuple[str, Object]] = []
    for one in resources:
        name, _, subresource = str(one.get("name", "")).partition("/")
        kind = {
            "group": one.get("group") or group,
            "version": one.get("version") or version,
            "kind": one.get("kind", ""),
        }
        if subresource:
            entry: Object = {"subresource": subresource, "responseKind": kind, "verbs": one.get("verbs") or []}
            below.append((name, entry))
            continue
        found[name] = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if one.get("namespaced") else "Cluster",
            "singularResource": one.get("singularName", ""),
            "verbs": one.get("verbs") or [],
            **{key: one[key] for key in ("shortNames", "categories") if one.get(key)},
        }
    for name, entry in below:
        if name in found:
            found[name].setdefault("subresources", []).append(entry)
    return list(found.values())
