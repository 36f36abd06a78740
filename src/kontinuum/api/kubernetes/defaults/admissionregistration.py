"""Defaults of admissionregistration.k8s.io."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.machinery.objects import Object

TIMEOUT_SECONDS = 10
PORT = 443


def default_webhooks(configuration: Object, *, mutating: bool) -> None:
    for webhook in configuration.get("webhooks") or ():
        webhook.setdefault("failurePolicy", "Fail")
        _default_match(webhook)
        webhook.setdefault("timeoutSeconds", TIMEOUT_SECONDS)
        if mutating:
            webhook.setdefault("reinvocationPolicy", "Never")
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", PORT)
        _default_rules(webhook.get("rules") or ())


def default_policy(policy: Object) -> None:
    """A validating or mutating admission policy."""
    spec = policy.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    _default_resources(spec.get("matchConstraints"))


def default_binding(binding: Object) -> None:
    _default_resources((binding.get("spec") or {}).get("matchResources"))


def _default_resources(match: Object | None) -> None:
    if match is not None:
        _default_match(match)
        for field in ("resourceRules", "excludeResourceRules"):
            _default_rules(match.get(field) or ())


def _default_match(match: Object) -> None:
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})


def _default_rules(rules: Sequence[Object]) -> None:
    for rule in rules:
        rule.setdefault("scope", "*")
