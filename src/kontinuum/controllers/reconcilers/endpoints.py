"""Endpoints: the older form in which a Service's pods are told, one object a Service (``pkg/controller/endpoint``).

Who writes new programs reads EndpointSlices; these are kept for those that do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from kontinuum.api.kubernetes.resources import ENDPOINTS, PODS, SERVICES
from kontinuum.api.machinery.objects import Object, annotations_of, key_of, labels_of, name_of, namespace_of
from kontinuum.api.machinery.selectors import from_map
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_NAMESPACE, Context, selected
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import endpoints
from kontinuum.controllers.lib.pods import is_leaving, is_ready, node_of

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MOST = 1000
"""Addresses of one object; what is beyond is left out, and said to be."""


def subsets(service: Object, pods: Sequence[Object]) -> tuple[list[Object], bool]:
    """What the object should say, and whether something had to be left out."""
    publishes = bool(service["spec"].get("publishNotReadyAddresses"))
    family = endpoints.families_of(service, pods)[0]
    chosen = [pod for pod in pods if publishes or not is_leaving(pod)]
    # Ready ones first, so that these are kept if there are too many.
    chosen.sort(key=lambda pod: (not (publishes or is_ready(pod)), name_of(pod)))
    groups: dict[bytes, Object] = {}
    count = 0
    for pod in chosen:
        for address in endpoints.addresses_of(pod, family)[:1]:
            count += 1
            if count > MOST:
                continue
            # Other than in slices, a port without a name is not said to have an empty one.
            ports = [{key: value for key, value in port.items() if value} for port in endpoints.ports_of(service, pod)]
            group = groups.setdefault(orjson.dumps(ports), {"ports": ports} if ports else {})
            side = "addresses" if publishes or is_ready(pod) else "notReadyAddresses"
            group.setdefault(side, []).append(_address(service, pod, address))
    has_ports = bool(service["spec"].get("ports"))
    found = [_sorted(group) for group in groups.values() if "ports" in group or not has_ports]
    return found, count > MOST


def _address(service: Object, pod: Object, address: str) -> Object:
    found: Object = {"ip": address, "targetRef": endpoints.target_of(pod)}
    if node_of(pod):
        found["nodeName"] = node_of(pod)
    if hostname := endpoints.hostname_of(service, pod):
        found["hostname"] = hostname
    return found


def _sorted(group: Object) -> Object:
    for side in ("addresses", "notReadyAddresses"):
        if side in group:
            group[side].sort(key=lambda one: one["ip"])
    return group


def wanted(service: Object, pods: Sequence[Object], existing: Object | None) -> Object:
    """The object as it should be; other people's annotations stay."""
    found, is_truncated = subsets(service, pods)
    labels = {**labels_of(service), MANAGED_BY: CONTROLLER}
    if endpoints.is_headless(service):
        labels[endpoints.HEADLESS_LABEL] = ""
    annotations = {key: value for key, value in annotations_of(existing or service).items() if key != OVER_CAPACITY}
    if existing is None:
        annotations = {}
    if is_truncated:
        annotations[OVER_CAPACITY] = "truncated"
    metadata: Object = {"name": name_of(service), "namespace": namespace_of(service)}
    metadata = {**(existing["metadata"] if existing is not None else metadata), "labels": labels}
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    made: Object = {"apiVersion": ENDPOINTS.api_version, "kind": ENDPOINTS.kind, "metadata": metadata}
    return {**made, "subsets": found} if found else made


class EndpointsReconciler(KeyReconciler):
    """The hand that writes the object."""

    name = "endpoints"

    def __init__(self, context: Context) -> None:
        super().__init__(context, SERVICES, writes=(ENDPOINTS,))
        self._pods = context.informer(PODS)
        self._endpoints = context.informer(ENDPOINTS)
        self._endpoints.add_handler(lambda change, obj, old: self._workers.queue.add(key_of(obj)))
        self._pods.add_handler(self._pod_changed)

    async def reconcile(self, key: str) -> Result:
        """Bring one Service's Endpoints to what its pods are; those of a Service that is gone go too."""
        service, existing = self._objects.get(key), self._endpoints.get(key)
        writer = Writer(self._client, self._writes, key)
        if service is None:
            if existing is not None and labels_of(existing).get(MANAGED_BY) == CONTROLLER:
                await writer.delete(ENDPOINTS, existing)
            return DONE
        if "deletionTimestamp" in service["metadata"] or not endpoints.is_selecting(service):
            return DONE
        chosen = selected(self._pods, namespace_of(service), from_map(service["spec"].get("selector")))
        pods = [pod for pod in chosen if endpoints.is_reachable(pod)]
        new = wanted(service, pods, existing)
        try:
            if existing is None:
                await writer.create(ENDPOINTS, new)
            elif new != {**existing, "apiVersion": new["apiVersion"], "kind": new["kind"]}:
                await writer.update(ENDPOINTS, new)
        except ApiError as error:
            if not error.is_namespace_terminating:
                raise
        return DONE

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        services = self._objects.by_index(BY_NAMESPACE, namespace_of(pod))
        for service in endpoints.selecting(services, pod, old):
            self._workers.queue.add(key_of(service))
