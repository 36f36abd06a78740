"""What the expressions of admission (match conditions and policies) may use, and what is said about bad ones.

object oldObject          the request's objects, untyped; null where there is none
request                   the AdmissionRequest without its objects
namespaceObject           the request's namespace; null for cluster-scoped resources
authorizer                what the requester may do (``authorizer.requestResource``: with what is requested)
params                    of a policy with a ``paramKind``
variables                 of a policy: each may use the ones before it
"""

from __future__ import annotations

from functools import cache

from kontinuum.api.machinery import fields
from kontinuum.api.machinery.cel import CompileError, Environment, Program, object_of, plain
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.schemas import Declared, declare
from kontinuum.api.machinery.fields import FieldError

TEXT, TEXTS = plain(t.STRING), plain(t.list_of(t.STRING))
WORDS = plain(t.map_of(t.STRING, t.STRING))
TIME = {"type": "string", "format": "date-time", "nullable": True}
VARIABLES = "variables"
SIMPLE = frozenset({"bool", "int", "uint", "double", "string", "bytes", "null", "timestamp", "duration"})


@cache
def environment(*, has_params: bool = False, has_authorizer: bool = True, has_patches: bool = False) -> Environment:
    """What the expressions of match conditions, or of a policy without its own variables, may use."""
    variables: dict[str, t.Type | Declared] = {
        "object": t.DYN,
        "oldObject": t.DYN,
        "request": _request_type(),
        "namespaceObject": _namespace_type(),
    }
    if has_params:
        variables["params"] = t.DYN
    if has_authorizer:
        from kontinuum.api.machinery.cel.library import authorizers as lib

        variables["authorizer"] = lib.AUTHORIZER
        variables["authorizer.requestResource"] = lib.RESOURCE_CHECK
    return Environment(variables, patches=has_patches)


def _request_type() -> Declared:
    kind = object_of("kubernetes.GroupVersionKind", {"group": TEXT, "version": TEXT, "kind": TEXT})
    resource = object_of("kubernetes.GroupVersionResource", {"group": TEXT, "version": TEXT, "resource": TEXT})
    extra = plain(t.map_of(t.STRING, t.list_of(t.STRING)))
    user = object_of("kubernetes.UserInfo", {"username": TEXT, "uid": TEXT, "groups": TEXTS, "extra": extra})
    return object_of("kubernetes.AdmissionRequest", {
        "kind": kind, "resource": resource, "subResource": TEXT,
        "requestKind": kind, "requestResource": resource, "requestSubResource": TEXT,
        "name": TEXT, "namespace": TEXT, "operation": TEXT, "userInfo": user,
        "dryRun": plain(t.BOOL), "options": plain(t.DYN),
    })  # fmt: skip


def _namespace_type() -> Declared:
    moment = declare(TIME, "time")
    metadata = {
        "name": TEXT, "generateName": TEXT, "namespace": TEXT, "labels": WORDS, "annotations": WORDS,
        "UID": plain(t.STRING, "uid"), "creationTimestamp": moment, "deletionTimestamp": moment,
        "deletionGracePeriodSeconds": plain(t.INT), "generation": plain(t.INT), "resourceVersion": TEXT,
        "finalizers": TEXTS,
    }  # fmt: skip
    condition = object_of("kubernetes.NamespaceCondition", dict.fromkeys(("status", "type", "message", "reason"), TEXT))
    conditions = plain(t.list_of(condition.type))
    members = {
        "metadata": object_of("kubernetes.NamespaceMetadata", {k: v for k, v in metadata.items() if v is not None}),
        "spec": object_of("kubernetes.NamespaceSpec", {"finalizers": TEXTS}),
        "status": object_of("kubernetes.NamespaceStatus", {"conditions": conditions, "phase": TEXT}),
    }
    return object_of("kubernetes.Namespace", members, nullable=True)


def with_variables(within: Environment, types: dict[str, t.Type]) -> Environment:
    """``within`` with a policy's own variables, as far as they have been compiled: name and type of each."""
    members = {name: plain(_visible(type_)) for name, type_ in types.items()}
    declared = object_of("kubernetes.variables", members)
    # What is composed is a Record already, and computes a variable when it is asked for.
    return within.extended({VARIABLES: declared.type})


def _visible(type_: t.Type) -> t.Type:
    """Kubernetes forgets the types of objects, optionals and library values when it stores a variable."""
    if type_.kind in SIMPLE:
        return type_
    if type_.kind in ("list", "map"):
        return t.Type(type_.kind, parameters=tuple(_visible(one) for one in type_.parameters))
    return t.DYN


def problem_of(error: CompileError) -> str:
    """What is wrong with an expression, as Kubernetes tells it."""
    is_wrong_result = not error.issues and str(error).startswith("must evaluate to ")
    return str(error) if is_wrong_result else f"compilation failed: {error}"


def compile_checked(
    source: str, within: Environment, results: tuple[t.Type, ...], path: str, shown: str | None = None
) -> tuple[Program | None, list[FieldError]]:
    """The program, or what is wrong with it. ``shown`` is the value that the error names, if it is not the source."""
    try:
        return within.compile(source, *results), []
    except CompileError as error:
        return None, [fields.invalid(path, source if shown is None else shown, problem_of(error))]
