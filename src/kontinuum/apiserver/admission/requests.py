"""From a call to what admission looks at: who asks for which operation on what, with which options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from kontinuum.api.kubernetes.schema import is_known
from kontinuum.api.kubernetes.structure import conform
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Kind, Operation, kind_of, no_defaults
from kontinuum.apiserver.call import TRUE, Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.options import DeleteOptions

CONNECT_KINDS = {
    ("pods", "attach"): "PodAttachOptions",
    ("pods", "exec"): "PodExecOptions",
    ("pods", "portforward"): "PodPortForwardOptions",
    ("pods", "proxy"): "PodProxyOptions",
    ("services", "proxy"): "ServiceProxyOptions",
    ("nodes", "proxy"): "NodeProxyOptions",
}
FLAGS = frozenset({"stdin", "stdout", "stderr", "tty"})
LISTS = frozenset({"command", "ports"})
OPTION_FIELDS = ("fieldManager", "fieldValidation")


@dataclass(frozen=True, slots=True)
class View:
    """What a subresource of another kind shows of its object (``scale``)."""

    kind: Kind
    of: Callable[[Object], Object]
    """The object as the subresource shows it."""
    into: Callable[[Object, Object], Object]
    """From the view, which admission may have changed, and the object to the object to be stored."""


def attributes_of(
    operation: Operation,
    served: Served,
    call: Call,
    obj: Object | None = None,
    old: Object | None = None,
    *,
    name: str = "",
    kind: Kind | None = None,
    options: Object | None = None,
    dry_run: bool = False,
    view: View | None = None,
) -> Attributes:
    """``obj`` and ``old`` are the request's kind: the Scale, Binding, Eviction ... of a subresource.

    ``kind`` is needed where that is another kind than the resource's; ``options`` where they came in the body.
    """
    if view is not None:
        obj, old, kind = obj and view.of(obj), old and view.of(old), view.kind
    metadata = (obj or old or {}).get("metadata") or {}
    return Attributes(
        operation=operation,
        resource=served.resource,
        subresource=call.route.subresource,
        namespace=call.route.namespace,
        name=name or call.route.name or metadata.get("name") or "",
        obj=obj,
        old=old,
        user=call.user,
        kind=kind or kind_of(served.resource),
        options=options if options is not None else options_of(call, operation),
        dry_run=dry_run,
        warnings=call.warnings,
        annotations=call.annotations,
        default=served.kind.default if kind is None else no_defaults,
        conform=served.kind.conform if kind is None else _structure_of(kind),
    )


def _structure_of(kind: Kind) -> Callable[[Object], object]:
    """Of a subresource's body. Options of a CONNECT have no schema: they are read from the query each time."""
    if not is_known(kind.api_version, kind.kind):
        return no_defaults
    return lambda obj: conform(obj, kind.api_version, kind.kind)


async def review(context: Context, attributes: Attributes) -> None:
    """Admission of what is not stored as it was sent: bindings, evictions, tokens, streams. Raises ApiError."""
    await context.admission.review(attributes, context)


async def review_connect(context: Context, served: Served, call: Call, asked: Object | None = None) -> None:
    """Admission of a stream into a pod, or through a service or node; what is ``asked`` for is else in the query."""
    kind = Kind("", "v1", CONNECT_KINDS.get((served.resource.plural, call.route.subresource), served.resource.kind))
    obj: Object = {"kind": kind.kind, "apiVersion": "v1", **(_connect_options(call) if asked is None else asked)}
    await review(context, attributes_of("CONNECT", served, call, obj, kind=kind))


def _connect_options(call: Call) -> Object:
    """Repeated keys (``command``) become a list."""
    found: Object = {}
    for key, value in parse_qsl(call.request.raw_path.partition("?")[2], keep_blank_values=True):
        if key in FLAGS:
            found[key] = value in TRUE
        elif key in LISTS:
            found.setdefault(key, []).append(value)
        else:
            found.setdefault(key, value)
    return found


def deletion_options(chosen: DeleteOptions) -> Object:
    """The DeleteOptions of the request, as admission sees them."""
    made: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    if chosen.grace_seconds is not None:
        made["gracePeriodSeconds"] = chosen.grace_seconds
    if chosen.propagation:
        made["propagationPolicy"] = chosen.propagation
    preconditions = {"uid": chosen.uid, "resourceVersion": chosen.resource_version}
    given = {key: value for key, value in preconditions.items() if value}
    if given:
        made["preconditions"] = given
    if chosen.dry_run:
        made["dryRun"] = ["All"]
    return made


def options_of(call: Call, operation: Operation) -> Object | None:
    """CreateOptions or UpdateOptions from the query: a patch shows those of what it comes to, as in Kubernetes."""
    if operation == "CONNECT":
        return None
    made: Object = {"kind": f"{operation.capitalize()}Options", "apiVersion": "meta.k8s.io/v1"}
    if not call.query:
        return made
    if call.query.get("dryRun"):
        made["dryRun"] = [call.query["dryRun"]]
    for field in OPTION_FIELDS:
        if call.query.get(field):
            made[field] = call.query[field]
    return made
