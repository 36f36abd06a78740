"""Priority: until priority classes are served a pod has priority 0, or that of one of the two built-in classes."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery import status
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader

BUILT_IN = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


class Priority(Base):
    """See the module."""

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        pod = attributes.obj
        if attributes.resource != PODS or attributes.verb != "create" or attributes.subresource or pod is None:
            return
        spec = pod.setdefault("spec", {})
        name = spec.get("priorityClassName") or ""
        if name and name not in BUILT_IN:
            raise status.forbidden(PODS, attributes.name, f"no PriorityClass with name {name} was found")
        value = BUILT_IN.get(name, 0)
        if spec.get("priority") not in (None, value):
            problem = (
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
            raise status.forbidden(PODS, attributes.name, problem)
        spec["priority"] = value
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
