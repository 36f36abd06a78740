"""Services and controllers, as far as their selectors say which pods belong together: for default spreading."""

from __future__ import annotations

from collections import Counter

from kontinuum.api.machinery.objects import Object, name_of, namespace_of
from kontinuum.api.machinery.selectors import NOTHING, LabelSelector, from_map, from_object
from kontinuum.scheduler.demand import SPREADING_CONTROLLERS, Demand

SERVICE = "Service"
KINDS = (SERVICE, *SPREADING_CONTROLLERS)
WITH_PLAIN_SELECTOR = (SERVICE, "ReplicationController")

Known = dict[tuple[str, str], LabelSelector]
"""Selectors by the kind and name of their object."""


class Selecting:
    """What is known of them."""

    def __init__(self) -> None:
        self._versions: Counter[str] = Counter()
        self._services: dict[str, Known] = {}
        self._controllers: dict[str, Known] = {}

    def version(self, namespace: str) -> int:
        """Rises with every change in a namespace."""
        return self._versions[namespace]

    def put(self, obj: Object) -> bool:
        """One of KINDS has come or changed; True if its selector did."""
        known, key, selector = self._beside(obj), (obj["kind"], name_of(obj)), _selector(obj)
        if known.get(key) == selector:
            return False
        known[key] = selector
        self._versions[namespace_of(obj)] += 1
        return True

    def remove(self, obj: Object) -> None:
        if self._beside(obj).pop((obj["kind"], name_of(obj)), None) is not None:
            self._versions[namespace_of(obj)] += 1

    def pods_like(self, demand: Demand) -> LabelSelector | None:
        """The pods that are to be spread together with this one; None if nothing says so.

        Kubernetes' ``helper.DefaultSelector``: what all Services that select the pod select, and its controller too.
        """
        services = self._services.get(demand.namespace, {}).values()
        requirements = {one for each in services if each.matches(demand.labels) for one in each.requirements}
        if demand.controller is not None:
            controllers = self._controllers.get(demand.namespace, {})
            requirements.update(controllers.get(demand.controller, NOTHING).requirements)
        return LabelSelector(tuple(sorted(requirements, key=str))) if requirements else None

    def _beside(self, obj: Object) -> Known:
        """Where objects of its kind and namespace are kept."""
        return (self._services if obj["kind"] == SERVICE else self._controllers).setdefault(namespace_of(obj), {})


def _selector(obj: Object) -> LabelSelector:
    selector = (obj.get("spec") or {}).get("selector")
    return from_map(selector) if obj["kind"] in WITH_PLAIN_SELECTOR else from_object(selector)
