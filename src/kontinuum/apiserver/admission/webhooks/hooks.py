"""The webhooks that are configured now, compiled once per change of their configurations.

Nothing is told to the set. It follows a watch cache by key, and looks again at what has changed when it is asked next:
a request sees every configuration that the cache has seen, and where none is there it pays for two comparisons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from kontinuum.apiserver.admission.expressions import Conditions, environment
from kontinuum.apiserver.admission.matching import Criteria
from kontinuum.apiserver.admission.webhooks.client import Endpoint

REVIEW_VERSIONS = ("v1", "v1beta1")
HARMLESS = ("None", "NoneOnDryRun")
DEFAULT_SECONDS = 10


class Cache(Protocol):
    """What is needed of a watch cache."""

    def follow(self) -> set[str]: ...

    def get(self, key: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of one configuration."""

    name: str
    configuration: str
    identity: str
    """Tells apart webhooks of one name, across configurations too."""
    criteria: Criteria
    conditions: Conditions
    endpoint: Endpoint
    seconds: int
    fails_open: bool
    """A webhook that cannot be asked counts as one that has allowed (failurePolicy Ignore)."""
    is_harmless: bool
    """May be asked about a dry run."""
    is_asked_again: bool
    """When the object changes after it was asked (reinvocationPolicy IfNeeded)."""
    version: str
    """Of the AdmissionReview, the first of the listed ones that we speak; "" if there is none."""


def compile_hooks(configuration: Mapping[str, Any]) -> tuple[Hook, ...]:
    """The webhooks of a stored configuration, in its order."""
    name = configuration["metadata"]["name"]
    seen: Counter[str] = Counter()
    found = []
    for document in configuration.get("webhooks") or ():
        hook = document.get("name") or ""
        found.append(_compiled(document, name, f"{name}/{hook}/{seen[hook]}"))
        seen[hook] += 1
    return tuple(found)


def _compiled(document: Mapping[str, Any], configuration: str, identity: str) -> Hook:
    versions = document.get("admissionReviewVersions") or ()
    return Hook(
        name=document.get("name") or "",
        configuration=configuration,
        identity=identity,
        criteria=Criteria(document, rules="rules"),
        conditions=Conditions(document.get("matchConditions"), environment()),
        endpoint=Endpoint(document.get("clientConfig") or {}),
        seconds=document.get("timeoutSeconds") or DEFAULT_SECONDS,
        fails_open=document.get("failurePolicy") == "Ignore",
        is_harmless=document.get("sideEffects") in HARMLESS,
        is_asked_again=document.get("reinvocationPolicy") == "IfNeeded",
        version=next((one for one in versions if one in REVIEW_VERSIONS), ""),
    )


class Hooks:
    """See the module. Of all configurations of one kind."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._changed = cache.follow()
        self._configurations: dict[str, tuple[Hook, ...]] = {}
        self._all: tuple[Hook, ...] = ()

    def current(self) -> tuple[Hook, ...]:
        """In the order of the configurations' names. A tuple that was handed out does not change."""
        if self._changed:
            self._refresh()
        return self._all

    def _refresh(self) -> None:
        for key in list(self._changed):
            entry = self._cache.get(key)
            if entry is None:
                self._configurations.pop(key, None)
            else:
                self._configurations[key] = compile_hooks(orjson.loads(entry.value))
            # Only now: what could not be compiled must not be forgotten, or nobody would be asked.
            self._changed.discard(key)
        # Keys of one resource differ only in the name.
        self._all = tuple(hook for key in sorted(self._configurations) for hook in self._configurations[key])
