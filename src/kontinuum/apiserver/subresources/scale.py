"""``scale`` of Deployments and ReplicaSets: the number of replicas behind one small interface (autoscaling/v1)."""

from __future__ import annotations

from dataclasses import replace

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.kinds.scale import SCALE
from kontinuum.api.kubernetes.schema import definition_of
from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object
from kontinuum.apiserver import options, writing
from kontinuum.apiserver.admission.chain import Kind
from kontinuum.apiserver.admission.requests import View
from kontinuum.apiserver.body import conform_document, read_as
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.presenting import answer
from kontinuum.apiserver.storing import Decide, change
from kontinuum.apiserver.verbs.patch import read_patch

COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(obj: Object) -> Object:
    """The Scale that stands for a workload."""
    spec, state = obj.get("spec") or {}, obj.get("status") or {}
    replicas = spec.get("replicas")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: obj["metadata"][key] for key in COPIED if key in obj["metadata"]},
        "spec": {"replicas": 1 if replicas is None else replicas},
        "status": {"replicas": state.get("replicas") or 0, "selector": str(from_object(spec.get("selector")))},
    }


def _put_back(scale: Object, obj: Object) -> Object:
    """What admission has made of the Scale, in the workload that it stands for."""
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    return {**obj, "spec": {**(obj.get("spec") or {}), "replicas": replicas}}


VIEW = View(Kind("autoscaling", "v1", "Scale"), scale_of, _put_back)


async def get_scale(context: Context, served: Served, call: Call) -> StreamResponse:
    entry = await context.current(served, call.route.namespace, call.route.name)
    return _answer(context, served, call, scale_of(orjson.loads(entry.value)))


async def update_scale(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 404, 409, 422."""
    sent = await read_as(context, call, definition_of("autoscaling/v1", "Scale"))
    if sent is None:
        raise status.bad_request("the body is empty; expected a Scale")

    def decide(old: Object) -> Object:
        return _rescaled(served, sent, old)

    return await _change(context, served, call, decide)


async def patch_scale(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 404, 409, 415, 422."""
    apply = await read_patch(context, call, "autoscaling/v1", "Scale")

    def decide(old: Object) -> Object:
        return _rescaled(served, apply(scale_of(old)), old)

    return await _change(context, served, call, decide)


async def _change(context: Context, served: Served, call: Call, decide: Decide) -> StreamResponse:
    stored = await change(context, served, call, decide, dry_run=options.dry_run(call), view=VIEW)
    return _answer(context, served, call, scale_of(orjson.loads(stored.value)))


def _rescaled(served: Served, scale: Object, old: Object) -> Object:
    conform_document(scale, definition_of("autoscaling/v1", "Scale"))
    writing.check_same_object(served.resource, writing.metadata_of(scale), old["metadata"])
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        cause = fields.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise status.invalid("Scale", old["metadata"]["name"], [cause], group="autoscaling")
    new = {**old, "metadata": dict(old["metadata"]), "spec": {**(old.get("spec") or {}), "replicas": replicas}}
    served.kind.prepare_update(new, old)
    return new


def _answer(context: Context, served: Served, call: Call, scale: Object) -> StreamResponse:
    shown = replace(served, kind=SCALE)
    return answer(context, call, shown, orjson.dumps(scale))
