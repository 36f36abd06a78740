"""What a pod may learn about itself: ``fieldRef`` and ``resourceFieldRef``, in environment and volumes. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, annotations_of, labels_of
from kontinuum.foundation.errors import Refused
from kontinuum.node import pods

KEYED = re.compile(r"^metadata\.(labels|annotations)\['(.*)'\]$")
SPEC_FIELDS = {"spec.nodeName": "nodeName", "spec.serviceAccountName": "serviceAccountName"}
METADATA_FIELDS = {"metadata.name": "name", "metadata.namespace": "namespace", "metadata.uid": "uid"}


class NoSuchField(Refused):
    """A field reference names what pods do not have."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pod's fields need besides the pod: addresses, and the node's room for containers without limits."""

    pod_ips: tuple[str, ...] = ()
    host_ip: str = ""
    node_cpu: int = 0
    """Allocatable millicores."""
    node_memory: int = 0
    """Allocatable bytes."""


def field_value(pod: Object, path: str, around: Surroundings) -> str:
    """The value of ``fieldRef.fieldPath``. Raises NoSuchField."""
    if path in METADATA_FIELDS:
        return str(pod["metadata"].get(METADATA_FIELDS[path], ""))
    if path in SPEC_FIELDS:
        return str(pod["spec"].get(SPEC_FIELDS[path], ""))
    keyed = KEYED.match(path)
    if keyed:
        values = labels_of(pod) if keyed[1] == "labels" else annotations_of(pod)
        return values.get(keyed[2], "")
    match path:
        case "metadata.labels":
            return _lines(labels_of(pod))
        case "metadata.annotations":
            return _lines(annotations_of(pod))
        case "status.podIP":
            return around.pod_ips[0] if around.pod_ips else ""
        case "status.podIPs":
            return ",".join(around.pod_ips)
        case "status.hostIP" | "status.hostIPs":
            return around.host_ip
        case _:
            raise NoSuchField(f"unsupported fieldPath: {path}")


def _lines(values: dict[str, str]) -> str:
    """``key="value"`` lines, quoted as Go's strconv.Quote does for plain text."""
    return "\n".join(f'{key}="{_quoted(value)}"' for key, value in sorted(values.items()))


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")


def resource_value(pod: Object, reference: Object, container_name: str, around: Surroundings) -> str:
    """The value of ``resourceFieldRef``, divided and rounded up as Kubernetes does. Raises NoSuchField."""
    name = reference.get("containerName") or container_name
    container = pods.find_container(pod, name)
    which, _, kind = reference["resource"].partition(".")
    if container is None or which not in ("limits", "requests"):
        raise NoSuchField(f"unsupported container resource: {name} {reference['resource']}")
    amount = pods.resources(container, which).get(kind)
    room = {"cpu": f"{around.node_cpu}m", "memory": str(around.node_memory), **pods.resources(pod["spec"], "limits")}
    if amount is None:
        # Without a limit a container may use all that its pod may, or the whole node; without a request it has asked
        # for nothing.
        amount = room.get(kind, "0") if which == "limits" else "0"
    divisor = Fraction(quantity.parse(reference.get("divisor") or "1")) or Fraction(1)
    return str(math.ceil(Fraction(quantity.parse(amount)) / divisor))
