"""What is served, told in both of Kubernetes' ways: group by group, and everything at once (aggregated, v2).

All of it is derived from the resources and the verbs that really answer, so that discovery cannot promise more than the
server does. The documents are encoded once and handed out with an ETag, as clients that keep them on disk expect.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from kontinuum.api.kubernetes.apiregistration import GroupVersion, ordered, priority_of
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.aggregation.told import Elsewhere
from kontinuum.apiserver.document import Document
from kontinuum.foundation import processor

KUBERNETES_VERSION = "v1.36.2"
"""The version of Kubernetes whose API this is."""
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
ROOT = ""
"""The path of what lists all others, without its slash."""
PLACES = (
    "/.well-known/openid-configuration", "/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2",
    "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version",
)  # fmt: skip
"""Where something answers whatever resources there are."""
VerbsOf = Callable[[Resource, str], Iterable[str]]
"""The verbs that a resource (or its named subresource) answers."""


@dataclass(frozen=True, slots=True)
class _BodyKind:
    """What a subresource's body is, where that is not the resource's own kind."""

    kind: str
    group: str = ""
    version: str = ""


BODIES = {
    "attach": _BodyKind("PodAttachOptions"),
    "binding": _BodyKind("Binding"),
    "eviction": _BodyKind("Eviction", "policy", "v1"),
    "exec": _BodyKind("PodExecOptions"),
    "portforward": _BodyKind("PodPortForwardOptions"),
    "scale": _BodyKind("Scale", "autoscaling", "v1"),
    "token": _BodyKind("TokenRequest", "authentication.k8s.io", "v1"),
}


def body_kind(resource: Resource, subresource: str) -> _BodyKind:
    """What a subresource takes or answers; most have the kind of their resource."""
    if subresource == "proxy":
        return _BodyKind(f"{resource.kind}ProxyOptions")
    return BODIES.get(subresource, _BodyKind(resource.kind))


class Discovery:
    """The documents about ``resources``, and about what ``others`` answer."""

    def __init__(self, resources: Iterable[Resource], verbs_of: VerbsOf, others: Elsewhere | None = None) -> None:
        self._verbs_of = verbs_of
        self._others = others
        self._versions: dict[GroupVersion, list[Resource]] = {}
        self._order: list[GroupVersion] = []
        self._documents: dict[str, Document] = {}
        self._sort(resources)

    def renew(self, resources: Iterable[Resource], changed: Iterable[GroupVersion]) -> None:
        """Other ``resources`` are served now; the documents about the ``changed`` group versions are made again."""
        self._versions.clear()
        self._sort(resources)
        wrong = [ROOT, "/apis", "/apis aggregated"]
        for group, version in changed:
            wrong += [f"/apis/{group}", f"/apis/{group}/{version}"]
        for path in wrong:
            self._documents.pop(path, None)

    def _sort(self, resources: Iterable[Resource]) -> None:
        elsewhere = self._others.versions() if self._others is not None else {}
        answered = (each for each in resources if set(self._verbs_of(each, "")))
        for resource in sorted(answered, key=lambda each: each.plural):
            version = (resource.group, resource.version)
            if version not in elsewhere:
                self._versions.setdefault(version, []).append(resource)
        self._order = ordered({version: priority_of(*version) for version in self._versions} | dict(elsewhere))

    def find(self, path: str, accept: str) -> Document | None:
        """The document at ``path`` in the form that ``accept`` prefers; None if there is none."""
        path = path.rstrip("/")
        aggregated = path in ("/api", "/apis") and _wants_aggregated(accept)
        key = f"{path} aggregated" if aggregated else path
        if key not in self._documents:
            content = self._aggregated(core=path == "/api") if aggregated else self._content(path)
            if content is None:
                return None
            self._documents[key] = Document.of(orjson.dumps(content), AGGREGATED if aggregated else "application/json")
        return self._documents[key]

    def _content(self, path: str) -> Object | None:
        match path.split("/")[1:]:
            case []:  # "/" itself
                return {"paths": sorted([*PLACES, *self._places()])}
            case ["api"]:
                addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
            case ["apis"]:
                groups = [self._group(name) for name in self._groups()]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", group] if group in self._groups():
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["api", version] if ("", version) in self._versions:
                return self._resource_list("", version)
            case ["apis", group, version] if (group, version) in self._versions:
                return self._resource_list(group, version)
            case ["version"]:
                return version_info()
            case _:
                return None

    def _places(self) -> Iterable[str]:
        for group in self._groups():
            yield f"/apis/{group}"
        for group, version in self._order:
            yield f"/apis/{group}/{version}" if group else f"/api/{version}"

    def _groups(self) -> list[str]:
        return list(dict.fromkeys(group for group, _ in self._order if group))

    def _versions_of(self, group: str) -> list[str]:
        return [version for each, version in self._order if each == group]

    def _group(self, group: str) -> Object:
        versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in self._versions_of(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resource_list(self, group: str, version: str) -> Object:
        entries = [entry for resource in self._versions[group, version] for entry in self._entries(resource)]
        name = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}

    def _entries(self, resource: Resource) -> Iterable[Object]:
        """The resource and its subresources as APIResource objects."""
        entry: dict[str, Any] = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": sorted(self._verbs_of(resource, "")),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if resource.stored:
            entry["storageVersionHash"] = _storage_version_hash(resource.stored_as or resource)
        yield entry
        for name in self._subresources(resource):
            body = body_kind(resource, name)
            below: dict[str, Any] = {"name": f"{resource.plural}/{name}", "singularName": ""}
            below |= {"namespaced": resource.namespaced, "kind": body.kind}
            if body.group:
                below |= {"group": body.group, "version": body.version}
            below["verbs"] = sorted(self._verbs_of(resource, name))
            yield below

    def _aggregated(self, *, core: bool) -> Object:
        groups = [""] if core else self._groups()
        items = [
            {
                "metadata": {"name": group} if group else {},
                "versions": [self._aggregated_version(group, version) for version in self._versions_of(group)],
            }
            for group in groups
        ]
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": items,
        }

    def _aggregated_version(self, group: str, version: str) -> Object:
        own = self._versions.get((group, version))
        if own is not None or self._others is None:
            resources = [self._aggregated_resource(each) for each in own or ()]
            return {"version": version, "resources": resources, "freshness": "Current"}
        found = (group, version)
        told: Object = {"version": version}
        if resources := self._others.resources(found):
            told["resources"] = resources
        return {**told, "freshness": "Current" if self._others.is_fresh(found) else "Stale"}

    def _aggregated_resource(self, resource: Resource) -> Object:
        entry: dict[str, Any] = {
            "resource": resource.plural,
            "responseKind": {"group": "", "version": "", "kind": resource.kind},
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular,
            "verbs": sorted(self._verbs_of(resource, "")),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        below = [self._aggregated_subresource(resource, name) for name in self._subresources(resource)]
        if below:
            entry["subresources"] = below
        return entry

    def _subresources(self, resource: Resource) -> list[str]:
        return [name for name in sorted(resource.subresources) if set(self._verbs_of(resource, name))]

    def _aggregated_subresource(self, resource: Resource, name: str) -> Object:
        body = body_kind(resource, name)
        return {
            "subresource": name,
            "responseKind": {"group": body.group, "version": body.version, "kind": body.kind},
            "verbs": sorted(self._verbs_of(resource, name)),
        }


def version_info() -> Object:
    """The answer of /version; clients read their rules for version skew from it."""
    _, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    return {
        "major": "1",
        "minor": minor,
        "emulationMajor": "1",
        "emulationMinor": minor,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"{KUBERNETES_VERSION}+kontinuum",
        "gitCommit": _code(),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"{sys.platform}/{processor.architecture()}",
    }


@cache
def _code() -> str:
    """Which code answers: a digest of it, in the form of a commit. It is the same wherever the same code runs."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha1(usedforsecurity=False)
    for source in sorted(package.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _wants_aggregated(accept: str) -> bool:
    """Whether the first alternative that we can serve is the aggregated form."""
    for alternative in accept.split(","):
        media, *parameters = (part.strip() for part in alternative.split(";"))
        if media not in ("application/json", "*/*"):
            continue
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        if "as" not in values:
            return False
        if (values.get("g"), values.get("v"), values["as"]) == ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"):
            return True
    return False


def _storage_version_hash(resource: Resource) -> str:
    """Changes when the stored form of a resource does; the recipe is Kubernetes' own (discovery.StorageVersionHash)."""
    text = f"{resource.group}/{resource.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()
