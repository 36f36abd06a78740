"""PodTolerationRestriction (off unless the settings say otherwise): a namespace gives its pods tolerations, and says
which ones they may have at all.

Both are lists of tolerations in JSON, in annotations of the namespace. A pod that asks for any resources is also sent
to nodes that are short of memory.
"""

from __future__ import annotations

import orjson

from kontinuum.api.kubernetes.qos import qos_class
from kontinuum.api.kubernetes.resources import NAMESPACES, PODS
from kontinuum.api.kubernetes.tolerations import covers, merge
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object, annotations_of
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader

DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
ALLOWED = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
UNDER_PRESSURE: Object = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
CONFLICT = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"


class PodTolerationRestriction(Base):
    """See the module."""

    concerns = frozenset({PODS})

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        pod = attributes.obj
        if pod is None or not _is_looked_at(attributes):
            return
        spec = pod.setdefault("spec", {})
        tolerations = list(spec.get("tolerations") or ())
        if attributes.operation == "CREATE":
            tolerations = merge(await _listed(attributes, reader, DEFAULTS), tolerations)
        if qos_class(spec) != "BestEffort":
            tolerations = merge(tolerations, [UNDER_PRESSURE])
        if tolerations:
            spec["tolerations"] = tolerations

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        if attributes.obj is None or not _is_looked_at(attributes):
            return
        tolerations = (attributes.obj.get("spec") or {}).get("tolerations") or ()
        allowed = await _listed(attributes, reader, ALLOWED)
        if allowed and not all(any(covers(wider, one) for wider in allowed) for one in tolerations):
            raise status.forbidden(PODS, attributes.name, CONFLICT)


def _is_looked_at(attributes: Attributes) -> bool:
    return attributes.resource == PODS and not attributes.subresource and attributes.operation in ("CREATE", "UPDATE")


async def _listed(attributes: Attributes, reader: Reader, annotation: str) -> list[Object]:
    """Raises ApiError 500 for an annotation that is no list of tolerations."""
    namespace = await reader.find(NAMESPACES, "", attributes.namespace)
    text = annotations_of(namespace).get(annotation) if namespace is not None else None
    if not text:
        return []
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise status.internal_error(f"namespace {attributes.namespace}: annotation {annotation}: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise status.internal_error(f"namespace {attributes.namespace}: annotation {annotation}: not a list")
    return found
