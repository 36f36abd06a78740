"""What a request asks for beside the object: dry run, field validation, deletion options. Texts to values, or 4xx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.times import SECOND, parse_duration
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import FieldError
from kontinuum.apiserver.call import Call, boolean

DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
"""The definition that a delete's body follows; it is no kind of its own."""
PROPAGATIONS = ("Background", "Foreground", "Orphan")
VALIDATIONS = ("Ignore", "Strict", "Warn")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """``grace_seconds`` None: the object's own; ``propagation`` "": as the object's finalizers already say."""

    grace_seconds: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def dry_run(call: Call) -> bool:
    """Raises ApiError 422 for a value other than ``All``."""
    return _dry_run([call.query["dryRun"]] if call.query.get("dryRun") else [])


def field_validation(call: Call) -> str:
    """Ignore, Warn (the default) or Strict. Raises ApiError 422."""
    value = call.query.get("fieldValidation") or "Warn"
    if value not in VALIDATIONS:
        raise _invalid("CreateOptions", fields.not_supported("fieldValidation", value, VALIDATIONS))
    return value


def delete_options(call: Call, body: Object | None) -> DeleteOptions:
    """From the body if there is one, else from the query. Raises ApiError 400 or 422."""
    given: dict[str, Any] = body if body is not None else _from_query(call)
    grace = given.get("gracePeriodSeconds")
    preconditions = given.get("preconditions") or {}
    if grace is not None and grace < 0:
        # Kubernetes reads a negative period as "at once, but gracefully".
        grace = 1
    return DeleteOptions(
        grace_seconds=grace,
        propagation=_propagation(given),
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
        dry_run=_dry_run(given.get("dryRun") or []),
    )


def request_seconds(query: Mapping[str, str], longest: float) -> float:
    """How long a request may take: what it asks for itself (``timeout=30s``), at most ``longest``.

    Raises ApiError 400 (apiserver's ``WithRequestDeadline``).
    """
    text = query.get("timeout", "")
    if not text:
        return longest
    try:
        seconds = parse_duration(text).nanoseconds / SECOND
    except EvaluationError:
        problem = f'invalid timeout specified in the request URL - time: invalid duration "{text}"'
        raise status.bad_request(problem) from None
    return min(seconds, longest) if seconds > 0 else longest


def _from_query(call: Call) -> dict[str, Any]:
    given: dict[str, Any] = {"propagationPolicy": call.query.get("propagationPolicy")}
    if call.query.get("gracePeriodSeconds"):
        given["gracePeriodSeconds"] = call.number("gracePeriodSeconds")
    if call.query.get("orphanDependents"):
        given["orphanDependents"] = boolean(call.query["orphanDependents"], "orphanDependents")
    if call.query.get("dryRun"):
        given["dryRun"] = [call.query["dryRun"]]
    return given


def _propagation(given: dict[str, Any]) -> str:
    policy, orphan = given.get("propagationPolicy"), given.get("orphanDependents")
    if policy is not None and orphan is not None:
        cause = fields.invalid(
            "propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set"
        )
        raise _invalid("DeleteOptions", cause)
    if policy is None:
        return "" if orphan is None else ("Orphan" if orphan else "Background")
    if policy not in PROPAGATIONS:
        raise _invalid("DeleteOptions", fields.not_supported("propagationPolicy", policy, (*PROPAGATIONS, "nil")))
    return str(policy)


def _dry_run(values: list[Any]) -> bool:
    for value in values:
        if value != "All":
            raise _invalid("DryRun", fields.not_supported("dryRun", value, ("All",)))
    return bool(values)


def _invalid(kind: str, cause: FieldError) -> status.ApiError:
    return status.invalid(kind, "", [cause], group="meta.k8s.io")
