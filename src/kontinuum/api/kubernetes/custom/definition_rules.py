"""What is wrong with a CustomResourceDefinition (apiextensions-apiserver's ``validation.go``, in its words)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from kontinuum.api.kubernetes.custom import schema_rules
from kontinuum.api.kubernetes.custom.field_paths import BadFieldPath, find_field
from kontinuum.api.kubernetes.custom.schema import Schema, compile_schema
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.webhooks import validate_client_config
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
SELECTABLE_TYPES = ("string", "boolean", "integer")
MOST_SELECTABLE = 8
REVIEW_VERSIONS = ("v1", "v1beta1")
PROTECTED = re.compile(r"(.*\.)?(k8s|kubernetes)\.io")
"""Groups of the Kubernetes project itself."""
APPROVED = "api-approved.kubernetes.io"


def check_name(name: str) -> list[str]:
    return names.dns_subdomain(name)


def check(obj: Object, old: Object | None) -> list[FieldError]:
    """Everything but the metadata; of an update, what was wrong before may stay wrong where Kubernetes lets it."""
    spec = obj.get("spec") or {}
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    name = obj["metadata"].get("name", "")
    errors = []
    if old is None and name != wanted:
        errors.append(fields.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    errors += _check_spec(spec, old)
    errors += check_status(obj)
    errors += _check_stored_versions(obj)
    return errors + _check_approval(obj, old)


def check_change(obj: Object, old: Object, *, is_established: bool) -> list[FieldError]:
    """What an update may not change."""
    paths = [("group",), ("names", "plural")]
    if is_established:
        paths = [("scope",), ("names", "kind"), *paths]
    errors = []
    for path in paths:
        new_value, old_value = _at(obj["spec"], path), _at(old["spec"], path)
        if new_value != old_value:
            errors.append(fields.invalid(".".join(("spec", *path)), new_value, "field is immutable"))
    return errors


def check_status(obj: Object) -> list[FieldError]:
    return _check_names((obj.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames")


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        value = (value or {}).get(part)
    return value


def _check_spec(spec: Object, old: Object | None) -> list[FieldError]:
    errors: list[FieldError] = []
    group = spec.get("group", "")
    if not group:
        errors.append(fields.required("spec.group"))
    elif problems := names.dns_subdomain(group):
        errors.append(fields.invalid("spec.group", group, ",".join(problems)))
    elif "." not in group:
        errors.append(fields.invalid("spec.group", group, "should be a domain with at least one dot"))
    scope = spec.get("scope", "")
    if not scope:
        errors.append(fields.required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        errors.append(fields.not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    errors += _check_versions(spec.get("versions") or [], old)
    own = spec.get("names") or {}
    errors += [fields.required(f"spec.names.{one}") for one in ("plural", "singular", "kind", "listKind")
               if not own.get(one)]  # fmt: skip
    errors += _check_names(own, "spec.names")
    if spec.get("preserveUnknownFields"):
        problem = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        errors.append(fields.invalid("spec.preserveUnknownFields", True, problem))
    return errors + _check_conversion(spec.get("conversion") or {})


def _check_versions(versions: Sequence[Object], old: Object | None) -> list[FieldError]:
    errors: list[FieldError] = []
    before = {one.get("name"): one for one in ((old or {}).get("spec") or {}).get("versions") or ()}
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        name = version.get("name", "")
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            errors.append(fields.required(f"{path}.schema.openAPIV3Schema", "schemas are required"))
        if problems := names.dns_1035_label(name):
            errors.append(fields.invalid(f"{path}.name", name, ",".join(problems)))
        errors += _check_version(version, before.get(name), path)
    found = [one.get("name") for one in versions]
    if len(set(found)) != len(found):
        errors.append(fields.invalid("spec.versions", list(versions), "must contain unique version names"))
    if sum(bool(one.get("storage")) for one in versions) != 1:
        problem = "must have exactly one version marked as storage version"
        errors.append(fields.invalid("spec.versions", list(versions), problem))
    return errors


def _check_version(version: Object, old: Object | None, path: str) -> list[FieldError]:
    errors = [fields.invalid(f"{path}.deprecationWarning", version.get("deprecationWarning"), problem)
              for problem in _deprecation_problems(version)]  # fmt: skip
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    subresources = version.get("subresources") or {}
    if schema is not None:
        is_same = old is not None and (old.get("schema") or {}).get("openAPIV3Schema") == schema
        has_status = subresources.get("status") is not None
        errors += schema_rules.check(schema, f"{path}.schema.openAPIV3Schema", has_status=has_status, is_same=is_same)
    errors += _check_scale(subresources.get("scale"), f"{path}.subresources.scale")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        errors += _check_column(column, f"{path}.additionalPrinterColumns[{index}]")
    if version.get("selectableFields") and schema is not None:
        errors += _check_selectable(version["selectableFields"], compile_schema(schema), f"{path}.selectableFields")
    return errors


def _deprecation_problems(version: Object) -> list[str]:
    text = version.get("deprecationWarning")
    if text is None:
        return []
    if not version.get("deprecated"):
        return ["can only be set for deprecated versions"]
    problems = []
    if len(text) > 256:
        problems.append("must be <= 256 characters long")
    if not text:
        problems.append("must not be an empty string")
    for index, letter in enumerate(text):
        if not letter.isprintable():
            problem = "must only contain printable UTF-8 characters; non-printable character found at index"
            problems.append(f"{problem} {index}")
            break
    return problems


def _check_scale(scale: Object | None, path: str) -> list[FieldError]:
    if scale is None:
        return []
    errors = []
    for name, roots in (("specReplicasPath", (".spec.",)), ("statusReplicasPath", (".status.",))):
        errors += _check_scale_path(scale.get(name) or "", f"{path}.{name}", roots, is_required=True)
    selector = scale.get("labelSelectorPath") or ""
    return errors + _check_scale_path(selector, f"{path}.labelSelectorPath", (".spec.", ".status."), is_required=False)


def _check_scale_path(text: str, path: str, roots: tuple[str, ...], *, is_required: bool) -> list[FieldError]:
    if not text:
        return [fields.required(path)] if is_required else []
    if text[0] != ".":
        return [fields.invalid(path, text, "must be a simple json path starting with .")]
    if not text.startswith(roots):
        where = roots[0].rstrip(".") if len(roots) == 1 else "either .spec or .status"
        return [fields.invalid(path, text, f"should be a json path under {where}")]
    return []


def _check_column(column: Object, path: str) -> list[FieldError]:
    errors = []
    if not column.get("name"):
        errors.append(fields.required(f"{path}.name"))
    kind = column.get("type", "")
    if not kind:
        errors.append(fields.required(f"{path}.type", f"must be one of {','.join(COLUMN_TYPES)}"))
    elif kind not in COLUMN_TYPES:
        errors.append(fields.invalid(f"{path}.type", kind, f"must be one of {','.join(COLUMN_TYPES)}"))
    shape = column.get("format", "")
    if shape and shape not in COLUMN_FORMATS:
        errors.append(fields.invalid(f"{path}.format", shape, f"must be one of {','.join(COLUMN_FORMATS)}"))
    where = column.get("jsonPath", "")
    if not where:
        errors.append(fields.required(f"{path}.JSONPath"))
    elif where[0] != ".":
        errors.append(fields.invalid(f"{path}.JSONPath", where, "must be a simple json path starting with ."))
    return errors


def _check_selectable(selectable: Sequence[Object], schema: Schema, path: str) -> list[FieldError]:
    errors = []
    seen: set[str] = set()
    for index, one in enumerate(selectable):
        here, text = f"{path}[{index}].jsonPath", one.get("jsonPath", "")
        if not text:
            errors.append(fields.required(here))
            continue
        try:
            found, _ = find_field(schema, text, brackets=False)
        except BadFieldPath as error:
            errors.append(fields.invalid(here, text, f"is an invalid path: {error}"))
            continue
        if text.split(".")[1] == "metadata":
            errors.append(fields.invalid(here, text, "must not point to fields in metadata"))
        if found.source.get("type") not in SELECTABLE_TYPES:
            problem = (
                "must point to a field of type string, boolean or integer. "
                "Enum string fields and strings with formats are allowed."
            )
            errors.append(fields.invalid(here, text, problem))
        if text in seen:
            errors.append(fields.duplicate(here, text))
        seen.add(text)
    if len(seen) > MOST_SELECTABLE:
        errors.append(fields.too_many(path, len(seen), MOST_SELECTABLE))
    return errors


def _check_names(own: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []

    def add(value: str, where: str, prefix: str = "", read: Callable[[str], str] = str) -> None:
        problems = names.dns_1035_label(read(value)) if value else []
        if problems:
            errors.append(fields.invalid(f"{path}.{where}", value, prefix + ",".join(problems)))

    mixed = "may have mixed case, but should otherwise match: "
    add(own.get("plural", ""), "plural")
    add(own.get("singular", ""), "singular")
    add(own.get("kind", ""), "kind", mixed, str.lower)
    add(own.get("listKind", ""), "listKind", mixed, str.lower)
    for index, one in enumerate(own.get("shortNames") or ()):
        errors += [fields.invalid(f"{path}.shortNames[{index}]", one, ",".join(problems))
                   for problems in [names.dns_1035_label(one)] if problems]  # fmt: skip
    if own.get("kind") and own.get("kind") == own.get("listKind"):
        problem = "kind and listKind may not be the same"
        errors.append(fields.invalid(f"{path}.listKind", own["listKind"], problem))
    for index, one in enumerate(own.get("categories") or ()):
        errors += [fields.invalid(f"{path}.categories[{index}]", one, ",".join(problems))
                   for problems in [names.dns_1035_label(one)] if problems]  # fmt: skip
    return errors


def _check_conversion(conversion: Object) -> list[FieldError]:
    strategy, webhook = conversion.get("strategy", ""), conversion.get("webhook")
    path = "spec.conversion"
    if not strategy:
        return [fields.required(f"{path}.strategy")]
    if strategy not in ("None", "Webhook"):
        return [fields.not_supported(f"{path}.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        problem = "should not be set when strategy is not set to Webhook"
        return [fields.forbidden(f"{path}.webhook", problem)] if webhook is not None else []
    config = (webhook or {}).get("clientConfig")
    errors = []
    if config is None:
        errors.append(fields.required(f"{path}.webhook.clientConfig", "required when strategy is set to Webhook"))
    else:
        errors += validate_client_config(config, f"{path}.webhook.clientConfig")
    versions = (webhook or {}).get("conversionReviewVersions") or []
    return errors + _check_review_versions(versions, f"{path}.webhook.conversionReviewVersions")


def _check_review_versions(versions: Sequence[str], path: str) -> list[FieldError]:
    if not versions:
        return [fields.required(path)]
    errors = []
    for index, one in enumerate(versions):
        if one in versions[:index]:
            errors.append(fields.invalid(f"{path}[{index}]", one, "duplicate version"))
            continue
        errors += [fields.invalid(f"{path}[{index}]", one, problem) for problem in names.dns_1035_label(one)]
    if not set(versions) & set(REVIEW_VERSIONS):
        problem = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
        errors.append(fields.invalid(path, list(versions), problem))
    return errors


def _check_stored_versions(obj: Object) -> list[FieldError]:
    path = "status.storedVersions"
    stored = list((obj.get("status") or {}).get("storedVersions") or ())
    versions = obj["spec"].get("versions") or ()
    if not stored:
        return [fields.invalid(path, stored, "must have at least one stored version")]
    errors = [
        fields.invalid(path, stored, f"must have the storage version {one.get('name', '')}")
        for one in versions
        if one.get("storage") and one.get("name") not in stored
    ]
    known = {one.get("name") for one in versions}
    for index, name in enumerate(stored):
        if name not in known:
            problem = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            errors.append(fields.invalid(f"{path}[{index}]", name, problem))
    return errors


def approval_of(obj: Object) -> tuple[str, str]:
    """(state, reason) of a protected group's approval: ``missing``, ``invalid``, ``bypassed`` or ``approved``."""
    text = (obj["metadata"].get("annotations") or {}).get(APPROVED, "")
    if not text:
        return "missing", (
            f'protected groups must have approval annotation "{APPROVED}", '
            "see https://github.com/kubernetes/enhancements/pull/1111"
        )
    if text.startswith("unapproved"):
        return "bypassed", f'not approved: "{text}"'
    if re.fullmatch(r"https?://[^\s/]+\S*", text):
        return "approved", f"approved in {text}"
    return "invalid", (
        f'protected groups must have approval annotation "{APPROVED}" with either a URL or a reason starting with '
        '"unapproved", see https://github.com/kubernetes/enhancements/pull/1111'
    )


def is_protected(group: str) -> bool:
    return PROTECTED.fullmatch(group) is not None


def _check_approval(obj: Object, old: Object | None) -> list[FieldError]:
    if not is_protected(obj["spec"].get("group", "")):
        return []
    state, reason = approval_of(obj)
    if state in ("approved", "bypassed") or (old is not None and approval_of(old)[0] == state):
        return []
    path = f"metadata.annotations[{APPROVED}]"
    if state == "missing":
        return [fields.required(path, reason)]
    return [fields.invalid(path, obj["metadata"]["annotations"][APPROVED], reason)]
