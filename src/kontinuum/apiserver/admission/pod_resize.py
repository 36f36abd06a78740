"""PodResizeValidator: a running pod does not ask for more than its node has for all pods (KEP-1287, since 1.36).

What others use now is the node's to judge: it defers such a resize. This one could never be granted.
"""

from __future__ import annotations

from kontinuum.api.kubernetes.pod_resources import pod_requests
from kontinuum.api.kubernetes.resources import NODES, PODS
from kontinuum.api.machinery import quantity, status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader

OS_LABEL = "kubernetes.io/os"
MEASURES = {"cpu": quantity.milli, "memory": quantity.value}
"""In what a refusal tells each resource: millicores and bytes."""


class PodResizeValidator(Base):
    """See the module."""

    concerns = frozenset({PODS})
    below = ("resize",)

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        pod, old = attributes.obj, attributes.old
        if attributes.subresource != "resize" or pod is None or old is None or pod["spec"] == old["spec"]:
            return
        name = pod["spec"].get("nodeName") or ""
        if not name:
            return
        node = await reader.find(NODES, "", name)
        if node is None:
            raise status.forbidden(PODS, attributes.name, f'node "{name}" not found')
        system = (node["metadata"].get("labels") or {}).get(OS_LABEL, "linux")
        if system != "linux":
            problem = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
            raise _refusal(attributes, problem, cause="UnsupportedPlatform")
        if lacking := _lacking(pod, node):
            problem = f"node didn't have enough allocatable resources: {'; '.join(lacking)}"
            raise _refusal(attributes, problem, cause="NodeCapacity")


def _lacking(pod: Object, node: Object) -> list[str]:
    wanted, most = pod_requests(pod["spec"]), (node.get("status") or {}).get("allocatable") or {}
    found = []
    for resource, measure in MEASURES.items():
        requested, allocatable = measure(wanted.get(resource, "0")), measure(most.get(resource, "0"))
        if quantity.parse(wanted.get(resource, "0")) > quantity.parse(most.get(resource, "0")):
            found.append(f"{resource}, requested: {requested}, allocatable: {allocatable}")
    return found


def _refusal(attributes: Attributes, problem: str, *, cause: str) -> ApiError:
    error = status.forbidden(PODS, attributes.name, problem)
    error.details["causes"] = [{"reason": cause}]
    return error
