"""The APIServices that name a Service: which group versions are answered elsewhere.

Nothing is told to the index. It follows the watch cache by key and looks again at what has changed when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kontinuum.api.kubernetes.apiregistration import AVAILABLE, SERVICE_PORT, GroupVersion, Priority
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.apiserver.watchcache import WatchCache


@dataclass(frozen=True, slots=True)
class Extension:
    """One group version that another server answers."""

    name: str
    """The APIService's: ``v1alpha1.wardle.example.com``."""
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca_bundle: str
    """PEM in base64; "" for the system's authorities."""
    is_unverified: bool
    """Whoever answers is believed (``insecureSkipTLSVerify``)."""
    priority: Priority
    is_available: bool

    @property
    def server_name(self) -> str:
        """For whom its certificate has to be."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}"


def extension_of(api_service: Object) -> Extension | None:
    """None for what this server answers itself."""
    spec: dict[str, Any] = api_service.get("spec") or {}
    service = spec.get("service")
    if not service or not spec.get("group"):
        return None
    return Extension(
        name=name_of(api_service),
        group=spec["group"],
        version=spec.get("version", ""),
        namespace=service.get("namespace", ""),
        service=service.get("name", ""),
        port=service.get("port") or SERVICE_PORT,
        ca_bundle=spec.get("caBundle") or "",
        is_unverified=bool(spec.get("insecureSkipTLSVerify")),
        priority=Priority(spec.get("groupPriorityMinimum") or 0, spec.get("versionPriority") or 0),
        is_available=is_true(api_service, AVAILABLE),
    )


class Extensions:
    """See the module."""

    def __init__(self, api_services: WatchCache) -> None:
        self._cache = api_services
        self._changed = api_services.follow()
        self._by_key: dict[str, Extension] = {}
        self._by_version: dict[GroupVersion, Extension] = {}

    def current(self) -> Mapping[GroupVersion, Extension]:
        """All of them, as of now."""
        if self._changed:
            self._look_again()
        return self._by_version

    def find(self, path: str) -> Extension | None:
        """Who answers a URL path; None if it is us."""
        found = self.current()
        if not found or not path.startswith("/apis/"):
            return None
        parts = path.split("/", 4)
        return found.get((parts[2], parts[3])) if len(parts) > 3 else None

    def _look_again(self) -> None:
        while self._changed:
            key = self._changed.pop()
            entry = self._cache.get(key)
            extension = extension_of(orjson.loads(entry.value)) if entry is not None else None
            if extension is None:
                self._by_key.pop(key, None)
            else:
                self._by_key[key] = extension
        self._by_version = {(one.group, one.version): one for one in self._by_key.values()}
