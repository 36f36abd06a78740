"""What is wrong with admission policies and their bindings.

Expressions are compiled in the order in which Kubernetes does it: each variable may use the ones before it, everything
else all of them; match conditions none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kontinuum.api.kubernetes.expressions import compile_checked, environment, with_variables
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.conditions import validate_conditions
from kontinuum.api.kubernetes.validation.identifiers import check, path_segment
from kontinuum.api.kubernetes.validation.matching import validate_match_conditions, validate_match_resources
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.kubernetes.validation.webhooks import FAILURE_POLICIES, REINVOCATION_POLICIES
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.cel import Environment
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.environment import JSON_PATCH, OBJECT
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

MOST_ANNOTATIONS, ANNOTATION_BYTES = 20, 5 * 1024
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
ACTIONS = ("Audit", "Deny", "Warn")
PATCH_RESULTS = {"ApplyConfiguration": OBJECT, "JSONPatch": t.list_of(JSON_PATCH)}
PATCH_TYPES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
CEL_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII)
CEL_RESERVED = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "package", "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip


class Scope:
    """What the expressions of one policy may use, which grows with its variables."""

    def __init__(self, spec: Object) -> None:
        self._has_params = spec.get("paramKind") is not None
        self._types: dict[str, t.Type] = {}
        self._is_composed = bool(spec.get("variables"))

    def environment(self, *, has_authorizer: bool = True, has_patches: bool = False) -> Environment:
        bare = environment(has_params=self._has_params, has_authorizer=has_authorizer, has_patches=has_patches)
        return with_variables(bare, self._types) if self._is_composed else bare

    def declare(self, name: str, source: str, path: str) -> list[FieldError]:
        """A variable that does not compile is untyped, so that what uses it is not blamed as well."""
        program, errors = compile_checked(source, self.environment(), (), path)
        self._types[name] = program.type if program is not None else t.DYN
        return errors

    def check(self, source: str, path: str, *results: t.Type, **options: bool) -> list[FieldError]:
        return compile_checked(source, self.environment(**options), results, path)[1]


def validate_validating_policy(name: str, spec: Object, old: Object | None = None) -> list[FieldError]:
    """``old`` is the spec before an update."""
    scope = Scope(spec)
    errors = _policy(spec, scope, old)
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        problem = "validations or auditAnnotations must contain at least one item"
        errors.append(fields.required("spec.validations", problem))
        errors.append(fields.required("spec.auditAnnotations", problem))
    for index, one in enumerate(validations):
        errors += _validation(one, f"spec.validations[{index}]", scope)
    if len(annotations) > MOST_ANNOTATIONS:
        problem = f"must not have more than {MOST_ANNOTATIONS} auditAnnotations"
        errors.append(fields.invalid("spec.auditAnnotations", annotations, problem))
    keys = [one.get("key", "") for one in annotations]
    for index, one in enumerate(annotations):
        path = f"spec.auditAnnotations[{index}]"
        errors += _annotation(name, one, path, scope)
        errors += [fields.duplicate(f"{path}.key", keys[index])] if keys[index] in keys[:index] else []
    return errors


def validate_mutating_policy(spec: Object, old: Object | None = None) -> list[FieldError]:
    """``old`` is the spec before an update."""
    scope = Scope(spec)
    errors = _policy(spec, scope, old)
    policy = spec.get("reinvocationPolicy", "")
    if not policy:
        errors.append(fields.required("spec.reinvocationPolicy"))
    elif policy not in REINVOCATION_POLICIES:
        errors.append(fields.not_supported("spec.reinvocationPolicy", policy, REINVOCATION_POLICIES))
    mutations = spec.get("mutations") or []
    if not mutations:
        errors.append(fields.required("spec.mutations", "mutations must contain at least one item"))
    for index, mutation in enumerate(mutations):
        errors += _mutation(mutation, f"spec.mutations[{index}]", scope)
    return errors


def _policy(spec: Object, scope: Scope, old: Object | None) -> list[FieldError]:
    """What both kinds of policies have; ``scope`` gets their variables."""
    failure, constraints = spec.get("failurePolicy", ""), spec.get("matchConstraints")
    errors = []
    if failure not in FAILURE_POLICIES:
        errors.append(fields.not_supported("spec.failurePolicy", failure, FAILURE_POLICIES))
    if (kind := spec.get("paramKind")) is not None:
        errors += _param_kind(kind, "spec.paramKind")
    if constraints is None:
        errors.append(fields.required("spec.matchConstraints"))
    else:
        errors += validate_match_resources(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            errors.append(fields.required("spec.matchConstraints.resourceRules"))
    conditions = spec.get("matchConditions") or []
    if old is None or any(spec.get(field) != old.get(field) for field in ("matchConditions", "paramKind")):
        has_params = spec.get("paramKind") is not None
        errors += validate_match_conditions(conditions, "spec.matchConditions", has_params=has_params)
    for index, variable in enumerate(spec.get("variables") or ()):
        errors += _variable(variable, f"spec.variables[{index}]", scope)
    return errors


def _param_kind(kind: Object, path: str) -> list[FieldError]:
    api_version, name = kind.get("apiVersion", ""), kind.get("kind", "")
    here = f"{path}.apiVersion"
    errors = []
    if not api_version:
        errors.append(fields.required(here))
    elif api_version.count("/") > 1:
        errors.append(fields.invalid(here, api_version, f"unexpected GroupVersion string: {api_version}"))
    else:
        group, _, version = api_version.rpartition("/")
        if group and (problems := names.dns_subdomain(group)):
            errors.append(fields.invalid(here, group, ",".join(problems)))
        if not version:
            errors.append(fields.invalid(here, api_version, "version must be specified"))
        elif problems := names.dns_1035_label(version):
            errors.append(fields.invalid(here, version, ",".join(problems)))
    if not name:
        return [*errors, fields.required(f"{path}.kind")]
    if problems := names.dns_1035_label(name.lower()):
        problem = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        errors.append(fields.invalid(f"{path}.kind", name, problem))
    return errors


def _variable(variable: Object, path: str, scope: Scope) -> list[FieldError]:
    name = variable.get("name", "")
    errors = []
    if not name.strip():
        errors.append(fields.required(f"{path}.name", "name is not specified"))
    elif not CEL_NAME.fullmatch(name) or name in CEL_RESERVED:
        errors.append(fields.invalid(f"{path}.name", name, "name is not a valid CEL identifier"))
    if not variable.get("expression", "").strip():
        errors.append(fields.required(f"{path}.expression", "expression is not specified"))
    else:
        errors += scope.declare(name, variable["expression"], f"{path}.expression")
    return errors


def _validation(one: Object, path: str, scope: Scope) -> list[FieldError]:
    message, computed, reason = one.get("message", ""), one.get("messageExpression", ""), one.get("reason")
    errors = []
    if not one.get("expression", "").strip():
        errors.append(fields.required(f"{path}.expression", "expression is not specified"))
    else:
        errors += scope.check(one["expression"], f"{path}.expression", t.BOOL)
    if computed and not computed.strip():
        errors.append(fields.invalid(f"{path}.messageExpression", computed, "must be non-empty if specified"))
    elif computed:
        errors += scope.check(computed, f"{path}.messageExpression", t.STRING, has_authorizer=False)
    if message and not message.strip():
        errors.append(fields.invalid(f"{path}.message", message, "message must be non-empty if specified"))
    elif re.search(r"[\n\r]", message.strip()):
        errors.append(fields.invalid(f"{path}.message", message, "message must not contain line breaks"))
    if reason is not None and reason not in REASONS:
        errors.append(fields.not_supported(f"{path}.reason", reason, REASONS))
    return errors


def _annotation(policy: str, one: Object, path: str, scope: Scope) -> list[FieldError]:
    key, expression = one.get("key", ""), one.get("valueExpression", "").strip()
    whole = f"{policy}/{key}"
    errors = check(whole, names.qualified_name(whole), f"{path}.key")
    if not expression:
        errors.append(fields.required(f"{path}.valueExpression", "valueExpression is not specified"))
    elif len(expression.encode()) > ANNOTATION_BYTES:
        problem = f"must not exceed {ANNOTATION_BYTES} bytes in length"
        errors.append(fields.required(f"{path}.valueExpression", problem))
    else:
        errors += scope.check(expression, f"{path}.valueExpression", t.STRING, t.NULL)
    return errors


def _mutation(mutation: Object, path: str, scope: Scope) -> list[FieldError]:
    kind = mutation.get("patchType", "")
    if not kind:
        return [fields.required(f"{path}.patchType")]
    if kind not in PATCH_TYPES:
        return [fields.not_supported(f"{path}.patchType", kind, sorted(PATCH_TYPES))]
    errors = []
    for other, field in PATCH_TYPES.items():
        value = mutation.get(field)
        if other != kind and value is not None:
            problem = f"must not be specified when patchType is {kind}"
            errors.append(fields.invalid(f"{path}.{field}", f"{{{field}}}", problem))
        elif other == kind and value is None:
            errors.append(fields.required(f"{path}.{field}", f"must be specified when patchType is {kind}"))
        elif other == kind:
            here, source = f"{path}.{field}.expression", (value or {}).get("expression", "").strip()
            errors += scope.check(source, here, PATCH_RESULTS[kind], has_patches=True) if source else [
                fields.required(here, "expression is not specified")
            ]  # fmt: skip
    return errors


def validate_policy_binding(spec: Object, *, validating: bool) -> list[FieldError]:
    name = spec.get("policyName", "")
    path = "spec.policyName"
    errors = check(name, names.dns_subdomain(name), path) if name else [fields.required(path)]
    if (reference := spec.get("paramRef")) is not None:
        errors += _param_ref(reference, "spec.paramRef")
    if (match := spec.get("matchResources")) is not None:
        errors += validate_match_resources(match, "spec.matchResources")
    return errors + (_actions(spec.get("validationActions") or []) if validating else [])


def validate_policy_status(status: Object) -> list[FieldError]:
    """Of a validating policy."""
    errors = []
    for index, warning in enumerate((status.get("typeChecking") or {}).get("expressionWarnings") or ()):
        for field in ("warning", "fieldRef"):
            if not warning.get(field, "").strip():
                errors.append(fields.required(f"status.typeChecking.expressionWarnings[{index}].{field}"))
    return errors + validate_conditions(status.get("conditions") or [], "status.conditions")


def _param_ref(reference: Object, path: str) -> list[FieldError]:
    name, selector, action = (reference.get(field) for field in ("name", "selector", "parameterNotFoundAction"))
    both = "name and selector are mutually exclusive"
    errors = []
    if name:
        errors += check(name, path_segment(name), f"{path}.name")
        errors += [fields.forbidden(f"{path}.name", both)] if selector is not None else []
    if selector is not None:
        errors += validate_selector(selector, f"{path}.selector")
        errors += [fields.forbidden(f"{path}.selector", both)] if name else []
    if not name and selector is None:
        errors.append(fields.required(path, "one of name or selector must be specified"))
    here = f"{path}.parameterNotFoundAction"
    if not action:
        errors.append(fields.required(here))
    elif action not in ("Deny", "Allow"):
        errors.append(fields.not_supported(here, action, ("Deny", "Allow")))
    return errors


def _actions(actions: Sequence[str]) -> list[FieldError]:
    path = "spec.validationActions"
    errors = []
    for index, action in enumerate(actions):
        errors += [] if action in ACTIONS else [fields.not_supported(f"{path}[{index}]", action, ACTIONS)]
        errors += [fields.duplicate(f"{path}[{index}]", action)] if action in actions[:index] else []
    if "Deny" in actions and "Warn" in actions:
        problem = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        errors.append(fields.invalid(path, list(actions), problem))
    return errors or ([] if actions else [fields.required(path, "at least one validation action is required")])
