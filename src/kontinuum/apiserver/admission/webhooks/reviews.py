"""AdmissionReview, version v1 and v1beta1: what a webhook is asked, and what its answer has to be like. Pure.

v1 holds answers to more than v1beta1 did (``VerifyAdmissionResponse``): the same uid, kind and version, and patch and
patchType together, never from a validating webhook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kontinuum.api.kubernetes.validation.names import qualified_name
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.chain import Attributes
from kontinuum.apiserver.admission.expressions import request_of
from kontinuum.apiserver.admission.matching import Match
from kontinuum.apiserver.admission.webhooks.client import CallFailed

GROUP = "admission.k8s.io"
JSON_PATCH = "JSONPatch"
MODES = ("admit", "validating")


class Denied(ApiError):
    """The webhook has said no."""


class _Cause(msgspec.Struct, omit_defaults=True):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct, omit_defaults=True):
    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: list[_Cause] | None = None
    retryAfterSeconds: int = 0


class _Status(msgspec.Struct):
    message: str | None = None
    reason: str | None = None
    details: _Details | None = None
    code: int | None = None


class _Response(msgspec.Struct):
    uid: str | None = None
    allowed: bool | None = None
    status: _Status | None = None
    patch: bytes | None = None
    patchType: str | None = None
    auditAnnotations: dict[str, str] | None = None
    warnings: list[str] | None = None


class _Review(msgspec.Struct):
    kind: str | None = None
    apiVersion: str | None = None
    response: _Response | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook has decided."""

    denied: Denied | None
    patch: bytes = b""
    """A JSON patch, encoded."""
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    """For the audit event."""


def review_of(attributes: Attributes, match: Match, *, version: str, uid: str) -> Object:
    """The question. ``attributes`` holds its objects in the version of ``match``."""
    request = request_of(attributes, match)
    request["uid"] = uid
    request["object"], request["oldObject"] = attributes.obj, attributes.old
    request.setdefault("options", None)
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request}


def verdict_of(answer: Any, name: str, *, version: str, uid: str, is_mutating: bool) -> Verdict:
    """What webhook ``name`` has answered. Raises CallFailed if that is no valid answer."""
    try:
        review = msgspec.convert(answer, _Review)
    except msgspec.ValidationError as error:
        raise CallFailed(f"failed to call webhook: json: cannot unmarshal AdmissionReview: {error}") from error
    response = review.response
    # An answer in the other version decodes, but not into what was asked for.
    if response is None or (version == "v1beta1" and review.apiVersion == f"{GROUP}/v1"):
        raise _invalid("webhook response was absent")
    patch = response.patch or b""
    if version == "v1":
        _check(review, response, uid, is_mutating=is_mutating)
    if not is_mutating:
        patch = b""
    elif version == "v1" and patch and response.patchType != JSON_PATCH:
        raise CallFailed(f'unsupported patch type "{response.patchType}"')
    return Verdict(
        denied=None if response.allowed else _denied(name, response.status or _Status()),
        patch=patch,
        warnings=tuple(response.warnings or ()),
        annotations={
            f"{name}/{key}": value
            for key, value in (response.auditAnnotations or {}).items()
            if not qualified_name(f"{name}/{key}")
        },
    )


def _check(review: _Review, response: _Response, uid: str, *, is_mutating: bool) -> None:
    """Raises CallFailed."""
    if response.uid != uid:
        raise _invalid(f'expected response.uid="{uid}", got "{response.uid or ""}"')
    expected, got = f"{GROUP}/v1, Kind=AdmissionReview", f"{_shown(review.apiVersion)}, Kind={review.kind or ''}"
    if got != expected:
        raise _invalid(f"expected webhook response of {expected}, got {got}")
    has_patch, has_type = bool(response.patch), response.patchType is not None
    if is_mutating and has_patch and not has_type:
        raise _invalid("webhook returned response.patch but not response.patchType")
    if is_mutating and has_type and not has_patch:
        raise _invalid("webhook returned response.patchType but not response.patch")
    if is_mutating and response.patchType == "":
        raise _invalid('webhook returned invalid response.patchType of ""')
    if not is_mutating and has_patch:
        raise _invalid("validating webhook may not return response.patch")
    if not is_mutating and has_type:
        raise _invalid("validating webhook may not return response.patchType")


def _shown(api_version: str | None) -> str:
    """As Go prints a group and version: both, also where there is no group."""
    group, _, version = (api_version or "").rpartition("/")
    return f"{group}/{version}"


def _invalid(problem: str) -> CallFailed:
    return CallFailed(f"received invalid webhook response: {problem}")


def _denied(name: str, given: _Status) -> Denied:
    """A refusal is an error, whatever its code says, and says who refuses (``ToStatusErr``)."""
    explanation = given.message or given.reason
    who = f'admission webhook "{name}" denied the request'
    text = f"{who}: {explanation}" if explanation else f"{who} without explanation"
    code = given.code or 0
    # No HTTP answer can have a larger one.
    code = 400 if code < 400 else code if code < 600 else 500
    details = msgspec.to_builtins(given.details) if given.details is not None else None
    return Denied(code, given.reason or "", text, details)
