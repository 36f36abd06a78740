"""Scale, the small kind behind which workloads show their number of replicas. Never stored."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import row
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource


class _Scale(Kind):
    columns = (
        NAME,
        Column("Desired", type="integer", description="replicas is the desired number of instances."),
        Column("Available", type="integer", description="replicas is the number of instances there are."),
        AGE,
    )

    def cells(self, obj: Object, now: float) -> list[Any]:
        return row(obj, now, obj["spec"].get("replicas", 0), obj["status"].get("replicas", 0))


SCALE = _Scale(Resource("autoscaling", "v1", "Scale", "scales", namespaced=True, stored=False))
