"""What the expressions of a validating policy stumble over, given the kinds that it matches (``status.typeChecking``).

At run time objects are untyped, because one policy may match many kinds; here each expression is checked against each
of them. Nothing depends on the outcome: it is a warning to the author. Kinds behind wildcards are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kontinuum.api.kubernetes.expressions import environment, with_variables
from kontinuum.api.machinery.cel import CompileError, Environment
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.schemas import Declared
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.admission.policies.hooks import param_kind_of
from kontinuum.apiserver.admission.policies.parameters import Misconfigured, served_kind
from kontinuum.apiserver.catalog import Catalog, Served

MOST_KINDS = 10
EXPRESSIONS = ("expression", "messageExpression")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a policy is checked against; looked up at once, because what is served may change while it is checked."""

    kinds: tuple[tuple[Resource, Declared], ...]
    params: Declared | None


def subject_of(spec: Object, catalog: Catalog) -> Subject:
    kinds = ((served.resource, served.kind.declared) for served in matched_kinds(spec, catalog))
    return Subject(tuple((resource, one) for resource, one in kinds if one is not None), _params(spec, catalog))


def warnings_of(spec: Object, subject: Subject) -> list[Object]:
    """The ``expressionWarnings`` of a policy, in the order of its validations. May take seconds."""
    environments = [
        (resource, _environment(spec, declared, subject.params)) for resource, declared in subject.kinds
    ]  # fmt: skip
    found: list[Object] = []
    for index, validation in enumerate(spec.get("validations") or ()):
        for field in EXPRESSIONS:
            texts = list(_problems(validation.get(field) or "", environments))
            if texts:
                found.append({"fieldRef": f"spec.validations[{index}].{field}", "warning": "\n".join(texts)})
    return found


def matched_kinds(spec: Object, catalog: Catalog) -> list[Served]:
    """The kinds that the policy's rules name, by group, version and kind; at most ten."""
    found: dict[Resource, Served] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        for served in _named(rule, catalog):
            if len(found) < MOST_KINDS:
                found[served.resource] = served
    return sorted(found.values(), key=lambda one: (one.resource.group, one.resource.version, one.resource.kind))


def _named(rule: Object, catalog: Catalog) -> Iterator[Served]:
    groups, versions = sorted(rule.get("apiGroups") or ()), sorted(rule.get("apiVersions") or ())
    plurals = sorted(one for one in rule.get("resources") or () if "*" not in one and "/" not in one)
    if any("*" in one for one in (*groups, *versions)):
        return
    for group in groups:
        for version in versions:
            for plural in plurals:
                served = catalog.find(group, version, plural)
                if served is not None:
                    yield served


def _params(spec: Object, catalog: Catalog) -> Declared | None:
    kind = param_kind_of(spec)
    if kind is None:
        return None
    try:
        return served_kind(catalog, kind).kind.declared
    except Misconfigured:
        return None


def _environment(spec: Object, declared: Declared, params: Declared | None) -> Environment:
    """``params`` are untyped where their kind is not known: that is no mistake of the expression."""
    typed: dict[str, t.Type | Declared] = {"object": declared, "oldObject": declared}
    if spec.get("paramKind") is not None:
        typed["params"] = params or t.DYN
    within = environment().extended(typed)
    types: Mapping[str, t.Type] = {}
    for variable in spec.get("variables") or ():
        types = {**types, variable["name"]: _type_of(variable["expression"], with_variables(within, dict(types)))}
    return with_variables(within, dict(types))


def _type_of(source: str, within: Environment) -> t.Type:
    try:
        return within.compile(source).type
    except CompileError:
        return t.DYN


def _problems(source: str, environments: list[tuple[Resource, Environment]]) -> Iterator[str]:
    if not source:
        return
    for resource, within in environments:
        try:
            within.compile(source)
        except CompileError as error:
            yield f"{resource.group}/{resource.version}, Kind={resource.kind}: {error}\n"
