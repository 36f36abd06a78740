"""The errors of the API, as Kubernetes' ``Status`` objects: the same codes, reasons, messages and causes.

Clients decide by ``reason`` and ``code`` and people read ``message``, so all three follow k8s.io/apimachinery
(``api/errors``). Each constructor below returns an error to raise; ``to_status`` is what goes on the wire and
``from_status`` what a client makes of it.

An ``ApiError`` is neither Retryable nor Refused by class, because that depends on who asks: a conflict is final for a
user and an invitation to read again for a reconciler. ``is_conflict`` and its like say which error it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.foundation.errors import KontinuumError

__all__ = ["ApiError", "FieldError"]

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class ApiError(KontinuumError):
    """An answer of the API that is not success. ``details`` and ``metadata`` are those of the Status, or empty."""

    def __init__(
        self, code: int, reason: str, message: str, details: Object | None = None, metadata: Object | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details: Object = details or {}
        self.metadata: Object = metadata or {}

    def to_status(self) -> Object:
        """The Status object, without keys that would be empty, as a real API server writes it."""
        status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure"}
        status["message"] = self.message
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        status["code"] = self.code
        return status

    @property
    def causes(self) -> list[FieldError]:
        """The fields that an Invalid status complains about; empty for other errors."""
        return [
            FieldError(cause.get("field", ""), cause.get("reason", ""), cause.get("message", ""))
            for cause in self.details.get("causes") or ()
        ]

    @property
    def retry_after_seconds(self) -> int:
        """How long the server asks the client to wait before it tries again; 0 if it does not say."""
        return int(self.details.get("retryAfterSeconds") or 0)

    @property
    def is_not_found(self) -> bool:
        return self.code == 404

    @property
    def is_already_exists(self) -> bool:
        return self.reason == "AlreadyExists"

    @property
    def is_conflict(self) -> bool:
        return self.reason == "Conflict"

    @property
    def is_invalid(self) -> bool:
        return self.reason == "Invalid"

    @property
    def is_forbidden(self) -> bool:
        return self.code == 403

    @property
    def is_unauthorized(self) -> bool:
        return self.code == 401

    @property
    def is_expired(self) -> bool:
        """The resourceVersion or continue token is too old: list again."""
        return self.code == 410

    @property
    def is_too_many_requests(self) -> bool:
        return self.code == 429

    @property
    def is_namespace_terminating(self) -> bool:
        return any(cause.reason == "NamespaceTerminating" for cause in self.causes)


def from_status(status: Object) -> ApiError:
    """The error that a ``Status`` object with ``status: Failure`` describes."""
    return ApiError(
        int(status.get("code") or 500),
        status.get("reason") or "",
        status.get("message") or "the server gave no message",
        status.get("details"),
        status.get("metadata"),
    )


def success(resource: Resource | None = None, name: str = "", uid: str = "") -> Object:
    """The Status that answers a delete (and other calls without an object) that succeeded."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if resource is not None:
        status["details"] = _details(resource, name) | ({"uid": uid} if uid else {})
    return status


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_path() -> ApiError:
    """Nothing is served under the URL; kubectl reads exactly this as "the server doesn't have a resource type"."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name))


def conflict(resource: Resource, name: str, problem: str = MODIFIED) -> ApiError:
    """``problem`` completes "Operation cannot be fulfilled on pods "x": ..."."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {problem}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def invalid(kind: str, name: str, causes: Sequence[FieldError], *, group: str = "") -> ApiError:
    """422. ``kind`` is the plain kind; Kubernetes names it with its group: ``Deployment.apps "x" is invalid: ...``."""
    qualified = f"{kind}.{group}" if group else kind
    texts = list(dict.fromkeys(str(cause) for cause in causes))
    summary = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: Object = {"name": name, "group": group, "kind": kind}
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.path} for c in causes]
    details = {key: value for key, value in details.items() if value}
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {summary}', details)


def forbidden(resource: Resource, name: str, problem: str) -> ApiError:
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {problem}", _details(resource, name))


def namespace_terminating(resource: Resource, name: str, namespace: str) -> ApiError:
    """New content for a namespace that is being deleted (admission plugin NamespaceLifecycle)."""
    problem = f"unable to create new content in namespace {namespace} because it is being terminated"
    error = forbidden(resource, name, problem)
    message = f"namespace {namespace} is being terminated"
    error.details["causes"] = [
        {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"},
    ]
    return error


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(
    message: str = "The resourceVersion for the provided watch is too old.", *, continue_: str = ""
) -> ApiError:
    """410: the history that was asked for is gone. Watchers list again; lists start again without ``continue``.

    ``continue_`` lets the client go on with its list as of now.
    """
    return ApiError(410, "Expired", message, metadata={"continue": continue_} if continue_ else None)


def gone(message: str) -> ApiError:
    return ApiError(410, "Gone", message)


def method_not_allowed(resource: Resource, verb: str) -> ApiError:
    """``verb`` is Kubernetes' (``patch``), not HTTP's."""
    message = f'{verb} is not supported on resources of kind "{resource.qualified}"'
    return ApiError(405, "MethodNotAllowed", message, _details(resource, ""))


def not_acceptable(media_types: Sequence[str]) -> ApiError:
    return ApiError(
        406, "NotAcceptable", f"only the following media types are accepted: {', '.join(media_types)}"
    )  # fmt: skip


def unsupported_media_type(media_types: Sequence[str]) -> ApiError:
    message = (
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(media_types)}"
    )
    return ApiError(415, "UnsupportedMediaType", message)


def too_large(message: str = "the request is too large") -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity is too large: {message}")


def too_many_requests(message: str, retry_after_seconds: int) -> ApiError:
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": retry_after_seconds})


def disruption_budget(message: str) -> ApiError:
    """The answer to an eviction that a disruption budget does not allow now."""
    cause = {"reason": "DisruptionBudget", "message": message}
    return ApiError(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.",
                    {"causes": [cause]})  # fmt: skip


def internal_error(problem: str) -> ApiError:
    return ApiError(
        500, "InternalError", f"Internal error occurred: {problem}", {"causes": [{"message": problem}]}
    )  # fmt: skip


def service_unavailable(message: str, retry_after_seconds: int = 1) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message, {"retryAfterSeconds": retry_after_seconds})


def timeout(message: str, retry_after_seconds: int = 0) -> ApiError:
    details = {"retryAfterSeconds": retry_after_seconds} if retry_after_seconds else {}
    return ApiError(504, "Timeout", f"Timeout: {message}", details)


def too_large_resource_version(asked: int, current: int) -> ApiError:
    """A list asks for a revision that has not happened yet; clients retry after the time given."""
    error = timeout(f"Too large resource version: {asked}, current: {current}", retry_after_seconds=1)
    error.details["causes"] = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return error


def insufficient_storage(problem: str) -> ApiError:
    """507: the store is full. Kubernetes has no such reason; the code is RFC 4918's and clients show the message."""
    return ApiError(507, "InsufficientStorage", f"the store has no space left: {problem}")


def _details(resource: Resource, name: str) -> dict[str, Any]:
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in details.items() if value}
