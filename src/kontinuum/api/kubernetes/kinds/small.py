"""Kinds that have little to say: leases and runtime classes."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import age
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.resources import validate_amounts
from kontinuum.api.kubernetes.validation.scheduling import validate_tolerations
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

OLDEST = "OldestEmulationVersion"


class Lease(Kind):
    qualified_finalizers = False
    columns = (NAME, Column("Holder", description="Who holds the lease."), AGE)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        spec = obj.get("spec") or {}
        errors = []
        duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
        if duration is not None and duration <= 0:
            errors.append(fields.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
        if transitions is not None and transitions < 0:
            problem = "must be greater than or equal to 0"
            errors.append(fields.invalid("spec.leaseTransitions", transitions, problem))
        strategy = spec.get("strategy")
        if strategy is not None:
            errors += _strategy(strategy)
        if spec.get("preferredHolder") and not strategy:
            problem = "may only be specified if `strategy` is defined"
            errors.append(fields.forbidden("spec.preferredHolder", problem))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        holder = (obj.get("spec") or {}).get("holderIdentity", "")
        return [obj["metadata"].get("name", ""), holder, age(obj["metadata"].get("creationTimestamp"), now)]


class RuntimeClass(Kind):
    columns = (NAME, Column("Handler", description="What the node's runtime calls this class."), AGE)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        handler = obj.get("handler", "")
        errors = [fields.invalid("handler", handler, problem) for problem in names.dns_label(handler)]
        errors += validate_amounts((obj.get("overhead") or {}).get("podFixed") or {}, "overhead.podFixed")
        tolerations = (obj.get("scheduling") or {}).get("tolerations") or []
        return errors + validate_tolerations(tolerations, "scheduling.tolerations")

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = self.validate_spec(obj)
        if obj.get("handler") != old.get("handler"):
            errors.append(fields.invalid("handler", obj.get("handler"), "field is immutable"))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        metadata = obj["metadata"]
        return [metadata.get("name", ""), obj.get("handler", ""), age(metadata.get("creationTimestamp"), now)]


def _strategy(strategy: str) -> list[FieldError]:
    """How leaders are chosen; others than Kubernetes' own have a domain."""
    path = "spec.strategy"
    if strategy == OLDEST:
        return []
    if "/" in strategy and not names.qualified_name(strategy):
        return [] if "kubernetes.io/" not in strategy else [fields.not_supported(path, strategy, [OLDEST])]
    return [fields.not_supported(path, strategy, [OLDEST])]
