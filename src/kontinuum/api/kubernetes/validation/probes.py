"""Probes and lifecycle hooks: exactly one handler, and sensible numbers."""

from __future__ import annotations

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def validate_probe(probe: Object, path: str, *, ends_containers: bool) -> list[FieldError]:
    """Liveness and startup probes decide by their first success, and may give a container its own time to end."""
    errors = validate_handler(probe, path)
    for name in COUNTS:
        if probe.get(name, 0) < 0:
            errors.append(fields.invalid(f"{path}.{name}", probe[name], "must be greater than or equal to 0"))
    if ends_containers and probe.get("successThreshold", 1) != 1:
        errors.append(fields.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        errors.append(fields.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if grace is not None and not ends_containers:
        where = f"{path}.terminationGracePeriodSeconds"
        errors.append(fields.invalid(where, grace, "must not be set for readinessProbes"))
    return errors


def validate_handler(handler: Object, path: str, *, grace: int | None = None) -> list[FieldError]:
    """What a probe or a hook does: run, ask by HTTP, TCP or gRPC, or sleep no longer than the pod's ``grace``."""
    chosen = [name for name in HANDLERS if name in handler]
    if not chosen:
        return [fields.required(path, "must specify a handler type")]
    errors = [fields.forbidden(f"{path}.{name}", "may not specify more than 1 handler type") for name in chosen[1:]]
    first = chosen[0]
    content, here = handler[first], f"{path}.{first}"
    if first == "exec" and not content.get("command"):
        errors.append(fields.required(f"{here}.command"))
    if first == "httpGet":
        errors += _http(content, here)
    if first == "sleep" and grace is not None and not 0 <= content.get("seconds", 0) <= grace:
        problem = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        errors.append(fields.invalid(here, content.get("seconds", 0), problem))
    if first in ("httpGet", "tcpSocket", "grpc"):
        errors += _port(content.get("port", 0), f"{here}.port")
    return errors


def _http(content: Object, path: str) -> list[FieldError]:
    errors = [] if content.get("path") else [fields.required(f"{path}.path")]
    if content.get("scheme") not in ("HTTP", "HTTPS"):
        errors.append(fields.not_supported(f"{path}.scheme", content.get("scheme", ""), ["HTTP", "HTTPS"]))
    for header in content.get("httpHeaders") or ():
        name = header.get("name", "")
        errors += [fields.invalid(f"{path}.httpHeaders", name, problem) for problem in names.http_header(name)]
    return errors


def _port(port: int | str, path: str) -> list[FieldError]:
    problems = names.port_number(port) if isinstance(port, int) else names.port_name(port)
    return [fields.invalid(path, port, problem) for problem in problems]
