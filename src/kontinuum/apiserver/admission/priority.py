"""Priority: a pod gets the number and the preemption policy of its PriorityClass, or of the default one (KEP-268)."""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import PODS, PRIORITYCLASSES
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader

PREEMPTS = "PreemptLowerPriority"
NO_CLASS: Object = {"metadata": {"name": ""}, "value": 0, "preemptionPolicy": PREEMPTS}
"""What pods get where no class is the default."""
KEPT = ("priority", "preemptionPolicy")


class Priority(Base):
    """See the module."""

    concerns = frozenset({PODS, PRIORITYCLASSES})
    below = ()

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        pod = attributes.obj
        if attributes.resource != PODS or pod is None:
            return
        spec = pod.setdefault("spec", {})
        if attributes.operation == "UPDATE":
            # Whoever writes a pod back need not know the two fields.
            before = (attributes.old or {}).get("spec") or {}
            spec.update({field: before[field] for field in KEPT if spec.get(field) is None and field in before})
        elif attributes.operation == "CREATE":
            give_class(attributes.name, spec, await _class_of(attributes, reader, spec.get("priorityClassName") or ""))

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        """Only one class may be the default."""
        obj = attributes.obj
        if attributes.resource != PRIORITYCLASSES or not (obj and obj.get("globalDefault")):
            return
        default = default_class(await reader.list(PRIORITYCLASSES))
        if default is not None and (attributes.operation == "CREATE" or name_of(default) != name_of(obj)):
            problem = f"PriorityClass {name_of(default)} is already marked as default. Only one default can exist"
            raise status.forbidden(PRIORITYCLASSES, attributes.name, problem)


async def _class_of(attributes: Attributes, reader: Reader, name: str) -> Object:
    if not name:
        return default_class(await reader.list(PRIORITYCLASSES)) or NO_CLASS
    found = await reader.find(PRIORITYCLASSES, "", name)
    if found is None:
        raise status.forbidden(PODS, attributes.name, f"no PriorityClass with name {name} was found")
    return found


def default_class(classes: list[Object]) -> Object | None:
    """The class that is marked as default; of several, which only a race can bring about, the lowest."""
    marked = [one for one in classes if one.get("globalDefault")]
    return min(marked, key=lambda one: int(one.get("value") or 0), default=None)


def give_class(name: str, spec: Object, priority_class: Object) -> None:
    """Write the class into the pod's ``spec``. Raises ApiError 403 if the pod says something else."""
    if name_of(priority_class):
        spec["priorityClassName"] = name_of(priority_class)
    value, policy = priority_class.get("value") or 0, priority_class.get("preemptionPolicy") or PREEMPTS
    computed = "must not be provided in pod spec; priority admission controller computed"
    source = "from the given PriorityClass name"
    if spec.get("priority") not in (None, value):
        problem = f"the integer value of priority ({spec['priority']}) {computed} {value} {source}"
        raise status.forbidden(PODS, name, problem)
    if spec.get("preemptionPolicy") not in (None, "", policy):
        problem = f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) {computed} {policy} {source}"
        raise status.forbidden(PODS, name, problem)
    spec["priority"], spec["preemptionPolicy"] = value, policy
