"""Endpoints that somebody keeps by hand are mirrored into EndpointSlices (kubernetes ``endpointslicemirroring``).

Only those of a Service without a selector: the pods of the others are told of by their own controller.
"""

from __future__ import annotations

import ipaddress

from kontinuum.api.kubernetes.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES
from kontinuum.api.machinery.objects import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import BY_SERVICE, Context
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import endpoints, owners
from kontinuum.controllers.lib.names import child_name

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
SERVICE_NAME = "kubernetes.io/service-name"
LEADER = "control-plane.alpha.kubernetes.io/leader"
MOST = 1000
"""Addresses of one subset that are mirrored."""


def is_mirrored(service: Object | None, source: Object | None) -> bool:
    if service is None or source is None or "deletionTimestamp" in service["metadata"]:
        return False
    is_skipped = labels_of(source).get(SKIP) == "true" or LEADER in annotations_of(source)
    return not is_skipped and not endpoints.is_selecting(service) and not (service["spec"].get("selector") or {})


def mirrors(source: Object) -> list[Object]:
    """The slices that say what ``source`` says: one for each subset and address family."""
    found = []
    for number, subset in enumerate(source.get("subsets") or ()):
        for family, version in endpoints.FAMILIES.items():
            told = [
                _endpoint(one, is_ready=is_ready)
                for side, is_ready in (("addresses", True), ("notReadyAddresses", False))
                for one in (subset.get(side) or ())[:MOST]
                if ipaddress.ip_address(one["ip"]).version == version
            ]
            if told:
                found.append(_slice(source, f"{family}/{number}", family, told, subset.get("ports") or []))
    return found


def _endpoint(address: Object, *, is_ready: bool) -> Object:
    kept = {key: address[key] for key in ("hostname", "nodeName", "targetRef") if address.get(key)}
    return {"addresses": [address["ip"]], "conditions": {"ready": is_ready}, **kept}


def _slice(source: Object, seed: str, family: str, told: list[Object], ports: list[Object]) -> Object:
    labels = {key: value for key, value in labels_of(source).items() if key not in (MANAGED_BY, SERVICE_NAME)}
    metadata = {
        "name": child_name(name_of(source), f"{uid_of(source)}/{seed}", 0),
        "generateName": f"{name_of(source)}-",
        "namespace": namespace_of(source),
        "labels": {**labels, SERVICE_NAME: name_of(source), MANAGED_BY: CONTROLLER},
        "ownerReferences": [owners.controller_reference(source, ENDPOINTS)],
    }
    offered = [{"name": "", "protocol": "TCP", **port} for port in ports]
    made: Object = {"apiVersion": ENDPOINTSLICES.api_version, "kind": ENDPOINTSLICES.kind, "metadata": metadata}
    return {**made, "addressType": family, "endpoints": told, "ports": offered}


class EndpointSliceMirroringReconciler(KeyReconciler):
    """The hand that writes the slices."""

    name = "endpointslice-mirroring"

    def __init__(self, context: Context) -> None:
        super().__init__(context, ENDPOINTS, writes=(ENDPOINTSLICES,))
        self._services = context.informer(SERVICES)
        self._slices = context.informer(ENDPOINTSLICES)
        self._services.add_handler(self._object_changed)
        self._slices.add_handler(self._slice_changed)

    async def reconcile(self, key: str) -> Result:
        """Bring the mirrors of one Endpoints object to what it says."""
        service, source = self._services.get(key), self._objects.get(key)
        wanted = mirrors(source) if source is not None and is_mirrored(service, source) else []
        mine = [one for one in self._slices.by_index(BY_SERVICE, key) if labels_of(one).get(MANAGED_BY) == CONTROLLER]
        existing = {name_of(one): one for one in mine}
        writer = Writer(self._client, self._writes, key)
        for one in wanted:
            before = existing.pop(name_of(one), None)
            try:
                if before is None:
                    await writer.create(ENDPOINTSLICES, one)
                elif _says(before) != _says(one):
                    await writer.update(ENDPOINTSLICES, {**one, "metadata": {**before["metadata"], **one["metadata"]}})
            except ApiError as error:
                if not error.is_already_exists and not error.is_namespace_terminating:
                    raise
        for one in existing.values():
            await writer.delete(ENDPOINTSLICES, one)
        return DONE

    def _slice_changed(self, change: str, one: Object, old: Object | None) -> None:
        service = labels_of(one).get(SERVICE_NAME)
        if service and labels_of(one).get(MANAGED_BY) == CONTROLLER:
            self._workers.queue.add(f"{namespace_of(one)}/{service}")


def _says(one: Object) -> tuple[object, ...]:
    return labels_of(one), one.get("endpoints") or [], one.get("ports") or []
