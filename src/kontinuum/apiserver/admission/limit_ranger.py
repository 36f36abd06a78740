"""LimitRanger: pods and claims get the defaults of their namespace's LimitRanges, and are held to their bounds."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.resources import LIMITRANGES, PERSISTENTVOLUMECLAIMS, PODS
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader
from kontinuum.apiserver.admission.limit_rules import claim_problems, fill_in, pod_problems


class LimitRanger(Base):
    """See the module."""

    concerns = frozenset({PODS, PERSISTENTVOLUMECLAIMS})
    below = ("resize",)

    async def admit(self, attributes: Attributes, reader: Reader) -> None:
        pod = attributes.obj
        if pod is None or attributes.resource != PODS or attributes.subresource or attributes.operation != "CREATE":
            return
        for one in await _limit_ranges(attributes, reader):
            fill_in(pod, _limits(one))

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        obj = attributes.obj
        if obj is None or not _is_held(attributes) or (attributes.old or obj)["metadata"].get("deletionTimestamp"):
            return
        judge = pod_problems if attributes.resource == PODS else claim_problems
        for one in await _limit_ranges(attributes, reader):
            if problems := judge(obj, _limits(one)):
                raise status.forbidden(attributes.resource, attributes.name, together(problems))


def together(problems: Sequence[str]) -> str:
    """Several errors as Go's aggregate tells them: each once, in brackets if there are many."""
    distinct = list(dict.fromkeys(problems))
    return distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"


def _is_held(attributes: Attributes) -> bool:
    """Containers of a pod never change, but for a resize."""
    if attributes.resource == PODS:
        is_resize = attributes.subresource == "resize" and attributes.operation == "UPDATE"
        return is_resize or (attributes.operation == "CREATE" and not attributes.subresource)
    if attributes.resource != PERSISTENTVOLUMECLAIMS or attributes.subresource:
        return False
    return attributes.operation in ("CREATE", "UPDATE")


async def _limit_ranges(attributes: Attributes, reader: Reader) -> list[Object]:
    return sorted(await reader.list(LIMITRANGES, attributes.namespace), key=name_of)


def _limits(limit_range: Object) -> list[Object]:
    return (limit_range.get("spec") or {}).get("limits") or []
