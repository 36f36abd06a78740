"""RuntimeClass: a pod gets its class's overhead and scheduling rules (KEP-585, KEP-688)."""

from __future__ import annotations

from decimal import Decimal

from kontinuum.api.kubernetes.resources import PODS, RUNTIMECLASSES
from kontinuum.api.kubernetes.tolerations import merge
from kontinuum.api.machinery import quantity, status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader


class RuntimeClass(Base):
    """See the module."""

    concerns = frozenset({PODS})
    below = ()

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        pod = attributes.obj
        if attributes.verb != "create" or pod is None:
            return
        spec = pod.get("spec") or {}
        name = spec.get("runtimeClassName")
        if not name:
            if spec.get("overhead"):
                raise _rejected(
                    attributes, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                )
            return
        runtime_class = await reader.find(RUNTIMECLASSES, "", name)
        if runtime_class is None:
            raise _rejected(attributes, f'pod rejected: RuntimeClass "{name}" not found')
        problem = merge_class(spec, runtime_class)
        if problem:
            raise _rejected(attributes, f"pod rejected: {problem}")


def merge_class(spec: Object, runtime_class: Object) -> str:
    """Merge the class into the pod's ``spec`` in place. Answers what is wrong, "" if nothing is."""
    fixed = (runtime_class.get("overhead") or {}).get("podFixed")
    if fixed:
        if amounts(spec.get("overhead") or fixed) != amounts(fixed):
            return "Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        spec["overhead"] = dict(fixed)
    elif spec.get("overhead"):
        return "Pod Overhead set without corresponding RuntimeClass defined Overhead"
    scheduling = runtime_class.get("scheduling") or {}
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.setdefault(key, value) != value:
            return (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            )
    if selector:
        spec["nodeSelector"] = selector
    if tolerations := merge(spec.get("tolerations") or [], scheduling.get("tolerations") or []):
        spec["tolerations"] = tolerations
    return ""


def amounts(overhead: Object) -> dict[str, Decimal]:
    """One amount may be written in many ways."""
    return {name: quantity.parse(amount) for name, amount in overhead.items()}


def _rejected(attributes: Attributes, problem: str) -> status.ApiError:
    return status.forbidden(PODS, attributes.name, problem)
