"""``pods/binding``: put a pod on a node. Only a scheduler writes it, and only once per pod."""

from __future__ import annotations

from aiohttp.web_response import StreamResponse
from msgspec.structs import replace

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.kubernetes.schema import definition_of
from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import options, writing
from kontinuum.apiserver.admission.chain import Kind
from kontinuum.apiserver.admission.requests import attributes_of, review
from kontinuum.apiserver.body import read_as
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.presenting import answer_success
from kontinuum.apiserver.routes import Route
from kontinuum.apiserver.storing import rewrite
from kontinuum.foundation.clock import rfc3339

BINDING = Kind("", "v1", "Binding")


async def bind(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 404, 409 (bound already, or ending), 422."""
    return await _bind(context, served, call, await _read(context, call))


async def bind_named(context: Context, served: Served, call: Call) -> StreamResponse:
    """The same through the resource ``bindings``: the Binding itself names the pod. Raises as ``bind``."""
    binding = await _read(context, call)
    metadata = writing.metadata_of(binding)
    writing.check_namespace(served.resource, metadata, call.route.namespace)
    route = Route(PODS, call.route.namespace, writing.name_for_create(served.resource, metadata), "binding")
    return await _bind(context, context.served[PODS], replace(call, route=route), binding)


async def _read(context: Context, call: Call) -> Object:
    binding = await read_as(context, call, definition_of("v1", "Binding"))
    if binding is None:
        raise status.bad_request("the body is empty; expected a Binding")
    return binding


async def _bind(context: Context, served: Served, call: Call, binding: Object) -> StreamResponse:
    writing.metadata_of(binding)

    def decide(pod: Object) -> Object:
        writing.check_same_object(served.resource, binding["metadata"], pod["metadata"])
        return bound(served, pod, binding, now=context.clock.time())

    dry_run = options.dry_run(call)
    await review(context, attributes_of("CREATE", served, call, binding, kind=BINDING, dry_run=dry_run))
    # Only now: admission may have changed where the pod goes.
    check_target(binding, call.route.name)
    await rewrite(context, served, call, decide, dry_run=dry_run)
    return answer_success(call, 201)


def check_target(binding: Object, name: str) -> None:
    """Raises ApiError 422 unless the binding names a node."""
    target = binding.get("target") or {}
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(fields.not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        causes.append(fields.required("target.name"))
    if causes:
        raise status.invalid("Binding", name, causes)


def bound(served: Served, pod: Object, binding: Object, *, now: float) -> Object:
    """The pod on its node (kubernetes ``assignPod``). Changes ``pod``. Raises ApiError 409."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    if pod["metadata"].get("deletionTimestamp"):
        problem = f"pod {name} is being deleted, cannot be assigned to a host"
        raise status.conflict(served.resource, name, problem)
    if spec.get("nodeName"):
        raise status.conflict(served.resource, name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise status.conflict(served.resource, name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = binding["target"]["name"]
    for kept in ("annotations", "labels"):
        if binding["metadata"].get(kept):
            pod["metadata"][kept] = {**(pod["metadata"].get(kept) or {}), **binding["metadata"][kept]}
    state = pod.setdefault("status", {})
    others = [one for one in state.get("conditions") or () if one.get("type") != "PodScheduled"]
    scheduled = {
        "type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": rfc3339(now),
    }  # fmt: skip
    state["conditions"] = [*others, scheduled]
    state.pop("nominatedNodeName", None)  # a promise that has been kept is none any more (KEP-5278)
    return pod
