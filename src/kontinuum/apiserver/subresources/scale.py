"""``scale`` of workloads and custom resources: the number of replicas behind one small interface (autoscaling/v1)."""

from __future__ import annotations

from dataclasses import replace

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.kinds.scale import SCALE
from kontinuum.api.kubernetes.schema import definition_of
from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import options, versions, writing
from kontinuum.apiserver.admission.chain import Kind
from kontinuum.apiserver.admission.requests import View
from kontinuum.apiserver.body import conform_document, media_type, read_as
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.presenting import answer
from kontinuum.apiserver.storing import Decide, change
from kontinuum.apiserver.verbs.apply import APPLY_PATCH, Apply, read_configuration
from kontinuum.apiserver.verbs.patch import read_patch

COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(served: Served, obj: Object) -> Object:
    """The Scale that stands for an object; without ``spec.replicas`` if the object does not say what it wants."""
    scaling = served.kind.scaling
    selector, wanted = scaling.selector(obj), scaling.wanted(obj)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: obj["metadata"][key] for key in COPIED if key in obj["metadata"]},
        "spec": {} if wanted is None else {"replicas": wanted},
        "status": {"replicas": scaling.present(obj), **({"selector": selector} if selector else {})},
    }


def _replicas(scale: Object) -> int:
    return (scale.get("spec") or {}).get("replicas") or 0


def view_of(served: Served) -> View:
    """Admission sees the Scale, and what it makes of it is put back."""
    return View(
        Kind("autoscaling", "v1", "Scale"),
        lambda obj: scale_of(served, obj),
        lambda scale, obj: served.kind.scaling.scaled(obj, _replicas(scale)),
    )


async def get_scale(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 404, or 500 if the object does not say how many replicas it wants."""
    entry = await context.current(served, call.route.namespace, call.route.name)
    scale = scale_of(served, await versions.read(served.converter, entry.value))
    if "replicas" not in scale["spec"]:
        raise status.internal_error("the replicas that are wanted do not exist in the object")
    return _answer(context, served, call, scale)


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
    if media_type(call.request) == APPLY_PATCH:
        return await _apply_scale(context, served, call)
    apply = await read_patch(context, call, "autoscaling/v1", "Scale")

    def decide(old: Object) -> Object:
        return _rescaled(served, apply(scale_of(served, old)), old)

    return await _change(context, served, call, decide)


async def _apply_scale(context: Context, served: Served, call: Call) -> StreamResponse:
    """The object is applied, of which the Scale says one field; so that is what its manager owns."""
    scale = await read_configuration(context, call)
    if (scale.get("apiVersion"), scale.get("kind")) != ("autoscaling/v1", "Scale"):
        raise status.bad_request(f"invalid object type: {scale.get('apiVersion')}, Kind={scale.get('kind')}")
    conform_document(scale, definition_of("autoscaling/v1", "Scale"))
    _check_replicas(_replicas(scale), call.route.name)
    resource, metadata = served.resource, writing.metadata_of(scale)
    config: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    if "replicas" in (scale.get("spec") or {}):
        config = served.kind.scaling.scaled(config, _replicas(scale))
    request = Apply(context, served, call, config, view=view_of(served))
    request.check()
    stored = await request.store(dry_run=options.dry_run(call))
    return _answer(context, served, call, scale_of(served, orjson.loads(stored.value)))


async def _change(context: Context, served: Served, call: Call, decide: Decide) -> StreamResponse:
    stored = await change(context, served, call, decide, dry_run=options.dry_run(call), view=view_of(served))
    return _answer(context, served, call, scale_of(served, orjson.loads(stored.value)))


def _rescaled(served: Served, scale: Object, old: Object) -> Object:
    conform_document(scale, definition_of("autoscaling/v1", "Scale"))
    writing.check_same_object(served.resource, writing.metadata_of(scale), old["metadata"])
    replicas = _replicas(scale)
    _check_replicas(replicas, old["metadata"]["name"])
    new = served.kind.scaling.scaled({**old, "metadata": dict(old["metadata"])}, replicas)
    served.kind.prepare_update(new, old)
    return new


def _check_replicas(replicas: int, name: str) -> None:
    if replicas < 0:
        cause = fields.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise status.invalid("Scale", name, [cause], group="autoscaling")


def _answer(context: Context, served: Served, call: Call, scale: Object) -> StreamResponse:
    shown = replace(served, kind=SCALE)
    return answer(context, call, shown, orjson.dumps(scale))
