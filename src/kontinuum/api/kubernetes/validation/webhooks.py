"""What is wrong with webhook configurations."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from kontinuum.api.kubernetes.validation import identifiers, names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.kubernetes.validation.matching import (
    MATCH_POLICIES,
    optional_word,
    validate_match_conditions,
    validate_rule,
)
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

FAILURE_POLICIES = ("Fail", "Ignore")
REINVOCATION_POLICIES = ("IfNeeded", "Never")
HARMLESS = ("None", "NoneOnDryRun")
SIDE_EFFECTS = ("None", "NoneOnDryRun", "Some", "Unknown")
REVIEW_VERSIONS = ("v1", "v1beta1")
FORMAT = "; desired format: https://host[/path]"


def validate_webhooks(webhooks: Sequence[Object], old: Sequence[Object] | None = None) -> list[FieldError]:
    """``webhooks`` of either configuration. What is wrong in ``old`` already may stay so."""
    errors = []
    seen: set[str] = set()
    old = old or []
    # Conditions that nobody touches are not judged again: an older server may have let them in.
    keeps_conditions = [one.get("matchConditions") for one in old] == [one.get("matchConditions") for one in webhooks]
    supported = HARMLESS if all(one.get("sideEffects") in HARMLESS for one in old) else SIDE_EFFECTS
    must_be_known = all(_is_known(one.get("admissionReviewVersions") or ["v1"]) for one in old)
    must_be_unique = len({one.get("name") for one in old}) == len(old)
    for index, webhook in enumerate(webhooks):
        path = f"webhooks[{index}]"
        errors += _webhook(webhook, path, supported)
        if not (old and keeps_conditions):
            errors += validate_match_conditions(webhook.get("matchConditions") or [], f"{path}.matchConditions")
        versions = webhook.get("admissionReviewVersions") or []
        errors += _versions(versions, f"{path}.admissionReviewVersions", must_be_known=must_be_known)
        name = webhook.get("name", "")
        if must_be_unique and name and name in seen:
            errors.append(fields.duplicate(f"{path}.name", name))
        seen.add(name)
    return errors


def _webhook(webhook: Object, path: str, side_effects: Sequence[str]) -> list[FieldError]:
    errors = identifiers.fully_qualified_name(webhook.get("name", ""), f"{path}.name")
    for index, rule in enumerate(webhook.get("rules") or ()):
        errors += validate_rule(rule, f"{path}.rules[{index}]")
    errors += optional_word(webhook.get("failurePolicy"), FAILURE_POLICIES, f"{path}.failurePolicy")
    errors += optional_word(webhook.get("matchPolicy"), MATCH_POLICIES, f"{path}.matchPolicy")
    effects, seconds = webhook.get("sideEffects"), webhook.get("timeoutSeconds")
    if effects is None:
        errors.append(fields.required(f"{path}.sideEffects", f"must specify one of {', '.join(side_effects)}"))
    errors += optional_word(effects, side_effects, f"{path}.sideEffects")
    if seconds is not None and not 1 <= seconds <= 30:
        problem = "the timeout value must be between 1 and 30 seconds"
        errors.append(fields.invalid(f"{path}.timeoutSeconds", seconds, problem))
    for field in ("namespaceSelector", "objectSelector"):
        errors += validate_selector(webhook.get(field) or {}, f"{path}.{field}")
    errors += optional_word(webhook.get("reinvocationPolicy"), REINVOCATION_POLICIES, f"{path}.reinvocationPolicy")
    return errors + validate_client_config(webhook.get("clientConfig") or {}, f"{path}.clientConfig")


def validate_client_config(config: Object, path: str) -> list[FieldError]:
    """Where a webhook is: at a URL, or behind a Service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [fields.required(path, "exactly one of url or service is required")]
    return _url(url, f"{path}.url") if url is not None else _service(service or {}, f"{path}.service")


def _url(text: str, path: str) -> list[FieldError]:
    try:
        url = urlsplit(text)
    except ValueError as error:
        return [fields.required(path, f"url must be a valid URL: {error}{FORMAT}")]
    errors = []
    if url.scheme != "https":
        problem = f"'https' is the only allowed URL scheme{FORMAT}"
        errors.append(fields.invalid(path, url.scheme, problem))
    user, at, host = url.netloc.rpartition("@")
    if not host:
        errors.append(fields.invalid(path, host, f"host must be specified{FORMAT}"))
    if at:
        errors.append(fields.invalid(path, user, "user information is not permitted in the URL"))
    if url.fragment:
        errors.append(fields.invalid(path, url.fragment, "fragments are not permitted in the URL"))
    if url.query:
        errors.append(fields.invalid(path, url.query, "query parameters are not permitted in the URL"))
    return errors


def _service(service: Object, path: str) -> list[FieldError]:
    errors = [
        fields.required(f"{path}.{field}", f"service {field} is required")
        for field in ("name", "namespace")
        if not service.get(field)
    ]
    port = service.get("port", 443)
    errors += check(port, [f"port is not valid: {one}" for one in names.port_number(port)], f"{path}.port")
    return errors + _service_path(service.get("path") or "/", f"{path}.path")


def _service_path(text: str, path: str) -> list[FieldError]:
    if text == "/":
        return []
    errors = [] if text.startswith("/") else [fields.invalid(path, text, "must start with a '/'")]
    for index, step in enumerate(text[1:].removesuffix("/").split("/")):
        problems = names.dns_subdomain(step)
        errors += check(text, [f"segment[{index}]: {one}" for one in problems] if step else [
            f"segment[{index}] may not be empty"
        ], path)  # fmt: skip
    return errors


def _versions(versions: Sequence[str], path: str, *, must_be_known: bool) -> list[FieldError]:
    known = ", ".join(REVIEW_VERSIONS)
    if not versions:
        return [fields.required(path, f"must specify one of {known}")]
    errors = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            errors.append(fields.invalid(f"{path}[{index}]", version, "duplicate version"))
        else:
            errors += check(version, names.dns_1035_label(version), f"{path}[{index}]")
    if must_be_known and not _is_known(versions):
        errors.append(fields.invalid(path, list(versions), f"must include at least one of {known}"))
    return errors


def _is_known(versions: Sequence[str]) -> bool:
    return any(version in REVIEW_VERSIONS for version in versions)
