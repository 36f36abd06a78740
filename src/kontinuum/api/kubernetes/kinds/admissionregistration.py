"""admissionregistration.k8s.io: webhooks and policies that look at writes before they are stored."""

from __future__ import annotations

from typing import Any, ClassVar

from kontinuum.api.kubernetes.defaults.admissionregistration import default_binding, default_policy, default_webhooks
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import row
from kontinuum.api.kubernetes.validation import policies
from kontinuum.api.kubernetes.validation.webhooks import validate_webhooks
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object

UNSET = "<unset>"
PARAM_KIND = Column(
    "ParamKind", description="ParamKind specifies the kind of resources used to parameterize this policy"
)


class WebhookConfiguration(Kind):
    """Both kinds of webhooks; subclasses say which."""

    qualified_finalizers = False
    mutating: ClassVar[bool]
    has_generation = True
    checks_slowly = True
    columns = (
        NAME,
        Column("Webhooks", "integer", description="Webhooks indicates the number of webhooks registered in this "
               "configuration"),
        AGE,
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        default_webhooks(obj, mutating=self.mutating)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_webhooks(obj.get("webhooks") or [])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return validate_webhooks(obj.get("webhooks") or [], old.get("webhooks") or [])

    def cells(self, obj: Object, now: float) -> list[Any]:
        return row(obj, now, len(obj.get("webhooks") or ()))


class MutatingWebhookConfiguration(WebhookConfiguration):
    mutating = True


class ValidatingWebhookConfiguration(WebhookConfiguration):
    mutating = False


class ValidatingAdmissionPolicy(Kind):
    qualified_finalizers = False
    has_generation = True
    checks_slowly = True
    columns = (
        NAME,
        Column("Validations", "integer", description="Validations indicates the number of validation rules defined in "
               "this configuration"),
        PARAM_KIND,
        AGE,
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        default_policy(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return policies.validate_validating_policy(obj["metadata"].get("name") or "", obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return policies.validate_validating_policy(obj["metadata"].get("name") or "", obj["spec"], old["spec"])

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        return super().validate_status(obj, old) + policies.validate_policy_status(obj.get("status") or {})

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        return row(obj, now, len(spec.get("validations") or ()), _param_kind(spec))


class MutatingAdmissionPolicy(Kind):
    qualified_finalizers = False
    has_generation = True
    checks_slowly = True
    columns = (
        NAME,
        Column("Mutations", "integer", description="Mutation indicates the number of mutations rules defined in this "
               "configuration"),
        PARAM_KIND,
        AGE,
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        default_policy(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return policies.validate_mutating_policy(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return policies.validate_mutating_policy(obj["spec"], old["spec"])

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        return row(obj, now, len(spec.get("mutations") or ()), _param_kind(spec))


class PolicyBinding(Kind):
    """Of either policy."""

    qualified_finalizers = False
    validating: ClassVar[bool]
    has_generation = True
    columns = (
        NAME,
        Column("PolicyName", description="PolicyName indicates the policy definition which the policy binding binded "
               "to"),
        Column("ParamRef", description="ParamRef indicates the param resource which sets the configration param"),
        AGE,
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        default_binding(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return policies.validate_policy_binding(obj.get("spec") or {}, validating=self.validating)

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        return row(obj, now, spec.get("policyName", ""), _param_ref(spec.get("paramRef")))


class ValidatingAdmissionPolicyBinding(PolicyBinding):
    validating = True


class MutatingAdmissionPolicyBinding(PolicyBinding):
    validating = False


def _param_kind(spec: Object) -> str:
    kind = spec.get("paramKind")
    return UNSET if kind is None else f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}"


def _param_ref(reference: Object | None) -> str:
    """Without a namespace it cannot be told whether the parameter has one."""
    if reference is None:
        return UNSET
    if name := reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{name}"
    return str(from_object(reference["selector"])) if reference.get("selector") is not None else UNSET
