"""EndpointSlices: for each Service that selects pods, where they are (kubernetes ``pkg/controller/endpointslice``).

Endpoints stay in the slice that they are in, so that a pod's change rewrites one slice of at most a hundred. Pods that
offer other ports than the rest (by name) get slices of their own, and each address family has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, NODES, PODS, SERVICES
from kontinuum.api.machinery.objects import Object, key_of, labels_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.selectors import from_map
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_NAMESPACE, BY_SERVICE, Context, selected
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import endpoints, owners
from kontinuum.controllers.lib.names import child_name

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
LARGEST = 100
"""Endpoints of one slice (Kubernetes' default)."""


@dataclass(slots=True)
class Plan:
    """What has to be written."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The endpoints of one family whose pods offer the same ports, by pod uid."""

    family: str
    ports: list[Object]
    endpoints: dict[str, Object]


def wanted(service: Object, pods: Sequence[Object], zones: Mapping[str, str]) -> list[Wanted]:
    """What the slices should say together. ``zones``: each node's zone. A service without pods says so in a slice."""
    found: dict[tuple[str, bytes], Wanted] = {}
    for family in endpoints.families_of(service, pods):
        for pod in pods:
            if not endpoints.addresses_of(pod, family):
                continue
            ports = endpoints.ports_of(service, pod)
            key = (family, orjson.dumps(ports))
            group = found.setdefault(key, Wanted(family, ports, {}))
            zone = zones.get((pod.get("spec") or {}).get("nodeName") or "", "")
            group.endpoints[uid_of(pod)] = endpoints.endpoint_of(service, pod, zone=zone, family=family)
        if not any(group.family == family for group in found.values()):
            found[family, b""] = Wanted(family, [], {})
    return list(found.values())


def plan(service: Object, groups: Sequence[Wanted], slices: Sequence[Object]) -> Plan:
    """The fewest writes that make ``slices`` (ours, of this service) say what ``groups`` say."""
    result = Plan()
    labels = labels_for(service)
    left = {name_of(one): one for one in slices}
    taken = set(left)
    for group in groups:
        mine = [one for one in slices if _is_of(one, group)]
        for one in mine:
            del left[name_of(one)]
        _fill(service, group, mine, labels, taken, result)
    result.delete += left.values()
    return result


def _fill(service: Object, group: Wanted, mine: list[Object], labels: Object, taken: set[str], result: Plan) -> None:
    missing = dict(group.endpoints)
    kept: list[tuple[Object, list[Object]]] = []
    for one in mine:
        here = [missing.pop(uid) for uid in _uids(one) if uid in missing]
        kept.append((one, here))
    # The fullest first, so that slices fill up; one that is rewritten anyway costs nothing more.
    kept.sort(key=lambda pair: (pair[1] == (pair[0].get("endpoints") or []), -len(pair[1])))
    for _, here in kept:
        while missing and len(here) < LARGEST:
            here.append(missing.pop(next(iter(missing))))
    needed = [(one, here) for one, here in kept if here] or kept[
        :1
    ]  # Without pods, one slice says that there are none.
    result.delete += [one for one, here in kept if not any(one is other for other, _ in needed)]
    for one, here in needed:
        if here != (one.get("endpoints") or []) or labels != labels_of(one):
            result.update.append({**one, "metadata": {**one["metadata"], "labels": labels}, "endpoints": here})
    rest = list(missing.values())
    batches = [rest[start : start + LARGEST] for start in range(0, len(rest), LARGEST)]
    if not kept and not batches:
        batches = [[]]
    result.create += [_new_slice(service, group, batch, labels, taken) for batch in batches]


def _is_of(one: Object, group: Wanted) -> bool:
    return one.get("addressType") == group.family and (one.get("ports") or []) == group.ports


def _uids(one: Object) -> list[str]:
    return [(endpoint.get("targetRef") or {}).get("uid", "") for endpoint in one.get("endpoints") or ()]


def labels_for(service: Object) -> Object:
    """The service's own, and what finds a slice and says whose it is."""
    reserved = (MANAGED_BY, SERVICE_NAME, endpoints.HEADLESS_LABEL)
    labels = {key: value for key, value in labels_of(service).items() if key not in reserved}
    if endpoints.is_headless(service):
        labels[endpoints.HEADLESS_LABEL] = ""
    return {**labels, SERVICE_NAME: name_of(service), MANAGED_BY: CONTROLLER}


def _new_slice(service: Object, group: Wanted, batch: list[Object], labels: Object, taken: set[str]) -> Object:
    ordinal = 0
    while (name := child_name(name_of(service), f"{uid_of(service)}/{group.family}", ordinal)) in taken:
        ordinal += 1
    taken.add(name)
    metadata = {
        "name": name,
        "generateName": f"{name_of(service)}-",
        "namespace": namespace_of(service),
        "labels": labels,
        "ownerReferences": [owners.controller_reference(service, SERVICES)],
    }
    return {
        "apiVersion": ENDPOINTSLICES.api_version,
        "kind": ENDPOINTSLICES.kind,
        "metadata": metadata,
        "addressType": group.family,
        "endpoints": batch,
        "ports": group.ports,
    }


class EndpointSliceReconciler(KeyReconciler):
    """The hand that carries ``plan`` out."""

    name = "endpointslice"

    def __init__(self, context: Context) -> None:
        super().__init__(context, SERVICES, writes=(ENDPOINTSLICES,))
        self._events = context.recorder("endpoint-slice-controller")
        self._pods = context.informer(PODS)
        self._nodes = context.informer(NODES)
        self._slices = context.informer(ENDPOINTSLICES)
        self._pods.add_handler(self._pod_changed)
        self._nodes.add_handler(self._node_changed)
        self._slices.add_handler(self._slice_changed)

    async def reconcile(self, key: str) -> Result:
        """Bring one Service's slices to what its pods are."""
        service = self._objects.get(key)
        if service is None or "deletionTimestamp" in service["metadata"] or not endpoints.is_selecting(service):
            return DONE
        chosen = selected(self._pods, namespace_of(service), from_map(service["spec"].get("selector")))
        pods = [pod for pod in chosen if endpoints.is_reachable(pod)]
        slices = [one for one in self._slices.by_index(BY_SERVICE, key) if labels_of(one).get(MANAGED_BY) == CONTROLLER]
        todo = plan(service, wanted(service, pods, self._zones(pods)), slices)
        await self._carry_out(service, todo, Writer(self._client, self._writes, key))
        return DONE

    async def _carry_out(self, service: Object, todo: Plan, writer: Writer) -> None:
        try:
            for one in todo.create:
                try:
                    await writer.create(ENDPOINTSLICES, one)
                except ApiError as error:
                    if not error.is_already_exists:
                        raise
            for one in todo.update:
                await writer.update(ENDPOINTSLICES, one)
            for one in todo.delete:
                await writer.delete(ENDPOINTSLICES, one)
        except ApiError as error:
            if error.is_namespace_terminating:
                return
            if not error.is_conflict:
                text = f"Error updating Endpoint Slices for Service {key_of(service)}: {error.message}"
                self._events.event(service, "Warning", "FailedToUpdateEndpointSlices", text)
            raise

    def _zones(self, pods: Iterable[Object]) -> dict[str, str]:
        names = {(pod.get("spec") or {}).get("nodeName") or "" for pod in pods}
        nodes = [node for name in names if name and (node := self._nodes.get(name)) is not None]
        return {name_of(node): labels_of(node).get(endpoints.ZONE, "") for node in nodes}

    def _pod_changed(self, change: str, pod: Object, old: Object | None) -> None:
        services = self._objects.by_index(BY_NAMESPACE, namespace_of(pod))
        for service in endpoints.selecting(services, pod, old):
            self._workers.queue.add(key_of(service))

    def _node_changed(self, change: str, node: Object, old: Object | None) -> None:
        if old is not None and labels_of(node).get(endpoints.ZONE) != labels_of(old).get(endpoints.ZONE):
            self.look_again()

    def _slice_changed(self, change: str, one: Object, old: Object | None) -> None:
        service = labels_of(one).get(SERVICE_NAME)
        if service and labels_of(one).get(MANAGED_BY) == CONTROLLER:
            self._workers.queue.add(f"{namespace_of(one)}/{service}")
