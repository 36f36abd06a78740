"""What is wrong with flow schemas and priority levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

HIGHEST_PRECEDENCE = 10_000
MOST_QUEUES = 10**7
MOST_HASH_BITS = 60
"""A request's hash chooses its queues, so it must hold enough bits for the choice."""
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
DISTINGUISHERS = ("ByNamespace", "ByUser")


def validate_flow_schema(name: str, spec: Object) -> list[FieldError]:
    precedence, method = spec.get("matchingPrecedence", 0), spec.get("distinguisherMethod")
    path = "spec.matchingPrecedence"
    errors = []
    if precedence <= 0:
        errors.append(fields.invalid(path, precedence, "must be a positive value"))
    if precedence > HIGHEST_PRECEDENCE:
        errors.append(fields.invalid(path, precedence, f"must not be greater than {HIGHEST_PRECEDENCE}"))
    if precedence == 1 and name != "exempt":
        problem = "only the schema named 'exempt' may have matchingPrecedence 1"
        errors.append(fields.invalid(path, precedence, problem))
    if method is not None and method.get("type") not in DISTINGUISHERS:
        errors.append(fields.not_supported("spec.distinguisherMethod.type", method.get("type", ""), DISTINGUISHERS))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    path = "spec.priorityLevelConfiguration.name"
    errors += check(level, names.dns_subdomain(level), path) if level else [
        fields.required(path, "must reference a priority level")
    ]  # fmt: skip
    for index, rule in enumerate(spec.get("rules") or ()):
        errors += _rules(rule, f"spec.rules[{index}]")
    return errors


def _rules(rule: Object, path: str) -> list[FieldError]:
    subjects, resources, urls = (rule.get(field) or [] for field in ("subjects", "resourceRules", "nonResourceRules"))
    errors = []
    if not subjects:
        errors.append(fields.required(f"{path}.subjects", "subjects must contain at least one value"))
    for index, subject in enumerate(subjects):
        errors += _subject(subject, f"{path}.subjects[{index}]")
    if not resources and not urls:
        problem = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.append(fields.required(path, problem))
    for index, one in enumerate(resources):
        errors += _resource_rule(one, f"{path}.resourceRules[{index}]")
    for index, one in enumerate(urls):
        errors += _url_rule(one, f"{path}.nonResourceRules[{index}]")
    return errors


def _subject(subject: Object, path: str) -> list[FieldError]:
    kind = subject.get("kind", "")
    if kind not in SUBJECTS:
        return [fields.not_supported(f"{path}.kind", kind, sorted(SUBJECTS))]
    field = SUBJECTS[kind]
    here = f"{path}.{field}"
    errors = []
    if subject.get(field) is None:
        errors.append(fields.required(here, f"{field} is required when subject kind is '{kind}'"))
    else:
        errors += _named(subject[field], here, is_account=kind == "ServiceAccount")
    for other_kind, other in SUBJECTS.items():
        if other != field and subject.get(other) is not None:
            problem = f"{other} is forbidden when subject kind is not '{other_kind}'"
            errors.append(fields.forbidden(f"{path}.{other}", problem))
    return errors


def _named(subject: Object, path: str, *, is_account: bool) -> list[FieldError]:
    name = subject.get("name", "")
    errors = [] if name else [fields.required(f"{path}.name")]
    if not is_account:
        return errors
    if name and name != "*":
        errors += check(name, names.dns_subdomain(name), f"{path}.name")
    namespace = subject.get("namespace", "")
    if not namespace:
        return [*errors, fields.required(f"{path}.namespace", "must specify namespace for service account")]
    return errors + check(namespace, names.dns_label(namespace), f"{path}.namespace")


def _alone(values: Sequence[str], path: str, plural: str) -> list[FieldError]:
    """``*`` says everything, so nothing may stand beside it."""
    if "*" in values and len(values) > 1:
        return [fields.invalid(path, list(values), f"if '*' is present, must not specify other {plural}")]
    return []


def _verbs(rule: Object, path: str) -> list[FieldError]:
    verbs = rule.get("verbs") or []
    here = f"{path}.verbs"
    if not verbs:
        return [fields.required(here, "verbs must contain at least one value")]
    if "*" not in verbs and not set(verbs) <= set(VERBS):
        return [fields.not_supported(here, verbs, VERBS)]
    return _alone(verbs, here, "verbs")


def _resource_rule(rule: Object, path: str) -> list[FieldError]:
    errors = _verbs(rule, path)
    for field, one, more in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        values = rule.get(field) or []
        here = f"{path}.{field}"
        if not values:
            errors.append(fields.required(here, f"resource rules must supply at least one {one}"))
        errors += _alone(values, here, more)
    namespaces = rule.get("namespaces") or []
    here = f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        problem = "resource rules that are not cluster scoped must supply at least one namespace"
        return [*errors, fields.required(here, problem)]
    if "*" in namespaces:
        return errors + _alone(namespaces, here, "namespaces")
    intro = "each member of this list must be '*' or a DNS-1123 label; "
    for index, name in enumerate(namespaces):
        errors += check(name, [intro + problem for problem in names.dns_label(name)], f"{here}[{index}]")
    return errors


def _url_rule(rule: Object, path: str) -> list[FieldError]:
    errors = _verbs(rule, path)
    urls = rule.get("nonResourceURLs") or []
    here = f"{path}.nonResourceURLs"
    if not urls:
        return [*errors, fields.required(here, "nonResourceURLs must contain at least one value")]
    if "*" in urls:
        return errors + _alone(urls, here, "non-resource URLs")
    for index, url in enumerate(urls):
        problem = _url_problem(url)
        errors += [fields.invalid(f"{here}[{index}]", url, problem)] if problem else []
    return errors


def _url_problem(url: str) -> str:
    if not url:
        return "must not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def validate_priority_level(name: str, spec: Object) -> list[FieldError]:
    kind, limited, exempt = spec.get("type", ""), spec.get("limited"), spec.get("exempt")
    errors = []
    if (name == "exempt") != (kind == "Exempt"):
        problem = "type must be 'Exempt' if and only if name is 'exempt'"
        errors.append(fields.invalid("spec.type", kind, problem))
    if kind == "Exempt":
        if limited is not None:
            errors.append(fields.forbidden("spec.limited", "must be nil if the type is not Limited"))
        errors += _shares(exempt or {}, "spec.exempt")
    elif kind == "Limited":
        if exempt is not None:
            errors.append(fields.forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            errors.append(fields.required("spec.limited", "must not be empty when type is Limited"))
        else:
            errors += _limited(limited)
    else:
        errors.append(fields.not_supported("spec.type", kind, ("Exempt", "Limited")))
    return errors


def _shares(level: Object, path: str) -> list[FieldError]:
    shares, lendable = level.get("nominalConcurrencyShares", 0), level.get("lendablePercent", 0)
    errors = []
    if shares < 0:
        where = f"{path}.nominalConcurrencyShares"
        errors.append(fields.invalid(where, shares, "must be a non-negative integer"))
    if not 0 <= lendable <= 100:
        where = f"{path}.lendablePercent"
        errors.append(fields.invalid(where, lendable, "must be between 0 and 100, inclusive"))
    return errors


def _limited(limited: Object) -> list[FieldError]:
    path = "spec.limited"
    errors = _shares(limited, path)
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        problem = "if specified, must be a non-negative integer"
        errors.append(fields.invalid(f"{path}.borrowingLimitPercent", borrowing, problem))
    response = limited.get("limitResponse") or {}
    kind, queuing = response.get("type", ""), response.get("queuing")
    path = f"{path}.limitResponse"
    if kind not in ("Queue", "Reject"):
        return [*errors, fields.not_supported(f"{path}.type", kind, ("Queue", "Reject"))]
    if kind == "Reject" and queuing is not None:
        problem = "must be nil if limited.limitResponse.type is not Limited"
        errors.append(fields.forbidden(f"{path}.queuing", problem))
    elif kind == "Queue" and queuing is None:
        problem = "must not be empty if limited.limitResponse.type is Limited"
        errors.append(fields.required(f"{path}.queuing", problem))
    elif kind == "Queue":
        errors += _queuing(queuing or {}, f"{path}.queuing")
    return errors


def _queuing(queuing: Object, path: str) -> list[FieldError]:
    length, queues, hand = (queuing.get(field, 0) for field in ("queueLengthLimit", "queues", "handSize"))
    errors = []
    if length <= 0:
        errors.append(fields.invalid(f"{path}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        errors.append(fields.invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > MOST_QUEUES:
        errors.append(fields.invalid(f"{path}.queues", queues, f"must not be greater than {MOST_QUEUES}"))
    if problem := _hand_problem(hand, queues):
        errors.append(fields.invalid(f"{path}.handSize", hand, problem))
    return errors


def _hand_problem(hand: int, queues: int) -> str:
    if hand <= 0:
        return "must be positive"
    if hand > queues:
        return f"should not be greater than queues ({queues})"
    if math.ceil(math.log2(queues) * hand) > MOST_HASH_BITS:
        needed = f"required entropy bits of deckSize {queues} and handSize {hand}"
        return f"{needed} should not be greater than {MOST_HASH_BITS}"
    return ""


def validate_conditions(conditions: Sequence[Object]) -> list[FieldError]:
    """``status.conditions`` of either kind."""
    errors = []
    types = [one.get("type", "") for one in conditions]
    for index, kind in enumerate(types):
        path = f"status.conditions[{index}].type"
        errors += [fields.duplicate(path, kind)] if kind in types[:index] else []
        errors += [] if kind else [fields.required(path, "must not be empty")]
    return errors
