"""Which requests are noted, and how much of them (apiserver ``pkg/audit/policy``). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from kontinuum.api.machinery import yaml_documents
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.foundation.errors import Refused

API_VERSION = "audit.k8s.io/v1"
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
RECEIVED, STARTED, COMPLETE, PANIC = STAGES
FIELDS = frozenset({
    "level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages",
    "omitManagedFields",
})  # fmt: skip


class BadPolicy(Refused):
    """The policy file cannot be used; the message says where and why."""


class Level(IntEnum):
    """Each tells all that the one before tells, and more."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3


LEVELS = {"None": Level.NONE, "Metadata": Level.METADATA, "Request": Level.REQUEST,
          "RequestResponse": Level.REQUEST_RESPONSE}  # fmt: skip
NAMES = {level: name for name, level in LEVELS.items()}


class Wanted(NamedTuple):
    """What is noted of one request."""

    level: Level
    omitted_stages: frozenset[str] = frozenset()
    omits_managed_fields: bool = False


NOTHING = Wanted(Level.NONE)


class Rule(NamedTuple):
    """A rule of the policy. Empty: everything."""

    wanted: Wanted
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    resources: tuple[Object, ...]
    namespaces: frozenset[str]
    urls: tuple[str, ...]

    def matches(self, asked: Attributes) -> bool:
        user = asked.user
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and asked.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return self._resource_matches(asked)
        if self.urls:
            return not asked.is_resource and any(_url_matches(url, asked.path) for url in self.urls)
        return True

    def _resource_matches(self, asked: Attributes) -> bool:
        if not asked.is_resource or (self.namespaces and asked.namespace not in self.namespaces):
            return False
        return not self.resources or any(_group_matches(one, asked) for one in self.resources)


class Policy:
    """The rules in order; the first that matches decides, and what none matches is not noted."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def wanted(self, asked: Attributes) -> Wanted:
        for rule in self._rules:
            if rule.matches(asked):
                return rule.wanted
        return NOTHING


def read_policy(file: Path) -> Policy:
    """Raises BadPolicy."""
    try:
        document, twice = yaml_documents.decode(file.read_bytes())
    except (OSError, yaml_documents.BadYaml) as error:
        raise BadPolicy(f"{file}: reading the audit policy: {error}") from error
    if twice:
        raise BadPolicy(f"{file}: {twice}")
    return policy_of(document, str(file))


def policy_of(document: object, source: str = "the audit policy") -> Policy:
    """Raises BadPolicy with the path of what is wrong."""
    if not isinstance(document, dict):
        raise BadPolicy(f"{source}: it is no object")
    if document.get("apiVersion") != API_VERSION or document.get("kind") != "Policy":
        raise BadPolicy(f"{source}: expected a Policy of {API_VERSION}")
    unknown = sorted(set(document) - {"apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"})
    if unknown:
        raise BadPolicy(f"{source}: {unknown[0]}: unknown field")
    rules = document.get("rules")
    if not rules or not isinstance(rules, list):
        raise BadPolicy(f"{source}: loaded illegal policy with 0 rules")
    stages = _stages(document.get("omitStages"), f"{source}: omitStages")
    omits = bool(document.get("omitManagedFields"))
    return Policy([_rule(rule, stages, omits, f"{source}: rules[{index}]") for index, rule in enumerate(rules)])


def _rule(rule: object, stages: frozenset[str], omits: bool, path: str) -> Rule:
    if not isinstance(rule, dict):
        raise BadPolicy(f"{path}: it is no object")
    unknown = sorted(set(rule) - FIELDS)
    if unknown:
        raise BadPolicy(f"{path}.{unknown[0]}: unknown field")
    level = rule.get("level")
    if level not in LEVELS:
        names = ", ".join(f'"{name}"' for name in sorted(LEVELS))
        raise BadPolicy(f'{path}.level: Unsupported value: "{level or ""}": supported values: {names}')
    resources, urls = rule.get("resources") or (), _texts(rule, "nonResourceURLs", path)
    namespaces = _texts(rule, "namespaces", path)
    if urls and (resources or namespaces):
        raise BadPolicy(f"{path}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs")
    for index, url in enumerate(urls):
        _check_url(url, f"{path}.nonResourceURLs[{index}]")
    groups = [_group(one, f"{path}.resources[{index}]") for index, one in enumerate(resources)]
    own = rule.get("omitManagedFields")
    wanted = Wanted(
        LEVELS[level],
        stages | _stages(rule.get("omitStages"), f"{path}.omitStages"),
        omits if own is None else bool(own),
    )
    return Rule(
        wanted,
        frozenset(_texts(rule, "users", path)),
        frozenset(_texts(rule, "userGroups", path)),
        frozenset(_texts(rule, "verbs", path)),
        tuple(groups),
        frozenset(namespaces),
        tuple(urls),
    )


def _texts(rule: Object, field: str, path: str) -> list[str]:
    values = rule.get(field) or []
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise BadPolicy(f"{path}.{field}: expected a list of texts")
    return values


def _stages(stages: object, path: str) -> frozenset[str]:
    values = _texts({"stages": stages}, "stages", path)
    for value in values:
        if value not in STAGES:
            raise BadPolicy(f'{path}: Invalid value: "{value}": must be one of {", ".join(STAGES)}')
    return frozenset(values)


def _group(resources: object, path: str) -> Object:
    if not isinstance(resources, dict):
        raise BadPolicy(f"{path}: it is no object")
    group, plurals, names = resources.get("group", ""), *(_texts(resources, one, path) for one in
                                                          ("resources", "resourceNames"))  # fmt: skip
    if not isinstance(group, str) or "/" in group:
        raise BadPolicy(f"{path}.group: '{group}' must be the name of an API group, without a version")
    if names and not plurals:
        raise BadPolicy(f"{path}.resourceNames: using resourceNames requires at least one resource")
    return {"group": group, "resources": plurals, "resourceNames": names}


def _check_url(url: str, path: str) -> None:
    if url == "*":
        return
    if not url.startswith("/"):
        raise BadPolicy(f"{path}: '{url}': non-resource URL rules must begin with a '/' character")
    if "*" in url[:-1]:
        raise BadPolicy(f"{path}: '{url}': non-resource URL wildcards '*' must be the final character of the rule")


def _group_matches(rule: Object, asked: Attributes) -> bool:
    if rule["group"] != asked.group:
        return False
    if not rule["resources"]:
        return True
    if rule["resourceNames"] and asked.name not in rule["resourceNames"]:
        return False
    return any(_names(pattern, asked) for pattern in rule["resources"])


def _names(pattern: str, asked: Attributes) -> bool:
    """``*`` everything, ``pods``, ``pods/log``, ``pods/*`` every subresource of pods, ``*/scale`` every scale."""
    if pattern in ("*", asked.combined):
        return True
    if not asked.subresource:
        return False
    return pattern in (f"{asked.resource}/*", f"*/{asked.subresource}")


def _url_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
